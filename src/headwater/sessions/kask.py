"""Answers in the form that Kask gives them: its JSON of errors, its redirects, its `/healthz` and its description. Pure.

What Kask repeats of a request in `instance` is only the base path here: the rest of the path is a session key.
"""

import html
from collections.abc import Iterable
from enum import Enum

import orjson

from headwater import __version__
from headwater.http.messages import Response

TYPES = "https://www.mediawiki.org/wiki/Kask/errors/"
PROBE_KEY = "headwater-openapi-probe"
"""A key that nobody uses: monitors that read the examples of the description ask for it and expect that it is not there."""


class Fault(Enum):
    """Kask's kinds of errors with their titles."""

    BAD_REQUEST = ("bad_request", "Bad request")
    NOT_AUTHORIZED = ("not_authorized", "Not authorized")
    NOT_FOUND = ("not_found", "Not found")
    SERVER_ERROR = ("server_error", "Internal server error")


def fault(status: int, kind: Fault, detail: str, *, base: str, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    """An error below `base`."""
    name, title = kind.value
    members = {"type": f"{TYPES}{name}", "title": title, "detail": detail, "instance": base}
    body = orjson.dumps(members, option=orjson.OPT_INDENT_2) + b"\n"
    return Response(status, body, (*headers, ("x-content-type-options", "nosniff")), "application/json", bare=True)


def page_not_found() -> Response:
    """The answer outside of every base, as Go's `http.NotFound` gives it."""
    nosniff = (("x-content-type-options", "nosniff"),)
    return Response(404, b"404 page not found\n", nosniff, "text/plain; charset=utf-8", bare=True)


def moved(location: str, *, method: str, query: str, shows_key: bool) -> Response:
    """The answer to a path that is not clean, or a base without its slash. No key stands in its body."""
    target = f"{location}?{query}" if query else location
    headers = (("location", target),)
    if method not in ("GET", "HEAD"):
        return Response(301, b"", headers, bare=True)
    text = "Moved Permanently" if shows_key or query else f'<a href="{html.escape(target)}">Moved Permanently</a>'
    return Response(301, f"{text}.\n\n".encode(), headers, "text/html; charset=utf-8", bare=True)


BUILD = {"version": __version__, "build_date": "unknown", "build_host": "unknown", "go_version": "none"}
"""What this is, in the fields that Kask has for it."""


def healthz() -> Response:
    """That the process answers, and what it is; says nothing about the storage, for which there is `/readyz`."""
    return Response(200, orjson.dumps(BUILD, option=orjson.OPT_INDENT_2), (), "application/json", bare=True)


_OPENAPI_HEAD = """openapi: 3.0.0
info:
  title: Headwater sessions
  description: Key-value interface for sessions, as Kask has it
  version: {version}
paths:
  /healthz:
    get:
      summary: Whether the process answers
      responses:
        '200':
          description: It does
          content:
            application/json:
              schema:
                type: object
      x-monitor: true
      x-amples:
        - title: Whether the process answers
          request: {{}}
          response:
            status: 200
            headers:
              content-type: application/json
"""
_OPENAPI_PATH = """  {base}{{key}}:
    parameters:
      - name: key
        in: path
        required: true
        description: Key of the session, percent-encoded
        schema:
          type: string
    get:
      summary: Read a session
      responses:
        '200':
          description: Its value
          content:
            application/octet-stream:
              schema:
                type: string
                format: binary
        '404':
          $ref: '#/components/responses/Error'
        default:
          $ref: '#/components/responses/Error'
      x-monitor: true
      x-amples:
        - title: Read a session that is not there
          request:
            params:
              key: {probe}
          response:
            status: {status}
            headers:
              content-type: application/json
    post:
      summary: Save a session, new or not
      requestBody:
        required: true
        content:
          application/octet-stream:
            schema:
              type: string
              format: binary
      responses:
        '201':
          description: Saved
        default:
          $ref: '#/components/responses/Error'
      x-monitor: false
    delete:
      summary: Delete a session, there or not
      responses:
        '204':
          description: Deleted
        default:
          $ref: '#/components/responses/Error'
      x-monitor: false
"""
_OPENAPI_TAIL = """components:
  responses:
    Error:
      description: An error
      content:
        application/json:
          schema:
            type: object
            properties:
              type:
                type: string
              title:
                type: string
              detail:
                type: string
              instance:
                type: string
"""


def openapi(bases: Iterable[str], *, clients: bool) -> Response:
    """The description of the drop-in interface, with the examples that monitors run; those hold no token, so `clients` make it a 401."""
    status = 401 if clients else 404
    parts = [_OPENAPI_PATH.format(base=base, probe=PROBE_KEY, status=status) for base in bases]
    text = _OPENAPI_HEAD.format(version=__version__) + "".join(parts) + _OPENAPI_TAIL
    return Response(200, text.encode(), (), "application/x-yaml", bare=True)

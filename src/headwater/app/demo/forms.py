"""Parameters of a request to the built-in wiki: query, urlencoded body or multipart body, the later ones winning."""

import re
from urllib.parse import parse_qsl

from headwater.http.messages import Request
from headwater.kernel.errors import InvalidInput

FIELDS_MAX = 200

_BOUNDARY = re.compile(r"multipart/form-data;.*\bboundary=\"?([^\";]{1,70})\"?", re.IGNORECASE)
_NAME = re.compile(rb'content-disposition: *form-data;.*\bname="([^"\r\n]*)"', re.IGNORECASE)


async def parameters(request: Request) -> dict[str, str]:
    """All parameters by name. Raises InvalidInput, TooLarge."""
    found = dict(request.query)
    if request.method != "POST":
        return found
    kind = request.headers.get("content-type", "application/x-www-form-urlencoded")
    body = await request.body()
    boundary = _BOUNDARY.match(kind)
    try:
        if boundary is not None:
            return found | _multipart(body, boundary[1])
        return found | dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=FIELDS_MAX))
    except ValueError as error:
        raise InvalidInput(f"the form cannot be read: {error}"[:200]) from error


def _multipart(body: bytes, boundary: str) -> dict[str, str]:
    """Fields of multipart/form-data (RFC 7578) without files."""
    found: dict[str, str] = {}
    delimiter = b"\r\n--" + boundary.encode("ascii")
    for part in (b"\r\n" + body).split(delimiter)[1 : FIELDS_MAX + 1]:
        if part.startswith(b"--"):
            break
        head, blank, value = part.partition(b"\r\n\r\n")
        name = _NAME.search(head)
        if not blank or name is None:
            raise ValueError("a part without a name")
        found[name[1].decode()] = value.decode()
    return found

"""A real MediaWiki on SQLite, served by PHP's own server in a process group of its own, optionally beside a second one without parser
cache.

The installed tree is used in place; everything that belongs to one wiki lies in one folder. The first set-up of a given number of pages
takes half a minute and is kept in the cache folder under a digest of this set-up; every later wiki is a copy of it and is there within a
second or two. Jobs never run by themselves: `run_jobs` runs them.
"""

import contextlib
import fcntl
import hashlib
import http.cookiejar
import json
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
import xml.sax.saxutils
import zlib
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

from tests.real import excerpt, templates
from tests.real.excerpt import CACHE, real_pages

TREE = pathlib.Path("/usr/share/mediawiki")
ADMIN = "Admin"
PASSWORD = "correct-horse-battery"
_START_S = 20.0
_SETTINGS = r"""<?php
$wgSitename = 'Headwater test';
$wgServer = getenv('HW_SERVER') ?: 'http://127.0.0.1';
$wgScriptPath = '';
$wgDBtype = 'sqlite';
$wgDBname = 'wiki';
$wgSQLiteDataDir = getenv('HW_HOME') . '/db';
$wgUploadDirectory = getenv('HW_HOME') . '/images';
$wgCacheDirectory = getenv('HW_HOME') . '/cache';
$wgMainCacheType = CACHE_NONE;
$wgMessageCacheType = CACHE_NONE;
$wgParserCacheType = getenv('HW_UNCACHED') ? CACHE_NONE : CACHE_DB;
$wgLocalisationCacheConf['store'] = 'files';
$wgSecretKey = str_repeat('headwater', 8);
$wgJobRunRate = 0;
$wgEnableUploads = true;
$wgGenerateThumbnailOnParse = false;
$wgUseInstantCommons = false;
$wgShowExceptionDetails = true;
$wgGroupPermissions['sysop']['deleterevision'] = true;
$wgGroupPermissions['sysop']['suppressrevision'] = true;
$wgGroupPermissions['sysop']['suppressionlog'] = true;
wfLoadSkin('Vector');
wfLoadExtension('ParserFunctions');
wfLoadExtension('Cite');
if (file_exists(getenv('HW_HOME') . '/extra.php')) { require getenv('HW_HOME') . '/extra.php'; }
"""


def png(width: int, height: int, grey: int) -> bytes:
    """A one-coloured picture; another `grey` is another version of it."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = b"".join(b"\0" + bytes([grey]) * width for _ in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def dump_of(pages: dict[str, str], user: str = "Importer") -> bytes:
    """Pages by title as MediaWiki's export XML."""
    escape = xml.sax.saxutils.escape
    body = "".join(
        f"<page><title>{escape(title)}</title><revision><timestamp>2026-01-01T00:00:00Z</timestamp>"
        f"<contributor><username>{user}</username></contributor>"
        f'<model>wikitext</model><format>text/x-wiki</format><text xml:space="preserve">{escape(text)}</text></revision></page>'
        for title, text in pages.items()
    )
    return f'<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/" version="0.10" xml:lang="en">{body}</mediawiki>'.encode()


def free_port() -> int:
    """A port of this machine that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _environment(home: pathlib.Path, **more: str) -> dict[str, str]:
    return {**os.environ, "MW_CONFIG_FILE": str(home / "LocalSettings.php"), "HW_HOME": str(home), **more}


def _maintain(home: pathlib.Path, script: str, *arguments: str) -> None:
    done = subprocess.run(
        ["php", str(TREE / "maintenance" / script), *arguments],
        env=_environment(home),
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{script} failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")


def _install(home: pathlib.Path, pages: int) -> None:
    """Install a wiki into the empty folder `home`: templates first, then the real pages, then the tables derived from them."""
    for name in ("db", "images", "cache", "conf"):
        (home / name).mkdir(parents=True)
    arguments = [
        "--dbtype",
        "sqlite",
        "--dbpath",
        str(home / "db"),
        "--dbname",
        "wiki",
        "--scriptpath",
        "",
        "--confpath",
        str(home / "conf"),
    ]
    subprocess.run(
        [
            "php",
            str(TREE / "maintenance/install.php"),
            *arguments,
            "--server",
            "http://127.0.0.1",
            "--pass",
            PASSWORD,
            "Headwater test",
            ADMIN,
        ],
        cwd=home,
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "MW_CONFIG_FILE": str(home / "conf/LocalSettings.php")},
    )
    (home / "LocalSettings.php").write_text(_SETTINGS)
    (home / "templates.xml").write_bytes(dump_of({f"Template:{name}": text for name, text in templates.TEMPLATES.items()}))
    _maintain(home, "importDump.php", "--no-updates", str(home / "templates.xml"))
    if pages:
        (home / "pages.xml").write_bytes(real_pages(pages))
        _maintain(home, "importDump.php", "--no-updates", str(home / "pages.xml"))
    _maintain(home, "refreshLinks.php", "-q")
    _maintain(home, "rebuildrecentchanges.php", "-q")
    _maintain(home, "initSiteStats.php", "--update")


def _digest(pages: int) -> str:
    sources = [pathlib.Path(module.__file__ or "").read_bytes() for module in (templates, excerpt)]
    version = (TREE / "includes/Defines.php").read_bytes()
    return hashlib.sha256(b"\0".join([*sources, pathlib.Path(__file__).read_bytes(), version, str(pages).encode()])).hexdigest()[:16]


def prepared(pages: int) -> pathlib.Path:
    """A folder that holds an installed wiki of `pages` real pages, made if it is not there yet; it must not be changed."""
    CACHE.mkdir(parents=True, exist_ok=True)
    ready = CACHE / f"wiki-{_digest(pages)}"
    with (CACHE / "wiki.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            work = CACHE / f"wiki-in-work-{os.getpid()}"
            shutil.rmtree(work, ignore_errors=True)
            _install(work, pages)
            work.rename(ready)
    return ready


class Server:
    """PHP's own server with four workers in a process group of its own."""

    def __init__(self, home: pathlib.Path, *, port: int, cached: bool) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        more = {"HW_SERVER": self.url, "PHP_CLI_SERVER_WORKERS": "4", **({} if cached else {"HW_UNCACHED": "1"})}
        with (home / f"php-{port}.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["php", "-d", "variables_order=EGPCS", "-d", "memory_limit=512M", "-S", f"127.0.0.1:{port}", "-t", str(TREE)],
                cwd=home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=_environment(home, **more),
            )

    def wait(self) -> None:
        """Return once the wiki answers."""
        end = time.monotonic() + _START_S
        while time.monotonic() < end:
            try:
                with urllib.request.urlopen(f"{self.url}/api.php?action=query&meta=siteinfo&format=json", timeout=10) as answer:
                    answer.read()
                    return
            except (OSError, urllib.error.URLError):
                time.sleep(0.05)
        raise RuntimeError(f"the wiki did not answer within {_START_S} s; see its php log")

    def stop(self) -> None:
        """End the server with all its workers: they would survive their master."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        with contextlib.suppress(ProcessLookupError):  # a worker may have outlived its master
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(5)


class RealWiki:
    """A running wiki and an administrator's hands in it. Use as a context manager.

    Args:
        home: folder that does not exist yet.
        pages: how many real pages it holds, at most 206; up to 106 none is a redirect.
        port: where it is served; 0 takes a free one.
        oracle: start a second server on the same data that has no parser cache; see `oracle_url`.
        settings: PHP appended to the settings.
    """

    def __init__(self, home: pathlib.Path, *, pages: int = 0, port: int = 0, oracle: bool = False, settings: str = "") -> None:
        self.home = home
        self._pages = pages
        self._port = port or free_port()
        self._oracle_wanted = oracle
        self._extra = settings
        self._servers: list[Server] = []
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
        self._token = ""
        self.url = f"http://127.0.0.1:{self._port}"
        self.oracle_url = ""

    @property
    def api_url(self) -> str:
        """Address of `api.php`."""
        return f"{self.url}/api.php"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Copy the prepared wiki and serve it; returns when it answers and the administrator is logged in."""
        if not self.home.exists():
            shutil.copytree(prepared(self._pages), self.home)
            if self._extra:
                (self.home / "extra.php").write_text("<?php\n" + self._extra)
        try:
            self._servers.append(Server(self.home, port=self._port, cached=True))
            if self._oracle_wanted:
                self._servers.append(Server(self.home, port=free_port(), cached=False))
                self.oracle_url = self._servers[-1].url
            for server in self._servers:
                server.wait()
            self._log_in()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End all servers; the data stay."""
        for server in self._servers:
            server.stop()
        self._servers.clear()

    def api(self, **parameters: str | int) -> dict[str, Any]:
        """One request to the action API as the administrator; raises RuntimeError for an error."""
        sent = urllib.parse.urlencode({**parameters, "format": "json", "formatversion": 2}).encode()
        return self._ask(urllib.request.Request(self.api_url, data=sent))

    def _ask(self, request: urllib.request.Request) -> dict[str, Any]:
        with self._opener.open(request, timeout=60) as answer:
            decoded: dict[str, Any] = json.loads(answer.read())
        if "error" in decoded:
            raise RuntimeError(f"{decoded['error']['code']}: {decoded['error']['info']}")
        return decoded

    def _log_in(self) -> None:
        token = self.api(action="query", meta="tokens", type="login")["query"]["tokens"]["logintoken"]
        done = self.api(action="login", lgname=ADMIN, lgpassword=PASSWORD, lgtoken=token)
        assert done["login"]["result"] == "Success", done
        self._token = self.api(action="query", meta="tokens")["query"]["tokens"]["csrftoken"]

    def write(self, **parameters: str | int) -> dict[str, Any]:
        """An API action that needs a token."""
        return self.api(**parameters, token=self._token)

    def edit(self, title: str, text: str, *, summary: str = "test") -> int:
        """Save a page; returns the new revision (0 for a null edit)."""
        return int(self.write(action="edit", title=title, text=text, summary=summary)["edit"].get("newrevid", 0))

    def delete(self, title: str) -> None:
        """Delete a page, or a file with its page."""
        self.write(action="delete", title=title, reason="test")

    def restore(self, title: str) -> None:
        """Restore a deleted page."""
        self.write(action="undelete", title=title, reason="test")

    def move(self, old: str, new: str, *, redirect: bool = True) -> None:
        """Move a page, leaving a redirect or not."""
        more: dict[str, str | int] = {} if redirect else {"noredirect": 1}
        self.write(action="move", **{"from": old, "to": new, "reason": "test", "ignorewarnings": 1, **more})

    def protect(self, title: str, protections: str = "edit=sysop") -> None:
        """Protect a page."""
        self.write(action="protect", title=title, protections=protections, expiry="never")

    def upload(self, name: str, content: bytes, text: str = "") -> None:
        """Upload a file or a new version of it; `name` without namespace."""
        self._send({"action": "upload", "filename": name, "text": text, "comment": "test", "ignorewarnings": "1"}, ("file", name, content))

    def import_pages(self, pages: dict[str, str]) -> None:
        """Import pages through the API, as another wiki's dump."""
        self._send({"action": "import", "interwikiprefix": "other", "summary": "test"}, ("xml", "dump.xml", dump_of(pages)))

    def _send(self, fields: dict[str, str], file: tuple[str, str, bytes]) -> dict[str, Any]:
        """A multipart request with one file."""
        boundary = "headwater-boundary"
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
            for name, value in {**fields, "format": "json", "formatversion": "2", "token": self._token}.items()
        ]
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{file[0]}"; filename="{file[1]}"\r\n'
        parts += [head.encode(), b"Content-Type: application/octet-stream\r\n\r\n", file[2], f"\r\n--{boundary}--\r\n".encode()]
        return self._ask(
            urllib.request.Request(
                self.api_url, data=b"".join(parts), headers={"Content-Type": f"multipart/form-data; boundary={boundary}"}
            )
        )

    def hide(self, rev: int, *, what: str = "content", suppress: str = "no") -> None:
        """Hide parts of a revision that is not the current one."""
        self.write(action="revisiondelete", type="revision", ids=rev, hide=what, suppress=suppress, reason="test")

    def block(self, user: str) -> None:
        """Block a user or an address."""
        self.write(action="block", user=user, expiry="1 hour", reason="test")

    def text(self, title: str) -> str:
        """The present wikitext of a page."""
        page = self.api(action="query", prop="revisions", titles=title, rvprop="content", rvslots="main")["query"]["pages"][0]
        return str(page["revisions"][0]["slots"]["main"]["content"])

    def titles(self, namespace: int = 0) -> Iterator[str]:
        """Titles of all pages of a namespace."""
        more: dict[str, str] = {}
        while True:
            found = self.api(action="query", list="allpages", apnamespace=namespace, aplimit=500, **more)
            yield from (page["title"] for page in found["query"]["allpages"])
            if "continue" not in found:
                return
            more = found["continue"]

    def fresh_html(self, title: str) -> str | None:
        """The page's HTML from the server without parser cache, or None if there is no such page. Needs `oracle=True`."""
        assert self.oracle_url
        sent = urllib.parse.urlencode(
            {"action": "parse", "page": title, "prop": "text", "disableeditsection": 1, "format": "json", "formatversion": 2}
        )
        with urllib.request.urlopen(f"{self.oracle_url}/api.php", data=sent.encode(), timeout=60) as answer:
            decoded = json.loads(answer.read())
        if decoded.get("error", {}).get("code") == "missingtitle":
            return None
        return str(decoded["parse"]["text"])

    def run_jobs(self) -> None:
        """Run the wiki's job queue until it is empty."""
        done = subprocess.run(
            ["php", str(TREE / "maintenance/runJobs.php")],
            env=_environment(self.home, HW_SERVER=self.url),
            cwd=self.home,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"runJobs.php failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")

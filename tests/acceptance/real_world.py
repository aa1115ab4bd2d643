"""A real MediaWiki with real pages, a real Varnish, and Headwater between them; and what the wiki itself says about every page.

The oracle asks a second server on the same data that has no parser cache, by `action=parse&page=`: another path than the renderer's.
"""

import json
import pathlib
import time
import urllib.parse
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from tests.acceptance.platform_process import PlatformProcess, fetch
from tests.acceptance.served_process import eventually
from tests.real.varnish import RealVarnish
from tests.real.wiki import RealWiki, free_port

from headwater.mediawiki.normalise import normalise
from headwater.mediawiki.titles import encode_title

WIKI = "real"
REST_MAX_S = 240.0
NAMESPACES = (0, 6, 10)
_CONFIG = """
data_dir: {folder}/data
wikis:
  real:
    domains: [real.example]
    api_url: {wiki}/api.php
    source: follower
    poll_interval: 200ms
    concurrency_max: 4
    page_urls: ["{cache}/v1/real/html/{{title}}"]
events: {{listen: "127.0.0.1:0"}}
propagation: {{listen: "127.0.0.1:{pages_port}", read_deadline: 2s, audit_interval: 0s}}
purging:
  listen: "127.0.0.1:0"
  origin_timeout_max: 3s
  targets: [{{name: varnish, url: "{cache}"}}]
logging: {{level: warning}}
storage: {{ballast_bytes: 0B}}
"""


def key_of(title: str) -> str:
    """The prefixed database key of a title."""
    return title.replace(" ", "_")


@dataclass
class RealWorld:
    """Use as a context manager; `folder` must be empty.

    Attributes:
        pages: how many real pages, none a redirect.
    """

    folder: pathlib.Path
    pages: int
    wiki: RealWiki = field(init=False)
    varnish: RealVarnish = field(init=False)
    platform: PlatformProcess = field(init=False)
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        pages_port = free_port()
        with ExitStack() as stack:
            self.wiki = stack.enter_context(RealWiki(self.folder / "wiki", pages=self.pages, oracle=True))
            self.varnish = stack.enter_context(RealVarnish(substitute={'.port = "8082"': f'.port = "{pages_port}"'}))
            config = self.folder / "headwater.yaml"
            config.write_text(_CONFIG.format(folder=self.folder, wiki=self.wiki.url, cache=self.varnish.url, pages_port=pages_port))
            self.platform = stack.enter_context(PlatformProcess(config))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    # what the wiki says

    def titles(self) -> list[str]:
        """Keys of all pages that exist now."""
        return [key_of(title) for namespace in NAMESPACES for title in self.wiki.titles(namespace)]

    def truth(self) -> Mapping[str, str]:
        """Each page's HTML as the wiki makes it now, without any cache."""
        titles = self.titles()
        with ThreadPoolExecutor(3) as pool:
            made = pool.map(self.wiki.fresh_html, titles)
            return {title: normalise(html) for title, html in zip(titles, made, strict=True) if html is not None}

    def users_of(self, title: str) -> set[str]:
        """Keys of the pages that transclude or link to `title` according to the wiki's own links tables; the page itself too."""
        found = {key_of(title)}
        for kind, prefix in (("embeddedin", "ei"), ("backlinks", "bl"), ("imageusage", "iu")):
            if kind == "imageusage" and not title.startswith("File:"):
                continue
            more: dict[str, str] = {}
            while True:
                asked: dict[str, str | int] = {f"{prefix}title": title, f"{prefix}limit": 500, **more}
                answer = self.wiki.api(action="query", list=kind, **asked)
                found |= {key_of(page["title"]) for page in answer["query"][kind]}
                if "continue" not in answer:
                    break
                more = answer["continue"]
        return found

    # what everybody sees

    def path(self, title: str) -> str:
        """The path of a page in the pages API."""
        return f"/v1/{WIKI}/html/{encode_title(title)}"

    def page(self, title: str) -> tuple[int, dict[str, str], str]:
        """A page as the pages API serves it."""
        status, headers, body = self.platform.ask("propagation", self.path(title), headers={"Headwater-Read": "stale"})
        if status == 301:  # a redirect shows itself only without being followed
            status, headers, body = self.platform.ask("propagation", self.path(title) + "?redirect=no", headers={"Headwater-Read": "stale"})
        return status, headers, body.decode()

    def cached(self, title: str) -> tuple[int, dict[str, str], str]:
        """A page as Varnish serves it."""
        status, headers, body = fetch(self.varnish.url + self.path(title))
        return status, headers, body.decode()

    def warm(self, titles: Iterable[str]) -> int:
        """Let Varnish keep every page, and see that it answers from its cache; returns how many it holds."""
        hits = 0
        for title in titles:
            self.cached(title)
            status, headers, _ = self.cached(title)
            assert headers["x-cache"] == "hit" and "age" in headers, (title, status, headers)
            hits += 1
        return hits

    def seqs(self, titles: Iterable[str]) -> dict[str, str]:
        """The seq of the last commit of each page: it changes exactly when the page is rendered."""
        found = {}
        for title in titles:
            status, _, body = self.platform.ask("propagation", f"/v1/{WIKI}/pages/{encode_title(title)}/explain")
            found[title] = json.loads(body)["seq"] if status == 200 else "unknown"
        return found

    def explain(self, title: str) -> dict[str, Any]:
        """What Headwater says about a page that it knows."""
        found: dict[str, Any] = self.platform.json("propagation", f"/v1/{WIKI}/pages/{encode_title(title)}/explain")
        return found

    def status(self) -> dict[str, Any]:
        """What propagation says of the wiki."""
        found: dict[str, Any] = self.platform.json("propagation", "/v1/status")["wikis"][0]
        return found

    # waiting

    def backfill(self) -> None:
        """Let every page be known and rendered."""
        status, _, body = self.platform.ask("propagation", f"/v1/{WIKI}/backfill", method="POST", body=b"{}")
        assert status == 202, body
        self.rest()

    def rest(self, *, applied_after: int = -1) -> None:
        """Wait until a change after LSN `applied_after` is applied and nothing is left to do, second purges included."""

        def at_rest() -> bool:
            if int(self.status()["applied"]) <= applied_after:
                return False
            if not self.platform.json("propagation", f"/v1/{WIKI}/rest")["at_rest"]:
                return False
            purging = self.platform.json("purging", "/v1/status")
            return purging["caught_up"] and not purging["unfinished"] and not purging["dead_letters"]

        # Asking more often would take the wiki a tenth of the machine.
        eventually(at_rest, within_s=REST_MAX_S, what=lambda: f"{self.status()} {self.platform.last_words()}", every_s=0.15)

    def after(self, act: Callable[[], object]) -> None:
        """Do something in the wiki and wait until all that follows from it is done: every row of it seen, and rest."""
        before = int(self.status()["applied"])
        act()
        self.rest(applied_after=before)
        end_s = time.monotonic() + 1.5  # several rows of one action may be read by several polls
        while time.monotonic() < end_s:
            time.sleep(0.1)
        self.rest()

    def wrong(self) -> list[str]:
        """Where pages API or Varnish differ from the wiki, over every page."""
        found = []
        for title, html in self.truth().items():
            status, headers, body = self.page(title)
            if (status, headers.get("x-headwater-state"), body) != (200, "fresh", html):
                found.append(f"{title}: {status} {headers.get('x-headwater-state')}{difference(html, body)}")
            kept_status, kept_headers, kept = self.cached(title)
            if kept_status == 200 and kept != html:
                found.append(f"{title} in Varnish ({kept_headers['x-cache']}, age {kept_headers.get('age')})")
            elif kept_status not in (200, 301):
                found.append(f"{title} in Varnish: {kept_status}")
        return found


def difference(expected: str, found: str) -> str:
    """Where two texts begin to differ, for a message."""
    if expected == found:
        return ""
    at = next((i for i, (a, b) in enumerate(zip(expected, found, strict=False)) if a != b), min(len(expected), len(found)))
    return f"\n  expected …{expected[max(0, at - 60) : at + 100]!r}\n  found    …{found[max(0, at - 60) : at + 100]!r}"


def quoted(title: str) -> str:
    """A title in a query string."""
    return urllib.parse.quote(title, safe="")

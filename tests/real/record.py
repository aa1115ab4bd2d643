"""Records every kind of recentchanges row that the follower knows, from a real MediaWiki: `make record`, or `python -m
tests.real.record`.

Each step does one thing in the wiki and keeps the rows that it left, as an anonymous reader sees them (suppression: as somebody with the
right to see it), with what the follower would look up beside them. The files in `tests/data/recentchanges` are the input of unit tests;
hosts in them are loopback.
"""

import json
import pathlib
import sys
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any

from tests.real.wiki import RealWiki, png

from headwater.mediawiki.recentchanges import LEPROP, RCPROP, RCTYPE

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "data/recentchanges"


def _anonymous(wiki: RealWiki, **parameters: str | int) -> dict[str, Any]:
    sent = urllib.parse.urlencode({"format": "json", "formatversion": 2, "action": "query", **parameters})
    with urllib.request.urlopen(f"{wiki.api_url}?{sent}", timeout=30) as answer:
        decoded: dict[str, Any] = json.loads(answer.read())
    return decoded


class _Recorder:
    """Keeps what each step leaves behind."""

    def __init__(self, wiki: RealWiki) -> None:
        self._wiki = wiki
        self._number = 0
        self._last = self._rows()[-1]["rcid"]

    def _rows(self) -> list[dict[str, Any]]:
        answer = _anonymous(self._wiki, list="recentchanges", rcprop=RCPROP, rctype=RCTYPE, rcdir="newer", rclimit=500)
        rows: list[dict[str, Any]] = answer["query"]["recentchanges"]
        return sorted(rows, key=lambda row: int(row["rcid"]))

    def step(self, name: str, action: Callable[[], object], *, rows: bool = True) -> None:
        """Do one thing and keep the rows that are new after it; with `rows=False` only do it."""
        action()
        new = [row for row in self._rows() if row["rcid"] > self._last]
        self._last = max([self._last, *(row["rcid"] for row in new)])
        if not rows:
            return
        assert new, f"{name} left no row"
        titles = sorted({str(row["title"]) for row in new if row.get("logtype") in ("move", "merge")})
        pages = _anonymous(self._wiki, prop="info", titles="|".join(titles))["query"]["pages"] if titles else []
        self._number += 1
        self.keep(f"{self._number:02d}-{name}", {"query": {"recentchanges": new}, "looked_up": pages})

    def keep(self, name: str, answer: dict[str, Any]) -> None:
        """Write one file."""
        (FOLDER / f"{name}.json").write_text(json.dumps(answer, indent=1, ensure_ascii=False) + "\n")


def _pages(recorder: _Recorder, wiki: RealWiki) -> None:
    recorder.step("new", lambda: wiki.edit("Recorded page", "one [[Elsewhere]]"))
    recorder.step("edit", lambda: wiki.edit("Recorded page", "two"))
    recorder.step("edit-again", lambda: wiki.edit("Recorded page", "three"))
    recorder.step("move-with-redirect", lambda: wiki.move("Recorded page", "Talk:Recorded/Page & more"))
    recorder.step("move-over-redirect", lambda: wiki.move("Talk:Recorded/Page & more", "Recorded page"))
    recorder.step("move-without-redirect", lambda: wiki.move("Recorded page", "Recorded elsewhere", redirect=False))
    recorder.step("protect", lambda: wiki.protect("Recorded elsewhere", "edit=sysop|move=sysop"))
    recorder.step("protect-modify", lambda: wiki.protect("Recorded elsewhere", "edit=autoconfirmed"))
    recorder.step("unprotect", lambda: wiki.protect("Recorded elsewhere", "edit=all|move=all"))
    recorder.step("delete", lambda: wiki.delete("Recorded elsewhere"))
    recorder.step("restore", lambda: wiki.restore("Recorded elsewhere"))
    recorder.step("redirect", lambda: wiki.edit("Recorded redirect", "#REDIRECT [[Recorded elsewhere#Part]]"))


def _details(recorder: _Recorder, wiki: RealWiki) -> None:
    first = wiki.edit("Recorded secret", "name and address")
    hidden = wiki.edit("Recorded secret", "nothing")
    wiki.edit("Recorded secret", "something else")
    recorder.step("visibility", lambda: wiki.hide(first))
    recorder.step(
        "visibility-of-two", lambda: wiki.write(action="revisiondelete", type="revision", ids=f"{first}|{hidden}", hide="user|comment")
    )
    recorder.step("suppress", lambda: wiki.hide(hidden, suppress="yes"), rows=False)
    wiki.edit("Recorded model", "alert(1)")
    recorder.step("content-model", lambda: wiki.write(action="changecontentmodel", title="Recorded model", model="text", summary="test"))
    wiki.edit("Recorded source", "to be merged")
    wiki.edit("Recorded source", "to be merged, twice")
    wiki.edit("Recorded goal", "younger")
    recorder.step("other-edits", lambda: None)
    recorder.step("merge", lambda: wiki.write(action="mergehistory", **{"from": "Recorded source", "to": "Recorded goal"}))
    recorder.step("import", lambda: wiki.import_pages({"Recorded import": "from elsewhere", "Template:Recorded import": "as well"}))
    recorder.step("tag", lambda: wiki.write(action="managetags", operation="create", tag="recorded"))
    recorder.step("user", lambda: _new_user(wiki))
    recorder.step("rights", lambda: _make_a_bot(wiki))
    recorder.step("block", lambda: wiki.block("192.0.2.7"))
    recorder.step("reblock", lambda: wiki.write(action="block", user="192.0.2.7", expiry="2 hours", reblock=1))
    recorder.step("unblock", lambda: wiki.write(action="unblock", user="192.0.2.7"))


def _new_user(wiki: RealWiki) -> None:
    token = wiki.api(action="query", meta="tokens", type="createaccount")["query"]["tokens"]["createaccounttoken"]
    wiki.api(
        action="createaccount",
        createtoken=token,
        username="Bob",
        password="a-long-horse-password",
        retype="a-long-horse-password",
        createreturnurl=wiki.url,
        reason="test",
    )


def _make_a_bot(wiki: RealWiki) -> None:
    token = wiki.api(action="query", meta="tokens", type="userrights")["query"]["tokens"]["userrightstoken"]
    wiki.api(action="userrights", user="Bob", add="bot", token=token)


def _files(recorder: _Recorder, wiki: RealWiki) -> None:
    recorder.step("upload", lambda: wiki.upload("Recorded.png", png(20, 20, 10), "a picture"))
    recorder.step("overwrite", lambda: wiki.upload("Recorded.png", png(30, 20, 90)))
    old = wiki.api(action="query", titles="File:Recorded.png", prop="imageinfo", iiprop="archivename", iilimit=9)
    name = old["query"]["pages"][0]["imageinfo"][1]["archivename"]
    recorder.step("file-revert", lambda: wiki.write(action="filerevert", filename="Recorded.png", archivename=name, comment="test"))
    recorder.step("file-move", lambda: wiki.move("File:Recorded.png", "File:Recorded anew.png"))
    recorder.step("file-delete", lambda: wiki.delete("File:Recorded anew.png"))
    recorder.step("file-restore", lambda: wiki.restore("File:Recorded anew.png"))


def main() -> None:
    """Record everything anew."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.glob("*.json"):
        old.unlink()
    with tempfile.TemporaryDirectory(prefix="headwater-record-") as folder, RealWiki(pathlib.Path(folder, "wiki")) as wiki:
        recorder = _Recorder(wiki)
        _pages(recorder, wiki)
        _details(recorder, wiki)
        _files(recorder, wiki)
        recorder.keep("suppress-log", wiki.api(action="query", list="logevents", letype="suppress", leprop=LEPROP, ledir="newer"))
        recorder.keep(
            "siteinfo", _anonymous(wiki, meta="siteinfo", siprop="general|namespaces|namespacealiases|interwikimap", curtimestamp=1)
        )
    print(f"{len(list(FOLDER.glob('*.json')))} recordings in {FOLDER}", file=sys.stderr)


if __name__ == "__main__":
    main()

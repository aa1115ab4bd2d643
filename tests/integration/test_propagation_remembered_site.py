"""What a wiki says about itself is remembered over a restart, for the time that it does not answer."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from headwater.kernel.errors import Unavailable
from headwater.mediawiki.titles import SiteInfo
from headwater.propagation.engines import remembered_site
from headwater.propagation.engines.remembered_site import RememberedSite

Run = Callable[[Coroutine[Any, Any, Any]], Any]
SITE = SiteInfo(
    "w", "https://w.example", "/wiki/$1", "/w/index.php", {"": 0, "talk": 1}, {0: "", 1: "Talk"}, frozenset({2}), frozenset({"de"})
)


@dataclass
class FakeWiki:
    """A wiki that answers, fails or stays silent."""

    answer: SiteInfo | Unavailable | None

    async def site(self) -> SiteInfo:
        """The answer planned; None never comes."""
        if self.answer is None:
            await asyncio.Event().wait()
        if isinstance(self.answer, Unavailable):
            raise self.answer
        assert self.answer is not None
        return self.answer


@pytest.mark.parametrize("silence", [Unavailable("down"), None], ids=["errors", "silence"])
def test_the_last_answer_outlives_a_restart(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, silence: Unavailable | None) -> None:
    monkeypatch.setattr(remembered_site, "FRESH_WAIT_S_MAX", 0.01)
    path, later = tmp_path / "site.json", replace(SITE, articlepath="/$1")

    async def scenario() -> None:
        wiki = FakeWiki(SITE)
        site = RememberedSite(wiki, path)
        assert await site.site() == SITE
        wiki.answer = later
        assert await site.site() == later
        found = await RememberedSite(FakeWiki(silence), path).site()
        assert found == later and found.normalise("talk:x y") == "Talk:X_y"

    run(scenario())


def test_without_an_earlier_answer_the_wiki_has_to_answer(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "site.json"
    path.write_text('{"of": "another version"}')

    async def scenario() -> None:
        with pytest.raises(Unavailable):
            await RememberedSite(FakeWiki(Unavailable("down")), path).site()
        assert await RememberedSite(FakeWiki(SITE), path).site() == SITE

    run(scenario())


def test_a_place_that_cannot_be_written_changes_no_answer(tmp_path: Path, run: Run) -> None:
    assert run(RememberedSite(FakeWiki(SITE), tmp_path / "no such directory" / "site.json").site()) == SITE

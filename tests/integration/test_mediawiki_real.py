"""The renderer and the follower against a real MediaWiki whose job queue stands still."""

import asyncio
import pathlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from tests.real.templates import FILE_USED, MISSING
from tests.real.wiki import ADMIN, PASSWORD, RealWiki, png

from headwater.kernel.clock import SystemClock
from headwater.kernel.config import Seconds, Secret
from headwater.kernel.errors import InvalidInput
from headwater.kernel.ids import SystemIds
from headwater.kernel.metrics import Metrics
from headwater.log.engines.memory import MemoryLog
from headwater.log.model import Fence, NewRecord, Policy, StreamSpec
from headwater.mediawiki import metrics as m
from headwater.mediawiki.answers import PagesAnswer
from headwater.mediawiki.client import WikiClient
from headwater.mediawiki.config import WikiConfig
from headwater.mediawiki.follower import Follower
from headwater.mediawiki.normalise import normalise
from headwater.mediawiki.ports import SinkResult
from headwater.propagation.engines.mediawiki import MediaWikiRenderer
from headwater.propagation.model import Gone, Lsn, PageKey, Rendered, Title
from headwater.propagation.ports import RenderRequest

pytestmark = pytest.mark.real("mediawiki")


@pytest.fixture(scope="module")
def wiki(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealWiki]:
    """A wiki with its templates and a few pages in our own words; its jobs never run."""
    with RealWiki(tmp_path_factory.mktemp("real") / "wiki", oracle=True) as running:
        running.edit(
            "Brook", "{{Cite web|title=Brooks|url=http://brooks.example/}} [[River]] {{Cite news|title=Flood}} {{Commons category|Brooks}}"
        )
        running.edit("River", "[[Brook]] {{Dmoz|rivers|Rivers}} [[File:Unknown.png]]")
        running.edit("Lonely", "nothing")
        yield running


def with_client(wiki: RealWiki, work: Callable[[WikiClient], Awaitable[Any]], **settings: Any) -> Any:
    """Run `work` with a client of the wiki."""

    async def scenario() -> Any:
        config = WikiConfig(domains=("real.example",), api_url=wiki.api_url, **settings)
        client = WikiClient("real", config, clock=SystemClock(), ids=SystemIds(), metrics=Metrics(m.METRICS))
        try:
            return await work(client)
        finally:
            await client.close()

    return asyncio.run(scenario())


def rendered(wiki: RealWiki, title: str) -> Rendered:
    """The page as it is rendered now."""

    async def work(client: WikiClient) -> Rendered:
        renderer = MediaWikiRenderer(client, clock=SystemClock())
        found = await renderer.resolve(Title(title))
        assert found is not None
        outcome = await renderer.render(RenderRequest(found[0], found[1], Lsn(0), {}))
        await renderer.close()
        assert isinstance(outcome, Rendered), outcome
        return outcome

    result: Rendered = with_client(wiki, work)
    return result


def assert_fresh(wiki: RealWiki, render: Rendered) -> None:
    """The render equals what the server without parser cache gives for the page."""
    html = wiki.fresh_html(render.title.replace("_", " "))
    assert html is not None
    assert render.body.decode() == normalise(html)


def test_a_template_edit_shows_although_the_wikis_cache_is_old(wiki: RealWiki) -> None:
    wiki.api(action="parse", page="Brook")  # fills the wiki's parser cache
    wiki.edit("Template:Citation/core", "CORE TWO {{{title|}}}{{Citation/date|year=}}")
    assert "CORE TWO" not in wiki.api(action="parse", page="Brook", prop="text")["parse"]["text"], "the trap is not set: jobs ran"
    render = rendered(wiki, "Brook")
    assert b"CORE TWO Brooks" in render.body
    assert_fresh(wiki, render)


def test_reads_name_what_was_met_and_what_was_missing(wiki: RealWiki) -> None:
    reads = rendered(wiki, "Brook").reads
    assert {"c:Brook", "e:Brook", "c:Template:Cite_web", "c:Template:Citation/core", "c:Template:Citation/date", "e:River"} <= reads
    assert {f"c:{MISSING}".replace(" ", "_"), f"e:{MISSING}".replace(" ", "_"), f"f:{FILE_USED}".replace(" ", "_")} <= reads
    through_redirect = rendered(wiki, "River").reads
    assert {"c:Template:Dmoz", "c:Template:DMOZ", "f:File:Unknown.png"} <= through_redirect
    assert not any(read.startswith("t:") for read in reads)


def test_a_missing_template_and_file_show_once_they_are_there(wiki: RealWiki) -> None:
    before = rendered(wiki, "Brook")
    wiki.edit(MISSING, "NEWS {{{title|}}}")
    wiki.upload(FILE_USED.removeprefix("File:"), png(20, 20, 10))
    after = rendered(wiki, "Brook")
    assert b"NEWS Flood" not in before.body
    assert b"NEWS Flood" in after.body
    assert b"<img" in after.body
    assert_fresh(wiki, after)


@pytest.mark.parametrize(
    ("title", "text"),
    [
        ("Blank", ""),
        ("Category:Some", "about it"),
        ("User:Admin/x.css", ".a { color: red }"),
        ("MediaWiki:Gadget.js", "let a = '{{Cite web}}'"),
        ("Way", "#REDIRECT [[Brook#Part]]"),
        ("Own revision", "{{REVISIONID}} {{REVISIONUSER}} {{PAGEID}}"),
    ],
)
def test_pages_of_every_kind_are_rendered_as_the_wiki_does(wiki: RealWiki, title: str, text: str) -> None:
    wiki.edit(title, "something first")
    wiki.edit(title, text)
    render = rendered(wiki, title)
    assert_fresh(wiki, render)
    assert render.redirect == ("Brook" if title == "Way" else None)


def test_a_page_with_the_time_in_it_reads_the_time(wiki: RealWiki) -> None:
    wiki.edit("Clock", "{{CURRENTTIME}}")
    assert "t:hour" in rendered(wiki, "Clock").reads


def test_a_deleted_page_is_gone_and_a_moved_one_is_not(wiki: RealWiki) -> None:
    wiki.edit("Mortal", "x")
    wiki.edit("Mover", "y")

    async def work(client: WikiClient) -> None:
        renderer = MediaWikiRenderer(client, clock=SystemClock())
        mortal, mover = await renderer.resolve(Title("Mortal")), await renderer.resolve(Title("Mover"))
        assert mortal is not None and mover is not None
        await asyncio.to_thread(wiki.delete, "Mortal")
        await asyncio.to_thread(wiki.move, "Mover", "Moved away")
        gone, moved = await asyncio.gather(*(renderer.render(RenderRequest(key, title, Lsn(0), {})) for key, title in (mortal, mover)))
        assert gone == Gone(Title("Mortal"))
        assert isinstance(moved, Rendered) and moved.title == "Moved_away"
        assert await renderer.resolve(Title("Mortal")) is None
        left = await renderer.resolve(Title("Mover"))
        assert left is not None and left[0] != mover[0]
        await renderer.close()

    with_client(wiki, work)


def test_all_pages_are_listed_once_in_parts(wiki: RealWiki) -> None:
    async def work(client: WikiClient) -> None:
        renderer = MediaWikiRenderer(client, clock=SystemClock())
        found: list[tuple[PageKey, Title]] = []
        token: str | None = None
        while True:
            part, token = await renderer.pages(token, 7)
            assert len(part) <= 7
            found += part
            if token is None:
                break
        expected = {title.replace(" ", "_") for namespace in (0, 2, 6, 8, 10, 14) for title in wiki.titles(namespace)}
        assert {title for _, title in found} == expected
        assert len(found) == len(expected)

    with_client(wiki, work)


def test_titles_are_normalised_as_the_wiki_does(wiki: RealWiki) -> None:
    texts = ["foo bar", "template:x", "IMAGE :y.png", "project talk:x", "ßtraße", "e\u0301a", "a%41", ":Template:foo", "talk:file:x"]
    texts += [
        "x/../y",
        "Ωmega",
        "ǆ",
        "ა",
        "ŉ",
        "foo::bar",
        "Category :x",
        "media:Foo.png",
        "+x",
        "wikia:x",
        "a" * 256,
        " _x__y_ ",
        "%C3%A9",
        "?a&b",
    ]

    async def work(client: WikiClient) -> None:
        site = await client.site()
        for text in texts:
            told = (await client.call(PagesAnswer, {"action": "query", "prop": "info", "titles": text})).query.pages
            expected = told[0].title.replace(" ", "_") if told and not told[0].invalid else None
            try:
                own: str | None = site.normalise(text)
            except InvalidInput:
                own = None
            assert own == expected, text

    with_client(wiki, work)


@dataclass
class ListSink:
    """An `EventSink` that remembers events and appends what stands beside them."""

    log: MemoryLog
    events: list[dict[str, Any]] = field(default_factory=list)

    async def accept_atomic(self, events: Sequence[bytes], *, beside: Sequence[NewRecord], fence: Fence) -> SinkResult:
        """Keeps them."""
        await self.log.append_atomic(list(beside), fence=fence)
        self.events += [msgspec.json.decode(event) for event in events]
        return SinkResult(len(events))


def test_what_is_done_in_the_wiki_is_followed(wiki: RealWiki) -> None:
    async def work(client: WikiClient) -> None:
        log = MemoryLog(clock=SystemClock())
        await log.declare([StreamSpec("e", Policy.KEEP)])
        sink = ListSink(log)

        def another() -> Follower:
            return Follower(client, log=log, sink=sink, clock=SystemClock(), ids=SystemIds(), metrics=Metrics(m.METRICS))

        follower = another()
        await follower.take_over()
        await follower.poll()
        sink.events.clear()
        rev = await asyncio.to_thread(wiki.edit, "Followed", "one")
        await follower.poll()
        assert [(e["meta"]["stream"], e["page_title"], e["rev_id"]) for e in sink.events] == [
            ("mediawiki.page-create", "Followed", rev),
            ("mediawiki.revision-create", "Followed", rev),
        ]
        await follower.poll()
        assert len(sink.events) == 2, "a row is taken once"
        sink.events.clear()
        await asyncio.to_thread(wiki.move, "Followed", "Followed elsewhere")
        await asyncio.to_thread(wiki.delete, "Followed elsewhere")
        follower = another()
        await follower.take_over()
        await follower.poll()
        streams = [event["meta"]["stream"] for event in sink.events]
        assert streams == ["mediawiki.page-move", "mediawiki.page-create", "mediawiki.page-delete"]
        status = follower.status()
        assert (status.state, status.unknown, status.unreadable, status.suppressions_followed) == ("following", 0, 0, False)
        assert status.lag_s is not None and status.lag_s < 10

    with_client(wiki, work, overlap=Seconds(30))


def test_suppressions_are_followed_with_the_right_to_see_them(wiki: RealWiki) -> None:
    old = wiki.edit("Suppressed", "a name")
    wiki.edit("Suppressed", "no name")

    async def work(client: WikiClient) -> None:
        log = MemoryLog(clock=SystemClock())
        await log.declare([StreamSpec("e", Policy.KEEP)])
        sink = ListSink(log)
        follower = Follower(client, log=log, sink=sink, clock=SystemClock(), ids=SystemIds(), metrics=Metrics(m.METRICS))
        await follower.take_over()
        await follower.poll()
        sink.events.clear()
        await asyncio.to_thread(wiki.hide, old, suppress="yes")
        await follower.poll()
        found = [(e["meta"]["stream"], e["rev_id"], e["visibility"]["text"]) for e in sink.events]
        assert found == [("mediawiki.revision-visibility-change", old, False)]
        assert follower.status().suppressions_followed

    with_client(wiki, work, username=ADMIN, password=Secret(PASSWORD))


def test_setting_up_a_wiki_leaves_the_prepared_one_as_it_was(tmp_path: pathlib.Path) -> None:
    with RealWiki(tmp_path / "wiki") as one:
        one.edit("Only here", "x")
    with RealWiki(tmp_path / "other") as two:
        assert "Only here" not in list(two.titles())

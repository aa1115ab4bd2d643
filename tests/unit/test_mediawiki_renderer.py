"""What the renderer makes of a wiki's answers: reads, redirects, absence, races, lag."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
import pytest

from headwater.kernel.config import Seconds
from headwater.kernel.errors import HeadwaterError
from headwater.mediawiki.answers import PagesAnswer, Parse, ParseAnswer
from headwater.mediawiki.config import WikiConfig
from headwater.mediawiki.errors import AnswerTooLarge, WikiBusy, WikiRefused, WikiUnavailable
from headwater.mediawiki.ports import A, Value
from headwater.mediawiki.titles import SiteInfo
from headwater.propagation.engines.mediawiki import MediaWikiRenderer, outcome_of, rendered_of
from headwater.propagation.model import Failed, Gone, Lsn, Outcome, PageKey, Rendered, Resource, Retry, Title
from headwater.propagation.ports import RenderRequest
from headwater.testing.clock import ManualClock

SITE = SiteInfo(
    "w", "http://w", "/$1", "/index.php", {"template": 10, "file": 6, "special": -1}, {0: "", 6: "File", 10: "Template", -1: "Special"},
    frozenset(), frozenset(), lifetime_s_max=86_400,
)  # fmt: skip


@dataclass
class FakeApi:
    """An `ActionApi` with pages in memory; `on_parse` may change the answer to a parse or raise."""

    pages: dict[int, dict[str, Any]]
    config: WikiConfig = field(
        default_factory=lambda: WikiConfig(domains=("w",), api_url="http://w/api.php", replication_window=Seconds(8))
    )
    name: str = "w"
    parse: dict[str, Any] = field(default_factory=dict)
    error: HeadwaterError | None = None
    cut_after: int = 1000
    asked: list[Mapping[str, Value]] = field(default_factory=list)

    async def call(self, answer: type[A], parameters: Mapping[str, Value]) -> A:
        """Answers pages by id, redirects and parses."""
        self.asked.append(parameters)
        if self.error is not None:
            raise self.error
        if answer is ParseAnswer:
            ids = [number for number, page in self.pages.items() if page["title"] == parameters["title"]]
            parse = {"title": parameters["title"], "pageid": ids[0], "text": f"<p>{parameters['text']}</p>", **self.parse}
            return cast(A, msgspec.convert({"parse": parse}, ParseAnswer))
        return cast(A, msgspec.convert({"query": self._query(parameters)}, PagesAnswer))

    def _query(self, parameters: Mapping[str, Value]) -> dict[str, Any]:
        ids = [int(number) for number in str(parameters["pageids"]).split("|")]
        if parameters.get("redirects"):
            return {"redirects": [{"from": self.pages[n]["title"], "to": self.pages[n]["to"]} for n in ids]}
        return {"pages": [self._page(number) for number in ids]}

    def _page(self, number: int) -> dict[str, Any]:
        if number not in self.pages:
            return {"pageid": number, "missing": True}
        page = self.pages[number]
        slot = {"contentmodel": "wikitext", "content": page.get("text", "x")} if "hidden" not in page else {"texthidden": True}
        revision = {"revid": page.get("rev", 1), "slots": {"main": slot}}
        return {"pageid": number, "ns": 0, "title": page["title"], "redirect": "to" in page, "revisions": [revision]}

    async def call_all(self, answer: type[A], parameters: Mapping[str, Value], *, answers_max: int) -> AsyncIterator[A]:
        """Cuts the text off after some pages, as a wiki does by size."""
        whole = cast(PagesAnswer, await self.call(answer, parameters)).query.pages
        for first in range(0, len(whole), self.cut_after):
            told = [p if first <= n < first + self.cut_after else msgspec.structs.replace(p, revisions=()) for n, p in enumerate(whole)]
            yield cast(A, msgspec.convert({"query": {"pages": msgspec.to_builtins(told)}}, PagesAnswer))

    async def site(self) -> SiteInfo:
        """The site of these tests."""
        return SITE

    async def rights(self) -> frozenset[str]:
        """None."""
        return frozenset()


async def _render(api: FakeApi, *pages: int, revs: Mapping[str, int | None] | None = None) -> list[Outcome]:
    clock = ManualClock()
    renderer = MediaWikiRenderer(api, clock=clock)
    known = {Resource(name): rev for name, rev in (revs or {}).items()}
    requests = [RenderRequest(PageKey(page), Title(api.pages.get(page, {"title": "Gone"})["title"]), Lsn(0), known) for page in pages]
    tasks = [asyncio.create_task(renderer.render(request)) for request in requests]
    await clock.run_for(1)
    outcomes = await asyncio.gather(*tasks)
    await renderer.close()
    return list(outcomes)


def rendered(api: FakeApi, page: int = 1, revs: Mapping[str, int | None] | None = None) -> Outcome:
    """The outcome of one render."""
    return asyncio.run(_render(api, page, revs=revs))[0]


def test_reads_are_everything_that_the_html_depends_on() -> None:
    parse = {
        "title": "Page A",
        "pageid": 1,
        "text": "x",
        "templates": [{"ns": 10, "title": "Template:Cite web", "exists": True}, {"ns": 10, "title": "Template:Not there", "exists": False}],
        "links": [{"ns": 0, "title": "Red link", "exists": False}, {"ns": 6, "title": "File:Linked.png", "exists": True}],
        "images": ["Some_picture.png"],
        "limitreportdata": [{"name": "cachereport-ttl", "0": 86_400}],
    }
    outcome = rendered_of(msgspec.convert(parse, Parse), SITE, rev=7, redirect=None)
    assert outcome == Rendered(
        Title("Page_A"),
        b"x",
        frozenset(
            map(
                Resource,
                {
                    "c:Page_A",
                    "e:Page_A",
                    "c:Template:Cite_web",
                    "c:Template:Not_there",
                    "e:Template:Not_there",
                    "e:Red_link",
                    "e:File:Linked.png",
                    "f:File:Linked.png",
                    "f:File:Some_picture.png",
                    "s:renderer:1",
                },
            )
        ),
        7,
    )


@pytest.mark.parametrize(("lifetime_s", "read"), [(86_400, None), (43_200, "t:day"), (3600, "t:hour"), (0, "t:hour")])
def test_html_that_the_wiki_keeps_for_less_reads_the_time(lifetime_s: int, read: str | None) -> None:
    parse = Parse(title="A", pageid=1, limitreportdata=msgspec.convert([{"name": "cachereport-ttl", "0": lifetime_s}], Any))
    parse = msgspec.convert(msgspec.to_builtins(parse), Parse)
    times = [r for r in rendered_of(parse, SITE, rev=1, redirect=None).reads if r.startswith("t:")]
    assert times == ([read] if read else [])


def test_the_text_given_is_the_current_one_with_its_revision() -> None:
    api = FakeApi({1: {"title": "A", "text": "now", "rev": 9}})
    outcome = rendered(api)
    assert isinstance(outcome, Rendered)
    assert (outcome.body, outcome.rev) == (b"<p>now</p>", 9)
    parse = api.asked[-1]
    assert (parse["text"], parse["revid"], parse["contentmodel"]) == ("now", 9, "wikitext")
    assert "page" not in parse and "oldid" not in parse


def test_renders_at_once_share_their_fetch() -> None:
    api = FakeApi({number: {"title": f"P{number}"} for number in range(1, 61)})
    outcomes = asyncio.run(_render(api, *range(1, 61)))
    assert all(isinstance(outcome, Rendered) for outcome in outcomes)
    fetches = [str(asked["pageids"]).count("|") + 1 for asked in api.asked if "pageids" in asked]
    assert sorted(fetches) == [10, 50]


def test_an_answer_cut_by_size_is_put_together() -> None:
    api = FakeApi({number: {"title": f"P{number}"} for number in range(1, 8)}, cut_after=2)
    assert all(isinstance(outcome, Rendered) for outcome in asyncio.run(_render(api, *range(1, 8))))


def test_a_redirect_names_its_target_and_reads_it() -> None:
    outcome = rendered(FakeApi({1: {"title": "Old", "to": "New place"}}))
    assert isinstance(outcome, Rendered)
    assert outcome.redirect == "New_place"
    assert "e:New_place" in outcome.reads


@pytest.mark.parametrize("target", ["Old", "Special:Search"])
def test_a_redirect_to_itself_or_to_no_page_is_none(target: str) -> None:
    outcome = rendered(FakeApi({1: {"title": "Old", "to": target}}))
    assert isinstance(outcome, Rendered)
    assert outcome.redirect is None


def test_what_the_wiki_calls_missing_is_gone() -> None:
    assert rendered(FakeApi({}), 5) == Gone(Title("Gone"))


def test_a_lagging_replica_may_not_say_that_a_new_page_is_gone() -> None:
    assert isinstance(rendered(FakeApi({}), 5, {"e:Gone": None}), Retry)


def test_a_page_moved_between_fetch_and_parse_has_its_new_title() -> None:
    outcome = rendered(FakeApi({1: {"title": "Old"}}, parse={"title": "New name"}))
    assert isinstance(outcome, Rendered)
    assert outcome.title == "New_name"
    assert "c:New_name" in outcome.reads


def test_a_revision_that_belongs_to_another_page_by_now_is_tried_again() -> None:
    assert isinstance(rendered(FakeApi({1: {"title": "Old"}}, parse={"pageid": 2})), Retry)


def test_a_hidden_text_fails_with_the_reason() -> None:
    outcome = rendered(FakeApi({1: {"title": "A", "hidden": True}}))
    assert isinstance(outcome, Failed)


@pytest.mark.parametrize(
    ("error", "kind", "after_s"),
    [
        (WikiBusy("maxlag", retry_after_s=5.0), Retry, 5.0),
        (WikiBusy("readonly"), Retry, 1.0),
        (WikiUnavailable("no answer"), Retry, 2.0),
        (WikiRefused("…", api_code="nosuchrevid"), Retry, 0.1),
        (WikiRefused("…", api_code="internal_api_error_TypeError"), Failed, None),
        (AnswerTooLarge("…"), Failed, None),
    ],
)
def test_errors_are_outcomes(error: HeadwaterError, kind: type[Outcome], after_s: float | None) -> None:
    outcome = rendered(FakeApi({1: {"title": "A"}}, error=error))
    assert isinstance(outcome, kind)
    assert outcome == outcome_of(error)
    if isinstance(outcome, Retry):
        assert outcome.after_s == after_s


@pytest.mark.parametrize(
    ("revs", "proven"),
    [
        ({}, True),
        ({"c:A": 9}, True),
        ({"c:A": 10}, False),
        ({"c:A": None}, False),
        ({"c:Template:T": 3}, False),
        ({"c:Template:Other": 3}, True),
        ({"e:A": None}, False),
    ],
)
def test_a_render_proves_its_floor_or_waits_for_the_window(revs: dict[str, int | None], proven: bool) -> None:
    api = FakeApi({1: {"title": "A", "rev": 9}}, parse={"templates": [{"ns": 10, "title": "Template:T", "exists": True}]})
    outcome = rendered(api, 1, revs)
    if proven:
        assert isinstance(outcome, Rendered)
    else:
        assert isinstance(outcome, Retry)
        assert outcome.after_s == 8.0

"""The pages API on engines in memory and a fake wiki: statuses, headers, waiting, repair, what operators ask."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from headwater.http.messages import Response
from headwater.kernel.errors import Unavailable
from headwater.propagation.config import PropagationConfig, ReadPolicy
from headwater.propagation.metrics import BODIES_REPAIRED
from headwater.propagation.model import Failed, Gone, PageKey, Title
from headwater.testing.propagation_world import World, header, world

Case = Callable[[World], Awaitable[None]]
FRESH = "public, max-age=0, must-revalidate, s-maxage=86400"
STALE = "public, max-age=0, s-maxage=5, stale-while-revalidate=30"


def run(case: Case, config: PropagationConfig | None = None) -> None:
    async def in_world() -> None:
        async with world(config) as made:
            await case(made)

    asyncio.run(in_world())


async def rivers(made: World) -> None:
    for title, text in (
        ("Template:Box", "box"),
        ("Rhine", "{{Box}} rhine"),
        ("A/B", "with a slash"),
        ("Rhein", "#REDIRECT [[Rhine]]"),
        ("Größe_(x)", "letters"),
    ):
        await made.wiki.edit(title, text)
    await made.until()


@pytest.mark.parametrize(
    ("target", "status", "location"),
    [
        ("/v1/rivers/html/Rhine", 200, None),
        ("/v1/rivers/html/rhine", 301, "/v1/rivers/html/Rhine"),
        ("/v1/rivers/html/Gr%C3%B6%C3%9Fe_(x)", 200, None),
        ("/v1/rivers/html/gr%C3%B6%C3%9Fe%20(x)", 301, "/v1/rivers/html/Gr%C3%B6%C3%9Fe_(x)"),
        ("/v1/rivers/html/A/B", 200, None),
        ("/v1/rivers/html/A%2FB", 200, None),
        ("/v1/rivers/html/template:box?redirect=no", 301, "/v1/rivers/html/Template:Box?redirect=no"),
        ("/v1/rivers/html/Rhein", 301, "/v1/rivers/html/Rhine"),
        ("/v1/rivers/html/Rhein?redirect=no", 200, None),
        ("/v1/rivers/html/Nowhere", 404, None),
        ("/v1/rivers/html/%3Cx", 400, None),
        ("/v1/lakes/html/Rhine", 404, None),
    ],
)
def test_where_a_title_leads(target: str, status: int, location: str | None) -> None:
    async def case(made: World) -> None:
        await rivers(made)
        response = await made.get(target)
        assert (response.status, header(response, "location")) == (status, location)

    run(case)


def test_a_fresh_page_says_what_caches_need() -> None:
    async def case(made: World) -> None:
        await rivers(made)
        record = made.current("Rhine")
        response = await made.get("/v1/rivers/html/Rhine")
        assert dict(response.headers) == {
            "etag": f'"{record.html_hash}"',
            "x-headwater-seq": str(record.body_seq),
            "x-headwater-state": "fresh",
            "cache-control": FRESH,
            "vary": "Headwater-Read",
        }
        assert response.body == b"box rhine"
        assert response.content_type == "text/html; charset=utf-8"

    run(case)


@pytest.mark.parametrize(("given", "status"), [("{}", 304), ("W/{}", 304), ('"x", {}', 304), ("*", 304), ('"x"', 200)])
def test_a_reader_who_has_it_gets_no_body(given: str, status: int) -> None:
    async def case(made: World) -> None:
        await rivers(made)
        tag = header(await made.get("/v1/rivers/html/Rhine"), "etag") or ""
        response = await made.get("/v1/rivers/html/Rhine", if_none_match=given.replace("{}", tag))
        assert response.status == status
        if status == 304:
            assert response.body == b"" and header(response, "etag") == tag

    run(case)


@pytest.mark.parametrize(
    "target",
    ["/v1/rivers/html/A%2FB", "/v1/rivers/html/Rhein?redirect=no", "/v1/rivers/html/Rhine?x=1", "/v1/rivers/html/Rhein?redirect=yes"],
)
def test_shared_caches_keep_only_what_purges_name(target: str) -> None:
    async def case(made: World) -> None:
        await rivers(made)
        assert header(await made.get(target), "cache-control") == "private, no-cache"

    run(case)


def test_what_is_absent_is_kept_for_a_short_time_and_found_once_created() -> None:
    async def case(made: World) -> None:
        await rivers(made)
        response = await made.get("/v1/rivers/html/Nowhere")
        assert (response.status, header(response, "cache-control")) == (404, "public, max-age=0, s-maxage=10")
        await made.wiki.edit("Nowhere", "now")
        await made.until()
        assert (await made.get("/v1/rivers/html/Nowhere")).status == 200
        await made.wiki.delete("Nowhere")
        await made.until()
        assert (await made.get("/v1/rivers/html/Nowhere")).status == 404

    run(case)


async def held_edit(made: World) -> asyncio.Event:
    """Edit the template while renders are held; returns what lets them go."""
    await rivers(made)
    hold = made.wiki.hold = asyncio.Event()
    made.wiki.started.clear()
    await made.wiki.edit("Template:Box", "new box")
    await made.until(made.wiki.started)
    await made.turns()
    return hold


def test_a_stale_page_is_served_at_once_and_says_so() -> None:
    async def case(made: World) -> None:
        await held_edit(made)
        response = await made.get("/v1/rivers/html/Rhine")
        assert (response.status, response.body) == (200, b"box rhine")
        assert header(response, "x-headwater-state") == "rendering"
        assert header(response, "cache-control") == STALE

    run(case)


@pytest.mark.parametrize("by_policy", [True, False])
def test_a_reader_who_wants_it_fresh_waits_for_the_render(by_policy: bool) -> None:
    async def case(made: World) -> None:
        hold = await held_edit(made)
        target = "/v1/rivers/html/Rhine"
        reading = asyncio.create_task(made.get(target) if by_policy else made.get(target, read="fresh"))
        await made.turns()
        assert not reading.done()
        hold.set()
        response = await reading
        assert (response.status, response.body, header(response, "x-headwater-state")) == (200, b"new box rhine", "fresh")

    run(case, PropagationConfig(read_policies={"rivers": ReadPolicy.FRESH}) if by_policy else None)


@pytest.mark.parametrize(("asked", "status"), [("fresh", 503), (None, 200)])
def test_a_reader_does_not_wait_for_ever(asked: str | None, status: int) -> None:
    async def case(made: World) -> None:
        await held_edit(made)
        headers = {} if asked is None else {"read": asked}
        reading = asyncio.create_task(made.get("/v1/rivers/html/Rhine", **headers))
        await made.turns()
        await made.clock.run_for(11)
        response = await reading
        assert response.status == status
        assert status == 200 or header(response, "retry-after") == "2"

    run(case, PropagationConfig(read_policy=ReadPolicy.FRESH))


def test_all_who_wait_for_an_unknown_page_share_one_look_up_and_one_render() -> None:
    async def case(made: World) -> None:
        await rivers(made)
        await made.wiki.edit("Silent", "quiet", silent=True)
        resolved = 0
        original = made.wiki.resolve

        async def counted(title: str) -> object:
            nonlocal resolved
            resolved += 1
            await asyncio.sleep(0)
            return await original(title)  # type: ignore[arg-type]

        object.__setattr__(made.owner.around, "renderer", CountingRenderer(made.wiki, counted))
        responses = await asyncio.gather(*(made.get("/v1/rivers/html/Silent") for _ in range(50)))
        assert {(response.status, response.body) for response in responses} == {(200, b"quiet")}
        assert (resolved, made.wiki.rendered["Silent"]) == (1, 1)

    run(case)


class CountingRenderer:
    """A renderer that tells of look-ups."""

    def __init__(self, wiki: object, resolve: object) -> None:
        self.render = wiki.render  # type: ignore[attr-defined]
        self.pages = wiki.pages  # type: ignore[attr-defined]
        self.resolve = resolve


def test_a_page_that_vanishes_while_it_is_waited_for_does_not_exist() -> None:
    async def case(made: World) -> None:
        await rivers(made)
        await made.wiki.edit("Silent", "quiet", silent=True)
        made.wiki.answers["Silent"].append(Gone(Title("Silent")))
        assert (await made.get("/v1/rivers/html/Silent")).status == 404

    run(case)


def test_too_many_waiting_readers_are_refused_at_once() -> None:
    async def case(made: World) -> None:
        await held_edit(made)
        waiting = [asyncio.create_task(made.get("/v1/rivers/html/Rhine", read="fresh")) for _ in range(2)]
        await made.turns()
        response = await made.get("/v1/rivers/html/Rhine", read="fresh")
        assert (response.status, header(response, "retry-after")) == (503, "2")
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    run(case, PropagationConfig(waiters_max=2))


def test_a_wiki_that_does_not_answer_is_not_a_missing_page() -> None:
    async def case(made: World) -> None:
        await rivers(made)
        made.wiki.down = True
        assert (await made.get("/v1/rivers/html/Unheard_of")).status == 503
        assert (await made.get("/v1/rivers/html/Rhine")).status == 200

    run(case)


def test_a_page_that_cannot_be_rendered_at_all_says_why() -> None:
    async def case(made: World) -> None:
        await made.wiki.edit("Rhine", "x")
        made.wiki.answers["Rhine"].append(Failed("it explodes"))
        await made.until()
        response = await made.get("/v1/rivers/html/Rhine")
        assert response.status == 503
        assert isinstance(response.body, bytes) and b"it explodes" in response.body

    run(case, PropagationConfig(failures_max=1))


@pytest.mark.parametrize("found", ["missing", "damaged"])
def test_a_body_that_is_missing_or_damaged_is_made_again_and_never_served(found: str) -> None:
    async def case(made: World) -> None:
        await rivers(made)
        body = made.current("Rhine").html_hash
        assert body is not None
        if found == "missing":
            await made.bodies.erase([body])
        else:
            made.bodies.damage(body, b"garbage")
        seq = made.current("Rhine").seq
        responses = await asyncio.gather(*(made.get("/v1/rivers/html/Rhine") for _ in range(5)))
        assert {(response.status, response.body) for response in responses} == {(200, b"box rhine")}
        assert made.wiki.rendered["Rhine"] == 2
        assert made.current("Rhine").seq == seq
        assert made.count(BODIES_REPAIRED, found=found) >= 1
        assert await made.served("Rhine") == b"box rhine"

    run(case)


def test_a_missing_body_that_cannot_be_made_again_alike_is_committed_anew() -> None:
    async def case(made: World) -> None:
        await rivers(made)
        body = made.current("Rhine").html_hash
        assert body is not None
        await made.bodies.erase([body])
        await made.wiki.edit("Rhine", "edited behind our back", silent=True)
        response = await made.get("/v1/rivers/html/Rhine")
        assert (response.status, response.body) == (200, b"edited behind our back")
        await made.until()
        await made.check_all()

    run(case)


def test_a_missing_body_of_a_stale_page_comes_back_with_its_next_commit() -> None:
    async def case(made: World) -> None:
        hold = await held_edit(made)
        body = made.current("Rhine").html_hash
        assert body is not None
        await made.bodies.erase([body])
        reading = asyncio.create_task(made.get("/v1/rivers/html/Rhine"))
        await made.turns()
        hold.set()
        response = await reading
        assert (response.status, response.body) == (200, b"new box rhine")

    run(case)


def test_a_cutoff_puts_a_body_back_that_is_gone() -> None:
    async def case(made: World) -> None:
        await rivers(made)
        body = made.current("Rhine").html_hash
        assert body is not None
        await made.bodies.erase([body])
        await made.wiki.edit("Template:Box", "box")
        await made.until()
        await made.check_all()

    run(case)


async def told(made: World, target: str) -> dict[str, object]:
    response = await made.get(target)
    assert response.status == 200 and isinstance(response.body, bytes), response
    answer: dict[str, object] = msgspec.json.decode(response.body)
    return answer


def test_explain_names_reads_and_why_a_page_is_stale() -> None:
    async def case(made: World) -> None:
        hold = await held_edit(made)
        answer = await told(made, "/v1/rivers/pages/rhine/explain")
        reads = {read["resource"]: read for read in answer["reads"]}  # type: ignore[attr-defined]
        assert set(reads) == {"c:Rhine", "e:Rhine", "c:Template:Box", "e:Template:Box"}
        assert reads["c:Template:Box"]["stale"] and reads["c:Template:Box"]["cause"] == "edit"
        assert not reads["c:Rhine"]["stale"]
        assert answer["freshness"] == "rendering" and answer["stale_since_ms"] == made.clock.now_ms()
        hold.set()
        made.wiki.hold = None
        await made.until()
        answer = await told(made, "/v1/rivers/pages/Rhine/explain")
        commits = answer["commits"]
        assert isinstance(commits, list)
        assert [commit["cause"] for commit in commits] == ["edit", "create"] and answer["freshness"] == "fresh"
        assert (await made.get("/v1/rivers/pages/Nowhere/explain")).status == 404

    run(case)


def test_dependents_are_counted_and_listed() -> None:
    async def case(made: World) -> None:
        await rivers(made)
        answer = await told(made, "/v1/rivers/resources/c:Template:Box/dependents?limit=1")
        assert answer == {"resource": "c:Template:Box", "count": 2, "titles": ["Template:Box"]}
        assert (await made.get("/v1/rivers/resources/Box/dependents")).status == 400
        assert (await made.get("/v1/rivers/resources/c:X/dependents?limit=0")).status == 400
        assert (await made.get("/v1/rivers/resources/c:X/dependents?limit=1001")).status == 400

    run(case)


def test_views_make_stale_pages_urgent() -> None:
    async def case(made: World) -> None:
        await held_edit(made)
        await made.wiki.edit("Template:Box", "newest")
        response = await made.call("POST", "/v1/rivers/views", body=b'{"titles":["Rhine","Unheard of"]}')
        assert (response.status, response.body) == (200, b'{"known":1}')
        for body in (b'{"titles":["' + b'","'.join([b"x"] * 1001) + b'"]}', b'{"titles":1}', b'{"titles":[],"x":1}', b"{"):
            assert (await made.call("POST", "/v1/rivers/views", body=body)).status == 400

    run(case)


def test_status_flow_and_rest_tell_what_happened() -> None:
    async def case(made: World) -> None:
        await rivers(made)
        hold = await held_edit(made)
        assert await told(made, "/v1/rivers/rest") == {"at_rest": False}
        hold.set()
        made.wiki.hold = None
        await made.until()
        await made.clock.run_for(1)
        assert await told(made, "/v1/rivers/rest") == {"at_rest": True}
        wikis = (await told(made, "/v1/status"))["wikis"]
        assert isinstance(wikis, list) and len(wikis) == 1
        wiki = wikis[0]
        assert (wiki["pages"], wiki["state"], wiki["at_rest"], wiki["in_flight"]) == (5, "running", True, 0)
        assert [entry["dirty"] for entry in wiki["classes"]] == [0, 0, 0, 0]
        entry = wiki["flow"][-1]
        assert (entry["what"], entry["cause"], entry["marked"], entry["rendered"], entry["purged"]) == ("c:Template:Box", "edit", 2, 2, 2)
        assert entry["fresh_ms"] is not None
        newer = await told(made, f"/v1/rivers/flow?after={entry['number'] - 1}")
        assert [entry["number"] for entry in newer["entries"]] == [entry["number"]]  # type: ignore[attr-defined]

    run(case)


def test_before_the_shard_is_recovered_readers_are_asked_to_come_again() -> None:
    async def case(made: World) -> None:
        await made.crash()
        made.service = made.make_service()
        response: Response = await made.get("/v1/rivers/html/Rhine")
        assert (response.status, header(response, "retry-after")) == (503, "1")
        ((name, question),) = made.service.readiness()
        assert name == "propagation rivers" and await question() is not None
        await made.service.start()
        await made.until()
        ((_, question),) = made.service.readiness()
        assert await question() is None

    run(case)


def test_an_unknown_read_mode_is_refused() -> None:
    async def case(made: World) -> None:
        await rivers(made)
        assert (await made.get("/v1/rivers/html/Rhine", read="new")).status == 400

    run(case)


def test_what_readers_get_is_told_by_its_seq_or_not_at_all() -> None:
    """Second purges wait for it: too early an answer would let a cache fill with the old page again."""

    async def case(made: World) -> None:
        await rivers(made)
        record = made.current("Rhine")
        assert made.service.served_seq("rivers", record.page) == record.seq
        assert made.service.served_seq("rivers", PageKey(10**9)) is None
        assert made.service.served_seq("lakes", record.page) is None
        await made.crash()
        made.service = made.make_service()
        with pytest.raises(Unavailable):
            made.service.served_seq("rivers", record.page)
        await made.service.start()

    run(case)

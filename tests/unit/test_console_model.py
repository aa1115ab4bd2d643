"""What the status page makes of the roles' answers: whole, partial, broken or missing ones."""

import json
from collections.abc import Mapping

import pytest

from headwater.console.model import Sample, overview_of
from headwater.console.ports import Answer

ADDRESSES = {"events": "127.0.0.1:1", "propagation": "127.0.0.1:2", "purging": "127.0.0.1:3"}
READY = Answer(200, b'{"ready": true, "checks": {"log": null}}')
FLOW = {
    "number": 4,
    "cause": "edit",
    "what": "c:Template:Unit",
    "happened_ms": 9_000,
    "applied_ms": 10_000,
    "marked": 3,
    "rendered": 3,
    "cutoffs": 1,
    "purged": 2,
    "committed_ms": 10_500,
    "fresh_ms": 11_000,
}
WIKI = {
    "wiki": "rivers",
    "state": "running",
    "pages": 298,
    "classes": [{"urgency": 1, "dirty": 7, "stalest_ms": 18_000}],
    "in_flight": 2,
    "counts": {"committed": 40, "cutoffs": 5, "skipped": 1},
    "flow": [FLOW, FLOW | {"number": 5, "applied_ms": 12_000, "committed_ms": None, "fresh_ms": None}],
    "a_field_of_a_later_version": {"x": 1},
}
TARGET = {"name": "cache", "layer": 0, "state": "up", "waiting": 1, "oldest_age_s": 0.5, "acknowledged": 9, "retried": 0, "parked": 0}
PURGING = {"unfinished": 1, "waiting_second": 1, "purged": 9, "dead_letters": 0, "targets": [TARGET]}
EVENTS = {"intake": {}, "followers": {"rivers": {"state": "following", "lag_s": 0.2, "last_error": None}}}


def said(value: object, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value).encode())


def sample(at_s: float = 1.0, *, wiki: Mapping[str, object] | None = None, status: Mapping[str, Answer] | None = None) -> Sample:
    answers = {
        "events": said(EVENTS),
        "propagation": said({"now_ms": 20_000, "wikis": [{**WIKI, **(wiki or {})}]}),
        "purging": said(PURGING),
    }
    return Sample(now_ms=20_000, at_s=at_s, readiness=dict.fromkeys(ADDRESSES, READY), status={**answers, **(status or {})})


def test_shows_what_the_roles_say() -> None:
    overview = overview_of(sample(), None, ADDRESSES, 20)
    (wiki,) = overview.wikis
    assert overview.healthy and overview.verdict == "9 pages are being made fresh"
    assert [role.state for role in overview.roles] == ["ready"] * 3
    assert (wiki.classes[0].name, wiki.classes[0].dirty, wiki.classes[0].age_s) == ("hot", 7, 2.0)
    assert wiki.renders_per_s is None and wiki.follower is not None and wiki.follower.lag_s == 0.2
    assert [(edit.number, edit.rendered_s, edit.fresh_s) for edit in overview.edits] == [(5, None, None), (4, 0.5, 1.0)]
    assert overview.purging is not None and overview.purging.targets[0].oldest_age_s == 0.5


def test_a_rate_comes_from_two_moments() -> None:
    before, after = sample(1.0), sample(3.0, wiki={"counts": {"committed": 50}})
    assert overview_of(after, before, ADDRESSES, 20).wikis[0].renders_per_s == 5.0


def test_a_restarted_role_has_no_rate_below_zero() -> None:
    before, after = sample(1.0), sample(3.0, wiki={"counts": {"committed": 2}})
    assert overview_of(after, before, ADDRESSES, 20).wikis[0].renders_per_s is None


def test_only_the_newest_edits_are_kept() -> None:
    assert [edit.number for edit in overview_of(sample(), None, ADDRESSES, 1).edits] == [5]


def test_a_role_that_is_down_is_shown_with_the_reason() -> None:
    down = Answer(None, fault="cannot be reached")
    moment = sample(status={"purging": down})
    readiness = {**moment.readiness, "purging": down}
    overview = overview_of(Sample(20_000, 1.0, readiness, moment.status), None, ADDRESSES, 20)
    assert overview.purging is None and not overview.healthy
    assert (overview.roles[2].state, overview.roles[2].reasons) == ("down", ["cannot be reached"])
    assert "purging is down" in overview.verdict


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"wikis": 3}', b"\xff"])
def test_an_answer_that_cannot_be_read_makes_the_role_not_ready(body: bytes) -> None:
    overview = overview_of(sample(status={"propagation": Answer(200, body)}), None, ADDRESSES, 20)
    assert overview.wikis == []
    assert overview.roles[1].state == "not ready"
    assert overview.roles[1].reasons == ["/v1/status cannot be read"]


def test_a_role_that_is_not_ready_says_why() -> None:
    moment = sample()
    busy = said({"ready": False, "checks": {"wiki rivers": "recovering", "log": None}}, 503)
    overview = overview_of(Sample(20_000, 1.0, {**moment.readiness, "propagation": busy}, moment.status), None, ADDRESSES, 20)
    assert overview.roles[1].reasons == ["wiki rivers: recovering"]
    assert not overview.healthy


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({"propagation": said({"wikis": [WIKI | {"dead_letters": 2}]})}, "rivers: 2 pages cannot be rendered"),
        ({"events": said({"followers": {"rivers": {"may_have_gap": True}}})}, "rivers: the follower may have a gap"),
        ({"purging": said(PURGING | {"dead_letters": 3})}, "3 purges given up"),
        ({"purging": said(PURGING | {"targets": [TARGET | {"state": "down"}]})}, "cache cache does not answer"),
    ],
)
def test_what_somebody_should_look_at_is_said_first(change: dict[str, Answer], verdict: str) -> None:
    overview = overview_of(sample(status=change), None, ADDRESSES, 20)
    assert not overview.healthy and overview.verdict == verdict


def test_at_rest_everything_is_fresh() -> None:
    calm = sample(wiki={"classes": [], "in_flight": 0})
    assert overview_of(calm, None, ADDRESSES, 20).verdict == "everything is fresh"


def test_shows_what_tables_take_and_says_when_partitions_are_full() -> None:
    tables = {"tables": 2, "spaces": 3, "rows": 40, "bytes": 5000, "full_partitions": 0}
    overview = overview_of(sample(status={"tables": said(tables)}), None, ADDRESSES, 20)
    assert overview.tables is not None and (overview.tables.rows, overview.tables.spaces) == (40, 3)
    full = overview_of(sample(status={"tables": said({**tables, "full_partitions": 1})}), None, ADDRESSES, 20)
    assert not full.healthy and "1 partitions of tables are full" in full.verdict
    assert overview_of(sample(), None, ADDRESSES, 20).tables is None

"""Pure pieces around the shard: addresses, emitted events, setbacks, turns, the live view, erasures' bookkeeping."""

import dataclasses

import msgspec
import pytest

from headwater.kernel.ids import name_uuid
from headwater.log.model import Offset, PartitionId
from headwater.mediawiki.config import WikiConfig
from headwater.mediawiki.titles import encode_title
from headwater.propagation.config import PropagationConfig, ReadPolicy
from headwater.propagation.emitted import page_changed_record, purge_records, urls_to_purge
from headwater.propagation.flow import Flow, History
from headwater.propagation.model import BodyHash, Change, CommitRecord, Lsn, PageKey, Resource, Seq, Title, Urgency
from headwater.propagation.notes import Inputs, identity_base
from headwater.propagation.setbacks import Setbacks
from headwater.propagation.turns import Turns
from headwater.propagation.urls import canonical_path, urls_of

PAGE = PageKey(7)


def commit(*, seq: int = 5, rev: int | None = 3, title: str = "A/B c", html_hash: str | None = "h") -> CommitRecord:
    return CommitRecord(
        page=PAGE,
        product="html",
        seq=Seq(seq),
        step=Lsn(1),
        title=Title(title),
        html_hash=None if html_hash is None else BodyHash(html_hash),
        body_seq=Seq(seq),
        redirect=None,
        rev=rev,
        reads=(),
        time_ms=1_800_000_000_123,
    )


def wiki(**options: tuple[str, ...]) -> WikiConfig:
    return WikiConfig(domains=("rivers.example", "m.rivers.example"), api_url="http://x", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("title", "encoded"),
    [
        ("A_b", "A_b"),
        ("Template:Cite_web", "Template:Cite_web"),
        ("A/B", "A/B"),
        ("Größe", "Gr%C3%B6%C3%9Fe"),
        ("What?", "What%3F"),
        ("C++", "C%2B%2B"),
        ('"x"&y', "%22x%22%26y"),
        ("100%", "100%25"),
        ("(a),b*~'", "(a),b*~%27"),
    ],
)
def test_titles_are_encoded_as_the_wiki_does(title: str, encoded: str) -> None:
    assert encode_title(title) == encoded
    assert canonical_path("rivers", Title(title)) == f"/v1/rivers/html/{encoded}"


def test_addresses_come_from_all_templates_variants_and_titles_once() -> None:
    config = wiki(
        page_urls=("http://a/{title}", "http://a/{variant}/{title}", "http://a/{title}"),
        history_urls=("http://a/h/{title}",),
        variants=("zh-tw", "zh-cn"),
    )
    titles = [Title("X"), Title("Y?")]
    assert list(urls_of(titles, config, new_revision=False)) == [
        "http://a/X",
        "http://a/zh-tw/X",
        "http://a/zh-cn/X",
        "http://a/Y%3F",
        "http://a/zh-tw/Y%3F",
        "http://a/zh-cn/Y%3F",
    ]
    assert list(urls_of(titles, config, new_revision=True))[3] == "http://a/h/X"
    assert list(urls_of(titles, wiki(page_urls=("http://a/{variant}/{title}",)), new_revision=True)) == []


@pytest.mark.parametrize(("before", "history"), [(None, True), (commit(rev=2), True), (commit(rev=3), False)])
def test_the_history_is_purged_with_a_new_revision_only(before: CommitRecord | None, history: bool) -> None:
    config = wiki(page_urls=("http://a/{title}",), history_urls=("http://h/{title}",))
    assert ("http://h/X" in urls_to_purge(config, commit(rev=3), before, (Title("X"),))) is history


def test_purges_carry_the_floor_and_an_id_that_repeats_with_them() -> None:
    first, again = (purge_records("rivers", wiki(), commit(), ("http://a/x", "http://a/y")) for _ in range(2))
    assert first == again
    event = msgspec.json.decode(first[0].value or b"")
    assert event["$schema"] == "/resource_change/1.1.0"
    assert event["meta"] == {
        "uri": "http://a/x",
        "id": name_uuid("rivers/7/5/http://a/x"),
        "dt": "2027-01-15T08:00:00.123Z",
        "domain": "rivers.example",
        "stream": "resource-purge",
    }
    assert event["headwater"] == {"wiki": "rivers", "page_id": 7, "product": "html", "seq": 5}
    assert first[0].key == b"rivers:7"
    assert dict(first[0].headers)["id"] == event["meta"]["id"].encode()


def test_the_news_of_a_page_says_whether_it_is_gone() -> None:
    event = msgspec.json.decode(page_changed_record("rivers", wiki(), commit(rev=None, html_hash=None), "delete").value or b"")
    assert (event["html_hash"], event["rev_id"], event["cause"], event["page_title"]) == (None, None, "delete", "A/B c")


def test_failures_double_their_delay_and_park_at_last() -> None:
    setbacks = Setbacks(PropagationConfig(failures_max=4, retry_delay=PropagationConfig().retry_delay.__class__(2)))
    delays = [setbacks.failure_delay_s(attempt, jitter=0) for attempt in range(1, 6)]
    assert delays == [2, 4, 8, None, None]
    assert setbacks.failure_delay_s(1, jitter=0.5) == 2.5


def test_retries_never_end_while_the_wiki_answers_nobody() -> None:
    setbacks = Setbacks(PropagationConfig(retries_max=2))
    delays = [setbacks.retry_delay_s(PAGE, 1, jitter=0) for _ in range(100)]
    assert None not in delays
    assert delays[-1] == PropagationConfig().retry_delay_max


def test_retries_of_one_page_are_its_failure_while_others_are_answered() -> None:
    setbacks = Setbacks(PropagationConfig(retries_max=2))
    assert setbacks.retry_delay_s(PAGE, 7, jitter=0) == 7
    setbacks.answered(PageKey(8))
    assert [setbacks.retry_delay_s(PAGE, 1, jitter=0) for _ in range(3)] == [4, None, 2]
    setbacks.answered(PAGE)
    assert setbacks.retry_delay_s(PAGE, 1, jitter=0) == 2


def test_turns_alternate_between_wikis_and_wake_the_one_whose_turn_it_is() -> None:
    turns, woken = Turns(1000), {"a": 0, "b": 0}

    def wake(name: str) -> None:
        woken[name] += 1

    started = {"a": 0, "b": 0}
    for _ in range(200):
        for name in ("a", "b"):
            urgency = turns.next(name, (Urgency.REST,), lambda name=name: wake(name))  # type: ignore[misc]
            if urgency is not None:
                turns.start(name, urgency, 100)
                turns.finish(name, urgency, 0)
                started[name] += 1
    assert abs(started["a"] - started["b"]) <= 10 and started["a"] > 50
    assert woken["a"] and woken["b"]


def test_turns_have_a_common_maximum_and_wake_who_waits_for_room() -> None:
    turns, woken = Turns(1), []
    assert turns.next("a", (Urgency.REST,), lambda: woken.append("a")) is Urgency.REST
    turns.start("a", Urgency.REST, 0)
    assert turns.next("b", (Urgency.NOW,), lambda: woken.append("b")) is None
    turns.finish("a", Urgency.REST, 1)
    assert set(woken) == {"a", "b"}
    turns.leave("a")
    assert turns.next("b", (Urgency.NOW,), lambda: None) is Urgency.NOW


def change(event_id: str, *, resource: str = "c:X") -> Change:
    return Change(Resource(resource), "edit", Urgency.REST, event_id, 1)


def test_an_edit_is_fresh_once_its_pages_are_committed_or_nothing_older_is_stale() -> None:
    flow = Flow(10)
    flow.applied(Lsn(1), change("a"), newly=2, dependents=2, now_ms=100)
    flow.applied(Lsn(2), change("b"), newly=1, dependents=1, now_ms=200)
    flow.committed([Lsn(1)], changed=True, purges=3, now_ms=300)
    flow.settle(100, now_ms=310)
    assert [entry.fresh_ms for entry in flow.entries(0, 10)] == [None, None]
    flow.committed([Lsn(1)], changed=False, purges=0, now_ms=320)
    flow.settle(200, now_ms=330)
    first, second = flow.entries(0, 10)
    assert (first.rendered, first.cutoffs, first.purged, first.committed_ms, first.fresh_ms) == (2, 1, 3, 320, 330)
    assert second.fresh_ms is None
    flow.settle(None, now_ms=340)
    assert flow.entries(1, 10)[0].fresh_ms == 340


def test_changes_of_one_event_are_one_entry_and_the_ring_is_bounded() -> None:
    flow = Flow(2)
    assert not flow.applied(Lsn(1), change("a"), newly=2, dependents=5, now_ms=1)
    assert not flow.applied(Lsn(2), change("a", resource="e:X"), newly=1, dependents=3, now_ms=1)
    (entry,) = flow.entries(0, 10)
    assert (entry.marked, entry.dependents, entry.what) == (3, 5, "c:X")
    assert not flow.applied(Lsn(3), change("b"), newly=0, dependents=0, now_ms=2)
    assert flow.applied(Lsn(4), change("c"), newly=0, dependents=0, now_ms=3)
    assert [entry.event_id for entry in flow.entries(0, 10)] == ["b", "c"]
    assert [entry.event_id for entry in flow.entries(0, 1)] == ["c"]


def test_the_history_is_bounded_in_pages_and_commits() -> None:
    history = History(pages_max=1, commits_max=2)
    for seq in (1, 2, 3):
        history.committed(commit(seq=seq), changed=seq > 1, cause="edit")
    assert [summary.seq for summary in history.of(PAGE)] == ["3", "2"]
    other = dataclasses.replace(commit(), page=PageKey(8))
    history.committed(other, changed=True, cause="edit")
    assert history.of(PAGE) == () and len(history.of(PageKey(8))) == 1


def test_positions_survive_their_note() -> None:
    offsets = {PartitionId("a", 0): Offset(4), PartitionId("a", 1): Offset(-1), PartitionId("b"): Offset(9)}
    note = msgspec.json.decode(msgspec.json.encode(Inputs.of(offsets)), type=Inputs)
    assert note.offsets() == offsets


def test_a_later_log_has_a_base_above_all_positions_of_an_earlier_one() -> None:
    assert identity_base(1_800_000_001_000) - identity_base(1_800_000_000_000) == 1_024_000
    assert identity_base(2**42) < 2**53  # a number that JSON carries exactly


def test_the_read_policy_of_a_wiki_wins() -> None:
    config = PropagationConfig(read_policies={"rivers": ReadPolicy.FRESH})
    assert (config.policy_of("rivers"), config.policy_of("lakes")) == (ReadPolicy.FRESH, ReadPolicy.STALE)

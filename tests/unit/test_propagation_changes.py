"""From events to changes: every recorded event, the follower's events, and what events cannot tell."""

import json
import pathlib

import pytest

from headwater.kernel.errors import InvalidInput
from headwater.propagation.changes import (
    STREAMS,
    STREAMS_WITHOUT_CHANGES,
    ExistenceMemory,
    SourceEvent,
    changes_of,
    changes_of_batch,
    happened_ms,
    parse_time_ms,
)
from headwater.propagation.model import Change, Lsn, Title, Urgency

RECORDED = pathlib.Path(__file__).parent.parent / "data" / "eventbus"
TAKEN_MS = 1_795_482_000_000  # 2026-11-24T01:00:00Z


class Site:
    """A wiki at 127.0.0.1:8090 whose addresses are `/index.php/TITLE`."""

    def title_of_url(self, url: str) -> str | None:
        _, found, title = url.partition("/index.php/")
        return title if found else None

    def namespace_of(self, key: str) -> int:
        return 6 if key.startswith("File:") else 0


def changes(stream: str, **fields: object) -> list[tuple[object, ...]]:
    """What follows from one event, as (resource, cause, urgency, rev, page_id, title, erase_rev) without what is None at the end."""
    return [short(change) for change in changes_of(event(stream, **fields), site=Site())]


def event(stream: str, **fields: object) -> SourceEvent:
    body = {"meta": {"stream": stream, "uri": fields.pop("uri", "")}, "page_namespace": 0, **fields}
    return SourceEvent(stream, json.dumps(body).encode(), "id-1", 1000)


def short(change: Change) -> tuple[object, ...]:
    values: list[object] = [change.resource, change.cause, int(change.urgency)]
    values += [change.rev, change.page_id, change.title, change.erase_rev]
    while values[-1] is None:
        values.pop()
    return tuple(values)


EXPECTED = {
    "03-mediawiki.revision-create": [("c:Template:Main", "edit", 3, 218)],
    "23-mediawiki.page-move": [
        ("e:Page_D", "move", 3, None, 213, "Page_D"),
        ("c:Page_D", "move", 3),
        ("e:Page_B", "move", 3),
        ("c:Page_B", "move", 3),
    ],
    "24-mediawiki.page-create": [("c:Page_B", "create", 3, 226), ("e:Page_B", "create", 3, None, 214, "Page_B")],
    "25-mediawiki.page-restrictions-change": [],
    "26-resource_change": [("c:Page_A", "purge", 3)],
    "27-mediawiki.revision-visibility-change": [("c:Page_A", "visibility", 0, None, None, None, 221)],
    "28-mediawiki.page-delete": [("e:Page_A", "delete", 3), ("c:Page_A", "delete", 3)],
    "29-mediawiki.page-undelete": [("e:Page_A", "restore", 3, None, 211, "Page_A"), ("c:Page_A", "restore", 3)],
    "20-mediawiki.page-links-change": [],
    "21-mediawiki.revision-tags-change": [("e:Page_B", "redirect", 3)],
    "31-mediawiki.user-blocks-change": [],
    "04-mediawiki.recentchange": [],
    "14-resource-purge": [],
    "02-mediawiki.job.refreshLinks": [],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_recorded_events(name: str) -> None:
    first = json.loads((RECORDED / f"{name}.json").read_bytes())[0]
    source = SourceEvent(first["meta"]["stream"], json.dumps(first).encode(), first["meta"]["id"], 5)
    made = changes_of(source, site=Site())
    assert [short(change) for change in made] == EXPECTED[name]
    assert all(change.event_id == first["meta"]["id"] and change.time_ms == 5 for change in made)


def test_every_recorded_event_is_understood() -> None:
    seen = set()
    for path in sorted(RECORDED.glob("*.json")):
        for body in json.loads(path.read_bytes()):
            stream = body["meta"]["stream"]
            changes_of(SourceEvent(stream, json.dumps(body).encode(), "id", 0), site=Site())
            seen.add(stream)
    assert {stream for stream in seen if not stream.startswith("mediawiki.job.")} <= {*STREAMS, *STREAMS_WITHOUT_CHANGES}


def test_edit_of_a_redirect_touches_its_existence() -> None:
    made = changes("mediawiki.revision-create", page_id=1, page_title="A", rev_id=7, rev_parent_id=6, page_is_redirect=True)
    assert made == [("c:A", "edit", 3, 7), ("e:A", "edit", 3)]


def test_edit_of_what_was_a_redirect_touches_its_existence() -> None:
    edit = event("mediawiki.revision-create", page_id=1, page_title="A", rev_id=7, rev_parent_id=6)
    assert [c.resource for c in changes_of(edit, site=Site(), may_redirect=lambda title: title == "A")] == ["c:A", "e:A"]
    assert [c.resource for c in changes_of(edit, site=Site(), may_redirect=lambda title: title == "B")] == ["c:A"]


@pytest.mark.parametrize("tag", ["mw-undo", "mw-rollback", "mw-manual-revert"])
def test_reverts_are_urgent(tag: str) -> None:
    made = changes("mediawiki.revision-tags-change", page_id=1, page_title="A", rev_id=7, tags=[tag], prior_state={"tags": []})
    assert made == [("c:A", "revert", 0, 7)]
    made = changes("mediawiki.revision-create", page_id=1, page_title="A", rev_id=7, rev_parent_id=6, tags=[tag])
    assert made == [("c:A", "revert", 0, 7)]


def test_tags_that_were_there_before_say_nothing() -> None:
    before = {"tags": ["mw-undo", "mw-new-redirect"]}
    assert (
        changes("mediawiki.revision-tags-change", page_title="A", rev_id=7, tags=["mw-undo", "mw-new-redirect"], prior_state=before) == []
    )


def test_file_namespace_touches_the_file() -> None:
    made = changes("mediawiki.revision-create", page_id=1, page_title="File:X.jpg", page_namespace=6, rev_id=7, rev_parent_id=6)
    assert [change[0] for change in made] == ["c:File:X.jpg", "f:File:X.jpg"]
    made = changes("resource_change", uri="http://w/index.php/File:X.jpg")
    assert [change[0] for change in made] == ["c:File:X.jpg", "f:File:X.jpg"]
    made = changes("mediawiki.page-delete", page_id=1, page_title="File:X.jpg", page_namespace=6)
    assert [change[0] for change in made] == ["e:File:X.jpg", "c:File:X.jpg", "f:File:X.jpg"]


@pytest.mark.parametrize(("kind", "named"), [("upload", True), ("overwrite", True), ("restore", True), ("delete", False)])
def test_file_changes_of_the_follower(kind: str, named: bool) -> None:
    made = changes("headwater.file-change", page_id=9, page_title="File:X.jpg", page_namespace=6, kind=kind)
    name = (None, 9, "File:X.jpg") if named else ()
    assert made == [("e:File:X.jpg", kind, 3, *name), ("c:File:X.jpg", kind, 3), ("f:File:X.jpg", kind, 3)]


def test_move_names_the_redirect_that_it_leaves() -> None:
    made = changes(
        "mediawiki.page-move",
        page_id=1,
        page_title="New",
        prior_state={"page_title": "Old", "page_namespace": 0},
        new_redirect_page={"page_id": 2, "page_title": "Old", "page_namespace": 0},
    )
    assert made[0] == ("e:New", "move", 3, None, 1, "New")
    assert made[2] == ("e:Old", "move", 3, None, 2, "Old")


def test_suppression_is_urgent() -> None:
    made = changes("mediawiki.page-suppress", page_id=1, page_title="A")
    assert made == [("e:A", "suppress", 0), ("c:A", "suppress", 0)]


def test_visibility_that_comes_back_erases_nothing() -> None:
    shown = {"text": True, "user": True, "comment": True}
    assert changes("mediawiki.revision-visibility-change", page_title="A", rev_id=5, visibility=shown) == [("c:A", "visibility", 0)]


def test_an_address_that_shows_no_page_changes_nothing() -> None:
    assert changes("resource_change", uri="http://w/other") == []


def test_one_creation_told_by_two_streams_is_written_once() -> None:
    fields: dict[str, object] = {"page_id": 1, "page_title": "A", "rev_id": 7}
    batch = [event("mediawiki.page-create", **fields), event("mediawiki.revision-create", **fields)]
    first, second = changes_of_batch(batch, site=Site(), may_redirect=lambda _: False)
    assert isinstance(first, tuple) and isinstance(second, tuple)
    assert [change.resource for change in first] == ["c:A", "e:A"]
    assert [(change.resource, change.rev) for change in second] == [("c:A", 7)]  # ignored by its revision


def test_in_a_batch_what_was_just_made_may_be_a_redirect() -> None:
    made = event("mediawiki.page-create", page_id=1, page_title="A", rev_id=7, page_is_redirect=True)
    undone = event("mediawiki.revision-create", page_id=1, page_title="A", rev_id=8, rev_parent_id=7)
    _, second = changes_of_batch([made, undone], site=Site(), may_redirect=lambda _: False)
    assert isinstance(second, tuple) and [change.resource for change in second] == ["c:A", "e:A"]


def test_what_is_written_and_not_applied_may_be_a_redirect() -> None:
    memory = ExistenceMemory(lambda title: title == "Known")
    memory.written(changes_of(event("mediawiki.page-delete", page_title="A", page_id=1), site=Site()), Lsn(12))
    assert memory.may_redirect(Title("A")) and memory.may_redirect(Title("Known")) and not memory.may_redirect(Title("B"))
    memory.applied(Lsn(11))
    assert memory.may_redirect(Title("A"))
    memory.applied(Lsn(12))
    assert not memory.may_redirect(Title("A"))


@pytest.mark.parametrize(
    ("stream", "fields", "where"),
    [
        ("mediawiki.revision-create", {"page_id": 1, "rev_id": 2}, "/page_title"),
        ("mediawiki.revision-create", {"page_title": "A", "page_id": 1}, "/rev_id"),
        ("mediawiki.page-undelete", {"page_title": "A"}, "/page_id"),
        ("mediawiki.page-move", {"page_title": "A", "page_id": 1}, "/prior_state/page_title"),
        ("mediawiki.revision-visibility-change", {"page_title": "A"}, "/rev_id"),
    ],
)
def test_an_event_without_what_its_stream_always_has_is_refused(stream: str, fields: dict[str, object], where: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        changes(stream, **fields)
    assert caught.value.where == where


def test_a_bad_event_does_not_stop_the_batch() -> None:
    bad = SourceEvent("mediawiki.page-delete", b'{"page_title": 3}', "id", 0)
    good = event("mediawiki.page-delete", page_title="A")
    first, second = changes_of_batch([bad, good], site=Site(), may_redirect=lambda _: False)
    assert isinstance(first, InvalidInput) and isinstance(second, tuple) and len(second) == 2


def test_times() -> None:
    assert parse_time_ms("2026-11-24T06:21:22.123Z") == 1795501282123
    assert parse_time_ms("2026-11-24T07:21:22+01:00") == 1795501282000
    for wrong in ("yesterday", "2026-11-24T06:21:22"):
        with pytest.raises(InvalidInput):
            parse_time_ms(wrong)


def test_urgency_of_an_own_edit_is_not_raised() -> None:
    made = changes_of(event("mediawiki.revision-create", page_id=1, page_title="A", rev_id=7, rev_parent_id=6), site=Site())
    assert made[0].urgency is Urgency.REST


@pytest.mark.parametrize(
    ("dt", "expected"),
    [
        ("2026-11-24T00:00:00Z", 1_795_478_400_000),
        ("2026-11-24T02:00:00Z", 1_795_485_600_000),  # the wiki's clock is an hour ahead
        ("2026-11-24T02:00:01Z", TAKEN_MS),
        ("9999-12-31T23:59:59Z", TAKEN_MS),
        ("0001-01-01T00:00:00Z", TAKEN_MS),
        ("2026-11-24t00:00:00z", TAKEN_MS),  # RFC 3339 allows it, and so does the intake
        ("2016-12-31T23:59:60Z", TAKEN_MS),
        ("", TAKEN_MS),
    ],
)
def test_a_time_that_cannot_be_costs_no_change(dt: str, expected: int) -> None:
    assert happened_ms(dt, TAKEN_MS) == expected


def test_a_whole_number_may_be_written_as_a_fraction() -> None:
    text = b'{"page_id": 7.0, "page_title": "A", "rev_id": 5.0, "rev_parent_id": 4.0}'
    (change,) = changes_of(SourceEvent("mediawiki.revision-create", text, "id", 0), site=Site())
    assert change.rev == 5

"""Every recorded row of a real wiki becomes the events that it should, valid under the schemas of the intake."""

import json
import pathlib
from collections.abc import Sequence

import jsonschema_rs
import msgspec
import pytest

import headwater.events
from headwater.mediawiki.answers import PageInfo, SiteAnswer
from headwater.mediawiki.eventbus import Event
from headwater.mediawiki.recentchanges import ChangesAnswer, Context, Row, base36, map_row, titles_wanted
from headwater.mediawiki.titles import site_info

DATA = pathlib.Path(__file__).resolve().parents[1] / "data/recentchanges"
SCHEMAS = pathlib.Path(headwater.events.__file__).parent / "schemas"
SITE = site_info(msgspec.json.decode((DATA / "siteinfo.json").read_bytes(), type=SiteAnswer).query)
RECORDINGS = sorted(path for path in DATA.glob("[0-9]*.json"))

# What each recording becomes, in order: stream and title of the event.
EXPECTED = {
    "new": ["page-create Recorded_page", "revision-create Recorded_page"],
    "edit": ["revision-create Recorded_page"],
    "edit-again": ["revision-create Recorded_page"],
    "move-with-redirect": ["page-move Talk:Recorded/Page_&_more", "page-create Recorded_page"],
    "move-over-redirect": ["page-move Recorded_page", "page-create Talk:Recorded/Page_&_more", "page-delete Recorded_page"],
    "move-without-redirect": ["page-move Recorded_elsewhere"],
    "protect": ["page-restrictions-change Recorded_elsewhere"],
    "protect-modify": ["page-restrictions-change Recorded_elsewhere"],
    "unprotect": ["page-restrictions-change Recorded_elsewhere"],
    "delete": ["page-delete Recorded_elsewhere"],
    "restore": ["page-undelete Recorded_elsewhere"],
    "visibility-of-two": ["revision-visibility-change Recorded_secret"] * 2,
    "import": [
        "page-create Recorded_import",
        "revision-create Recorded_import",
        "page-create Template:Recorded_import",
        "revision-create Template:Recorded_import",
    ],
    "merge": ["revision-create Recorded_source", "resource_change Recorded_goal"],
    "tag": [],
    "user": [],
    "rights": [],
    "block": [],
    "reblock": [],
    "unblock": [],
    "upload": ["page-create File:Recorded.png", "revision-create File:Recorded.png", "file-change File:Recorded.png"],
    "overwrite": ["revision-create File:Recorded.png", "file-change File:Recorded.png"],
    "file-revert": ["revision-create File:Recorded.png", "file-change File:Recorded.png"],
    "file-move": ["page-move File:Recorded_anew.png", "page-create File:Recorded.png"],
    "file-delete": ["page-delete File:Recorded_anew.png", "file-change File:Recorded_anew.png"],
    "file-restore": ["page-undelete File:Recorded_anew.png", "file-change File:Recorded_anew.png"],
}


def rows_of(path: pathlib.Path) -> tuple[Sequence[Row], Context]:
    """The rows of a recording, and what they are read with."""
    content = path.read_bytes()
    pages = msgspec.convert(json.loads(content).get("looked_up", []), list[PageInfo])
    context = Context("w", "127.0.0.1", SITE, {page.title: page for page in pages})
    return msgspec.json.decode(content, type=ChangesAnswer).query.recentchanges, context


def events_of(name: str) -> Sequence[Event]:
    """The events of the recording of that name."""
    (path,) = [path for path in RECORDINGS if path.stem.partition("-")[2] == name]
    rows, context = rows_of(path)
    return [event for row in rows for event in map_row(row, context).events]


def told(event: Event) -> str:
    """Stream and title of an event."""
    title = event.page_title or SITE.title_of_url(event.meta.uri)
    return f"{event.stream.rpartition('.')[2]} {title}"


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_every_recorded_row_is_known_and_readable(path: pathlib.Path) -> None:
    rows, context = rows_of(path)
    mapped = [map_row(row, context) for row in rows]
    assert rows
    assert [row.kind for row, each in zip(rows, mapped, strict=True) if not each.known] == []
    assert all(each.readable for each in mapped)


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_every_event_is_valid_under_its_schema(path: pathlib.Path) -> None:
    rows, context = rows_of(path)
    for row in rows:
        for event in map_row(row, context).events:
            schema = json.loads((SCHEMAS / f"{event.schema.lstrip('/')}.json").read_text())
            jsonschema_rs.validator_for(schema).validate(json.loads(msgspec.json.encode(event)))


@pytest.mark.parametrize("name", EXPECTED)
def test_a_recording_becomes_these_events(name: str) -> None:
    assert [told(event) for event in events_of(name)] == EXPECTED[name]


def test_every_recording_is_expected_or_made_of_edits() -> None:
    others = {path.stem.partition("-")[2] for path in RECORDINGS} - EXPECTED.keys()
    assert others == {"redirect", "visibility", "content-model", "other-edits"}


def test_an_edit_names_its_revisions() -> None:
    (edit,) = events_of("edit")
    (again,) = events_of("edit-again")
    assert edit.rev_id is not None
    assert again.rev_parent_id == edit.rev_id
    assert edit.page_is_redirect is False
    assert edit.rev_sha1 is not None and len(edit.rev_sha1) == 31


def test_a_redirect_is_said_to_be_one() -> None:
    assert [event.page_is_redirect for event in events_of("redirect")] == [True] * 3


def test_a_move_keeps_the_page_and_makes_another_for_the_redirect() -> None:
    moved, left = events_of("move-with-redirect")
    assert json.loads(msgspec.json.encode(moved))["prior_state"] == {"page_title": "Recorded_page", "page_namespace": 0}
    assert moved.page_namespace == 1
    assert left.page_id not in (None, 0, moved.page_id)
    assert left.page_is_redirect is True
    assert moved.new_redirect_page is not None
    assert (moved.new_redirect_page.page_id, moved.new_redirect_page.page_title) == (left.page_id, "Recorded_page")


def test_a_redirect_overtaken_by_a_deletion_is_left_out() -> None:
    (path,) = [path for path in RECORDINGS if path.stem.endswith("move-with-redirect")]
    rows, context = rows_of(path)
    gone = Context("w", "127.0.0.1", SITE, {title: PageInfo(title=title, missing=True) for title in context.pages})
    assert [told(event) for event in map_row(rows[0], gone).events] == ["page-move Talk:Recorded/Page_&_more"]


def test_titles_are_looked_up_for_moves_with_redirect_only() -> None:
    by_name = {path.stem.partition("-")[2]: rows_of(path)[0] for path in RECORDINGS}
    assert titles_wanted(by_name["move-with-redirect"]) == ("Recorded page",)
    assert titles_wanted(by_name["move-without-redirect"]) == ()
    assert titles_wanted(by_name["edit"]) == ()


def test_visibility_says_what_is_shown() -> None:
    (event,) = [event for event in events_of("visibility") if event.stream.endswith("visibility-change")]
    decoded = json.loads(msgspec.json.encode(event))
    assert decoded["visibility"] == {"text": False, "user": True, "comment": True}
    assert decoded["prior_state"] == {"visibility": {"text": True, "user": True, "comment": True}}


def test_a_suppression_reads_like_a_visibility_change() -> None:
    answer = msgspec.json.decode((DATA / "suppress-log.json").read_bytes(), type=ChangesAnswer)
    context = Context("w", "127.0.0.1", SITE, {})
    events = [event for row in answer.query.logevents for event in map_row(row.as_row(), context).events]
    assert [told(event) for event in events] == ["revision-visibility-change Recorded_secret"]
    assert events[0].page_id


def test_protection_names_the_levels() -> None:
    (event,) = events_of("protect")
    assert event.page_restrictions == {"edit": "sysop", "move": "sysop"}
    (lifted,) = events_of("unprotect")
    assert lifted.page_restrictions == {}


def test_files_say_what_happened_to_them() -> None:
    kinds = [event.kind for name in ("upload", "overwrite", "file-delete", "file-restore") for event in events_of(name) if event.kind]
    assert kinds == ["upload", "overwrite", "delete", "restore"]


def test_ids_are_the_same_each_time_and_differ_between_events() -> None:
    def ids() -> list[str]:
        return [event.meta.id for name in EXPECTED for event in events_of(name)]

    assert ids() == ids()
    assert len(set(ids())) == len(ids())


def test_tags_come_with_an_event_of_their_own() -> None:
    row = Row(type="edit", title="A", pageid=1, revid=5, timestamp="2026-01-01T00:00:00Z", tags=("mw-undo",))
    created, tagged = map_row(row, Context("w", "d", SITE, {})).events
    assert created.tags == tagged.tags == ("mw-undo",)
    assert tagged.stream == "mediawiki.revision-tags-change"


def test_an_unknown_log_makes_its_page_be_rendered_again() -> None:
    row = Row(type="log", title="A b", pageid=1, logid=9, logtype="newthing", logaction="done", timestamp="2026-01-01T00:00:00Z")
    mapped = map_row(row, Context("w", "d", SITE, {}))
    assert not mapped.known
    assert [told(event) for event in mapped.events] == ["resource_change A_b"]


def test_a_row_whose_subject_is_hidden_is_counted_and_nothing_else() -> None:
    row = Row(type="log", logid=9, logtype="delete", logaction="delete", timestamp="2026-01-01T00:00:00Z", actionhidden=True)
    mapped = map_row(row, Context("w", "d", SITE, {}))
    assert (mapped.events, mapped.readable) == ((), False)


def test_details_of_another_shape_do_no_harm() -> None:
    row = Row(
        type="log", title="A", logtype="protect", logaction="x", timestamp="2026-01-01T00:00:00Z", logparams=msgspec.Raw(b'{"details":"?"}')
    )
    assert map_row(row, Context("w", "d", SITE, {})).events[0].page_restrictions == {}


def test_sha1_is_written_in_base_36() -> None:
    assert base36("da39a3ee5e6b4b0d3255bfef95601890afd80709") == "phoiac9h4m842xq45sp7s6u21eteeq1"  # of an empty text
    assert base36("") is None

"""Schemas, streams and identities: the pure rules of the intake."""

from pathlib import Path

import orjson
import pytest
from tests.unit.events_setting import RECORDINGS, SCHEMAS, change, recorded

from headwater.events import identity
from headwater.events.config import EventsConfig, StreamConfig
from headwater.events.examination import Rules
from headwater.events.schemas import SchemaRegistry
from headwater.events.streams import BUILT_IN, StreamRule, StreamTable, partition_key
from headwater.kernel.errors import InvalidConfig, InvalidInput
from headwater.mediawiki.config import WikiConfig
from headwater.propagation.emitted import page_changed_record, purge_records
from headwater.propagation.model import BodyHash, CommitRecord, Lsn, PageKey, Seq, Title


def test_every_recorded_schema_is_known_and_permitted() -> None:
    table = StreamTable()
    events = [event for path in sorted(RECORDINGS.glob("*.json")) for event in orjson.loads(path.read_bytes())]
    assert len(events) == 36
    for event in events:
        schema = SCHEMAS.find(event["$schema"])
        rule = table.rule_of(event["meta"]["stream"])
        assert rule is not None and rule.schema_title == schema.title
        assert schema.violations(event) == ()


def test_what_headwater_emits_has_schemas() -> None:
    for uri in ("/resource_change/1.1.0", "/headwater/page-changed/1.0.0", "/headwater/file-change/1.0.0"):
        assert SCHEMAS.find(uri).uri == uri


@pytest.mark.parametrize("html_hash", ["0" * 64, None])
def test_what_propagation_writes_is_valid(html_hash: str | None) -> None:
    wiki = WikiConfig(domains=("rivers.example",), api_url="http://rivers.example/api.php")
    body = None if html_hash is None else BodyHash(html_hash)
    commit = CommitRecord(
        PageKey(7), "html", Seq(5), Lsn(3), Title("Elbe"), body, Seq(5), None, None if body is None else 9, (), 1_800_000_000_000
    )
    records = [*purge_records("rivers", wiki, commit, ("http://rivers.example/Elbe",)), page_changed_record("rivers", wiki, commit, "edit")]
    for record in records:
        assert record.value is not None
        event = orjson.loads(record.value)
        assert SCHEMAS.find(event["$schema"]).violations(event) == ()


def test_every_schema_declares_its_own_fields_and_bounds_its_strings() -> None:
    for uri in SCHEMAS.uris():
        document = orjson.loads(SCHEMAS.find(uri).source)
        assert document["$id"] == uri
        assert {"$schema", "meta"} <= set(document["required"]) <= set(document["properties"])
        _check_strings(document, uri)


def _check_strings(node: object, where: str) -> None:
    if isinstance(node, dict):
        kind = node.get("type")
        if kind == "string" or (isinstance(kind, list) and "string" in kind):
            assert "maxLength" in node, where
        for name, inner in node.items():
            _check_strings(inner, f"{where}/{name}")
    elif isinstance(node, list):
        for inner in node:
            _check_strings(inner, where)


def test_the_leading_slash_is_optional() -> None:
    assert SCHEMAS.find("mediawiki/job/1.0.0") is SCHEMAS.find("/mediawiki/job/1.0.0")


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("https://schemas.example/resource_change/1.0.0", "absolute"),
        ("//schemas.example/resource_change/1.0.0", "absolute"),
        ("file:///etc/passwd", "absolute"),
        ("/resource_change/latest", "latest"),
        ("/resource_change/9.9.9", "known are /resource_change/1.0.0, /resource_change/1.1.0"),
        ("/../resource_change/1.0.0", "form /title/x.y.z"),
        ("/mediawiki/../resource_change/1.0.0", "form /title/x.y.z"),
        ("/resource_change/1.0", "form /title/x.y.z"),
        ("/resource_change/1.0.0.json", "form /title/x.y.z"),
        ("/unheard/1.0.0", "not known"),
        ("x" * 10_000, "form /title/x.y.z"),
    ],
)
def test_other_uris_are_refused_with_a_reason(uri: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said) as refusal:
        SCHEMAS.find(uri)
    assert refusal.value.where == "/$schema"
    assert len(refusal.value.detail) < 1000


@pytest.mark.parametrize(
    ("path", "document", "said"),
    [
        ("own/thing/1.0.0.json", b"{", "not a JSON Schema"),
        ("own/thing/1.0.0.json", b'{"title":"own/thing","$id":"/own/thing/1.0.0","type":"nothing"}', "not a JSON Schema"),
        ("own/thing/1.0.0.json", b'{"title":"own/other","$id":"/own/thing/1.0.0"}', "`title` must be"),
        ("own/thing/newest.json", b"{}", "named"),
        ("resource_change/1.0.0.json", b'{"title":"resource_change","$id":"/resource_change/1.0.0"}', "twice"),
    ],
)
def test_a_wrong_schema_file_stops_the_start(tmp_path: Path, path: str, document: bytes, said: str) -> None:
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    file.write_bytes(document)
    with pytest.raises(InvalidConfig, match=said):
        SchemaRegistry.load([tmp_path])


def test_own_schemas_and_streams_come_from_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "own" / "thing" / "1.0.0.json"
    file.parent.mkdir(parents=True)
    file.write_bytes(b'{"title":"own/thing","$id":"/own/thing/1.0.0","type":"object"}')
    config = EventsConfig(
        streams={"own.*": StreamConfig(schema_title="own/thing"), "resource_change": StreamConfig(schema_title="own/thing")}
    )
    rules = Rules(SchemaRegistry.load([tmp_path]), StreamTable(config.rules()), 100)
    rules.check()
    assert rules.schemas.find("own/thing/1.0.0").title == "own/thing"
    found = rules.streams.rule_of("resource_change")
    assert found is not None and found.schema_title == "own/thing"
    with pytest.raises(InvalidConfig, match="own/thing"):
        Rules(SCHEMAS, rules.streams, 100).check()


def test_a_directory_of_schemas_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="no such directory"):
        SchemaRegistry.load([tmp_path / "absent"])


def test_exact_names_win_over_patterns_and_longer_patterns_over_shorter() -> None:
    table = StreamTable([StreamRule("a.*", "short"), StreamRule("a.b.*", "long"), StreamRule("a.b.c", "exact")])
    titles = {name: rule and rule.schema_title for name in ("a.x", "a.b.x", "a.b.c", "a.", "b") for rule in [table.rule_of(name)]}
    assert titles == {"a.x": "short", "a.b.x": "long", "a.b.c": "exact", "a.": None, "b": None}


@pytest.mark.parametrize(
    "stream", ["mediawiki.job.", "mediawiki.job.a/b", "mediawiki.job.a b", "mediawiki.job." + "x" * 200, "mediawiki.job.é"]
)
def test_a_pattern_takes_only_what_may_name_a_stream(stream: str) -> None:
    assert StreamTable().rule_of(stream) is None


def test_a_stream_with_a_bad_name_stops_the_start() -> None:
    with pytest.raises(InvalidConfig):
        StreamTable([StreamRule("a b", "x")])


def test_only_headwaters_own_streams_are_closed() -> None:
    assert {rule.name for rule in BUILT_IN if not rule.public} == {"headwater.file-change", "headwater.page-changed"}


def test_events_of_a_page_share_a_key() -> None:
    move, create = recorded("23-mediawiki.page-move.json")[0], recorded("24-mediawiki.page-create.json")[0]
    assert partition_key(move) == b"127.0.0.1:213"
    assert partition_key(create) == b"127.0.0.1:214"
    assert partition_key(change()) == b"rivers.example:http://rivers.example/wiki/Main"
    assert partition_key(recorded("04-mediawiki.recentchange.json")[0]) is None


def test_an_edit_is_known_by_its_revision_on_either_stream() -> None:
    edit = recorded("10-mediawiki.revision-create.json")[0]
    dt = edit["meta"]["dt"]
    told = identity.identities("mediawiki.page-create", edit, dt)
    assert told == identity.alike("mediawiki.revision-create", edit, "2030-01-01T00:00:00Z")
    assert told != identity.identities("mediawiki.revision-create", {**edit, "rev_id": 220}, dt)
    elsewhere = {**edit, "meta": {**edit["meta"], "domain": "other.example"}}
    assert told != identity.identities("mediawiki.revision-create", elsewhere, dt)


@pytest.mark.parametrize(("second", "is_same"), [(29, False), (30, True), (31, True), (33, True), (34, True), (35, False)])
def test_other_kinds_are_the_same_within_two_seconds(second: int, is_same: bool) -> None:
    event = recorded("28-mediawiki.page-delete.json")[0]
    told = identity.identities("mediawiki.page-delete", event, "2026-11-23T23:05:32Z")
    asked = identity.alike("mediawiki.page-delete", {**event, "rev_id": 0}, f"2026-11-23T23:05:{second}Z")
    assert bool(set(told) & set(asked)) is is_same


def test_kinds_pages_and_titles_tell_happenings_apart() -> None:
    event = recorded("28-mediawiki.page-delete.json")[0]
    dt = event["meta"]["dt"]
    told = set(identity.identities("mediawiki.page-delete", event, dt))
    assert not told & set(identity.alike("mediawiki.page-undelete", event, dt))
    assert not told & set(identity.alike("mediawiki.page-delete", {**event, "page_id": 1}, dt))
    assert not told & set(identity.alike("mediawiki.page-delete", {**event, "page_title": "Other"}, dt))
    assert told & set(identity.alike("mediawiki.page-suppress", event, dt))


def test_revisions_hidden_together_stay_apart() -> None:
    event = recorded("27-mediawiki.revision-visibility-change.json")[0]
    dt = event["meta"]["dt"]
    stream = "mediawiki.revision-visibility-change"
    assert not set(identity.identities(stream, event, dt)) & set(identity.alike(stream, {**event, "rev_id": 1}, dt))


def test_what_no_other_source_tells_has_no_identity() -> None:
    job = recorded("02-mediawiki.job.refreshLinks.json")[0]
    assert identity.identities("mediawiki.job.refreshLinks", job, job["meta"]["dt"]) == ()
    leap = recorded("28-mediawiki.page-delete.json")[0]
    assert identity.identities("mediawiki.page-delete", leap, "2016-12-31T23:59:60Z") == ()

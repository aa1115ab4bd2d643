"""Reading configurations: what is accepted, and how exactly what is wrong is named."""

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated

import jsonschema_rs
import msgspec
import pytest

from headwater.kernel.config import Bytes, Seconds, Secret, Section, doc
from headwater.kernel.configfile import Reloadable, json_schema, load, options_of
from headwater.kernel.errors import InvalidConfig


class Source(Enum):
    FOLLOWER = "follower"
    INTAKE = "intake"


class Render(Section, frozen=True):
    timeout: Annotated[Seconds, doc("Longest wait.")] = Seconds.of("30s")
    workers_max: Annotated[int, msgspec.Meta(ge=1, description="Most at once.")] = 4


class Wiki(Section, frozen=True):
    api_url: Annotated[str, doc("Address.")]
    domains: Annotated[tuple[str, ...], doc("Names.")] = ()
    source: Annotated[Source, doc("Where from.")] = Source.FOLLOWER
    password: Annotated[Secret | None, doc("Password.")] = None


class Target(Section, frozen=True):
    name: Annotated[str, doc("Name.")]
    layer: Annotated[int, doc("Order.")] = 0


class Propagation(Section, frozen=True):
    render: Annotated[Render, doc("Rendering.")] = Render()
    body_max: Annotated[Bytes, doc("Largest body.")] = Bytes.of("64KiB")
    enabled: Annotated[bool, doc("On or off.")] = True
    waits: Annotated[tuple[Seconds, ...], doc("Pauses.")] = ()


class Config(Section, frozen=True):
    data_dir: Annotated[Path, doc("Where data lies.")] = Path("data")
    wikis: Annotated[dict[str, Wiki], doc("Wikis by id.")] = msgspec.field(default_factory=dict)
    targets: Annotated[tuple[Target, ...], doc("Caches.")] = ()
    propagation: Propagation = Propagation()


FULL = """\
data_dir: /var/lib/x
wikis:
  rivers:
    api_url: http://127.0.0.1/api.php
    domains: [rivers.example, "r.example"]
    source: intake
targets: [{name: varnish, layer: 1}]
propagation:
  body_max: 2MiB
  waits: [1s, 250ms]
  render:
    timeout: 5s
"""


def read(tmp_path: Path, text: str, environ: Mapping[str, str] | None = None) -> Config:
    path = tmp_path / "headwater.yaml"
    path.write_text(text)
    return load(Config, path=path, environ=environ or {})


def refused(tmp_path: Path, text: str, environ: Mapping[str, str] | None = None) -> tuple[str, str]:
    with pytest.raises(InvalidConfig) as caught:
        read(tmp_path, text, environ)
    return caught.value.detail, (caught.value.where or "").removeprefix(f"{tmp_path}/")


def test_without_a_file_all_defaults_hold() -> None:
    assert load(Config, path=None, environ={}) == Config()


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "~\n"])
def test_an_empty_file_has_the_defaults(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == Config()


def test_values_have_the_types_of_their_options(tmp_path: Path) -> None:
    config = read(tmp_path, FULL)
    assert config.data_dir == Path("/var/lib/x")
    assert config.wikis["rivers"] == Wiki(api_url="http://127.0.0.1/api.php", domains=("rivers.example", "r.example"), source=Source.INTAKE)
    assert config.targets == (Target(name="varnish", layer=1),)
    assert config.propagation.body_max == 2 * 1024 * 1024 and type(config.propagation.body_max) is Bytes
    assert config.propagation.waits == (1.0, 0.25)
    assert config.propagation.render == Render(timeout=Seconds(5))


@pytest.mark.parametrize(
    ("text", "detail", "where"),
    [
        (
            "propagation:\n  render:\n    timeot: 5s\n",
            "unknown option `timeot`; did you mean `timeout`?",
            "headwater.yaml:3 propagation.render.timeot",
        ),
        ("propgation: {}\n", "unknown option `propgation`; did you mean `propagation`?", "headwater.yaml:1 propgation"),
        ("zzz: 1\n", "unknown option `zzz`", "headwater.yaml:1 zzz"),
        ("wikis:\n  rivers:\n    domains: []\n", "`api_url` is missing", "headwater.yaml:3 wikis.rivers.api_url"),
        (
            "wikis:\n  r:\n    api_url: x\n    source: folower\n",
            "expected one of follower, intake",
            "headwater.yaml:4 wikis.r.source",
        ),
        ("propagation: {enabled: maybe}\n", "Expected 'bool', got 'str'", "headwater.yaml:1 propagation.enabled"),
        (
            "propagation: {render: {workers_max: 0}}\n",
            "Expected 'int' >= 1",
            "headwater.yaml:1 propagation.render.workers_max",
        ),
        (
            "propagation: {render: {timeout: 5}}\n",
            "expected a duration such as 250ms, 30s, 5m, 2h or 7d",
            "headwater.yaml:1 propagation.render.timeout",
        ),
        (
            "propagation:\n  body_max: 5 parsecs\n",
            "expected a size such as 512B, 64KiB, 10MiB or 2GB",
            "headwater.yaml:2 propagation.body_max",
        ),
        ("propagation: [1]\n", "expected options as `name: value`", "headwater.yaml:1 propagation"),
        ("targets: {name: x}\n", "expected a list", "headwater.yaml:1 targets"),
        ("targets:\n  - name: x\n  - nam: y\n", "unknown option `nam`; did you mean `name`?", "headwater.yaml:3 targets[1].nam"),
        ("data_dir: {a: 1}\n", "expected a value, got options", "headwater.yaml:1 data_dir"),
        ("data_dir: [a]\n", "expected one value, got a list", "headwater.yaml:1 data_dir"),
        ("data_dir: a\ndata_dir: b\n", "`data_dir` is given twice, first at ", "headwater.yaml:2"),
        ("- a\n", "the file must hold options as `name: value`", "headwater.yaml:1"),
        ("a: [\n", "not valid YAML: ", "headwater.yaml:2"),
        ("data_dir: !!python/object x\n", "the tag tag:yaml.org,2002:python/object is not understood", "headwater.yaml:1"),
        ("[a]: 1\n", "a name must be plain text", "headwater.yaml:1"),
        ("<<: {data_dir: x}\n", "a name must be plain text", "headwater.yaml:1"),
        ("propagation: {waits: [1s, 2]}\n", "expected a duration such as", "headwater.yaml:1 propagation.waits[1]"),
    ],
)
def test_what_is_wrong_is_named_with_path_and_line(tmp_path: Path, text: str, detail: str, where: str) -> None:
    found, place = refused(tmp_path, text)
    assert found.startswith(detail)
    assert place == where


def test_aliases_that_multiply_are_refused(tmp_path: Path) -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdef", "bcdefg", strict=True)
    )
    assert refused(tmp_path, bomb)[0] == "the file is larger or deeper than any configuration"


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    assert "exceeds" in refused(tmp_path, "# " + "x" * 2_000_000)[0]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig) as caught:
        load(Config, path=tmp_path / "none.yaml", environ={})
    assert caught.value.where == f"{tmp_path}/none.yaml"


def test_the_environment_replaces_what_the_file_says(tmp_path: Path) -> None:
    config = read(
        tmp_path,
        FULL,
        {
            "HEADWATER_DATA_DIR": "/elsewhere",
            "HEADWATER_WIKIS__RIVERS__API_URL": "http://other/",
            "HEADWATER_WIKIS__RIVERS__DOMAINS": "a.example, b.example",
            "HEADWATER_WIKIS__LAKES__API_URL": "http://lakes/",
            "HEADWATER_PROPAGATION__BODY_MAX": "1KiB",
            "HEADWATER_PROPAGATION__ENABLED": "false",
            "HEADWATER_PROPAGATION__RENDER__WORKERS_MAX": "9",
            "HEADWATER_PROPAGATION__WAITS": '["3s"]',
            "HEADWATER_TARGETS": '[{"name": "edge"}]',
            "HEADWATER_CONFIG": "ignored",
            "PATH": "/bin",
        },
    )
    assert config.data_dir == Path("/elsewhere")
    assert config.wikis["rivers"].api_url == "http://other/" and config.wikis["rivers"].domains == ("a.example", "b.example")
    assert config.wikis["lakes"] == Wiki(api_url="http://lakes/")
    assert config.propagation.body_max == 1024 and config.propagation.enabled is False
    assert config.propagation.render == Render(timeout=Seconds(5), workers_max=9)
    assert config.propagation.waits == (3.0,)
    assert config.targets == (Target(name="edge"),)


@pytest.mark.parametrize(
    ("variable", "value", "detail", "where"),
    [
        ("HEADWATER_DATADIR", "x", "no option is named so; did you mean `data_dir`?", "HEADWATER_DATADIR"),
        ("HEADWATER_PROPAGATION__RENDER__TIMEOT", "1s", "no option is named so; did you mean `timeout`?", ""),
        ("HEADWATER_PROPAGATION__RENDER__TIMEOUT__X", "1s", "this option has nothing below it", ""),
        ("HEADWATER_TARGETS__0__NAME", "x", "a list of sections is given whole, as JSON", ""),
        ("HEADWATER_TARGETS", "x", "not valid JSON: ", ""),
        ("HEADWATER_PROPAGATION__RENDER__WORKERS_MAX", "many", "Expected 'int', got 'str'", ""),
        ("HEADWATER_PROPAGATION__RENDER__WORKERS_MAX", "0", "Expected 'int' >= 1", ""),
        ("HEADWATER_PROPAGATION", '{"bodymax": "1B"}', "unknown option `bodymax`; did you mean `body_max`?", ""),
    ],
)
def test_a_wrong_variable_is_named(tmp_path: Path, variable: str, value: str, detail: str, where: str) -> None:
    found, place = refused(tmp_path, "", {variable: value})
    assert found.startswith(detail)
    assert place.startswith(where or variable)


def test_a_wiki_named_in_other_letters_is_the_same_wiki(tmp_path: Path) -> None:
    config = read(tmp_path, "wikis: {Big-Wiki: {api_url: x}}\n", {"HEADWATER_WIKIS__BIG_WIKI__API_URL": "y"})
    assert config.wikis == {"Big-Wiki": Wiki(api_url="y")}


def test_a_secret_comes_from_a_file_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "pass").write_text("hush\n")
    config = read(tmp_path, "wikis: {r: {api_url: x, password_file: pass}}\n")
    assert config.wikis["r"].password == "hush"
    assert "hush" not in repr(config)


def test_a_secret_file_of_the_environment_replaces_the_secret_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "pass").write_text("new\n")
    environ = {"HEADWATER_WIKIS__R__PASSWORD_FILE": str(tmp_path / "pass")}
    config = read(tmp_path, "wikis: {r: {api_url: x, password: old}}\n", environ)
    assert config.wikis["r"].password == "new"


def test_an_unreadable_secret_is_an_error(tmp_path: Path) -> None:
    detail, where = refused(tmp_path, "wikis:\n  r:\n    api_url: x\n    password_file: none\n")
    assert detail.startswith("cannot read the secret")
    assert where == "headwater.yaml:4 wikis.r.password_file"


def test_a_secret_given_twice_is_an_error(tmp_path: Path) -> None:
    assert "both given" in refused(tmp_path, "wikis: {r: {api_url: x, password: a, password_file: b}}\n")[0]


def test_options_are_listed_with_path_type_default_and_description() -> None:
    options = {option.path: option for option in options_of(Config)}
    timeout = options["propagation.render.timeout"]
    assert (timeout.type, timeout.default, timeout.description) == ("duration", "30s", "Longest wait.")
    assert timeout.variable == "HEADWATER_PROPAGATION__RENDER__TIMEOUT"
    assert options["wikis.<name>.api_url"].default is None
    assert options["wikis.<name>.source"].type == "one of follower, intake"
    assert options["targets[].layer"].default == "0"
    assert options["propagation.body_max"].default == "64KiB"
    assert options["data_dir"].type == "path"


def test_the_json_schema_accepts_and_refuses_what_load_does() -> None:
    validator = jsonschema_rs.validator_for(json_schema(Config))
    assert validator.is_valid({"wikis": {"r": {"api_url": "x", "password_file": "f"}}, "propagation": {"render": {"timeout": "5s"}}})
    assert not validator.is_valid({"wikis": {"r": {}}})
    assert not validator.is_valid({"propagation": {"render": {"timeout": 5}}})
    assert not validator.is_valid({"propgation": {}})


def test_reload_keeps_the_old_configuration_when_the_new_one_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("data_dir: one\n")
    reloadable = Reloadable(lambda: load(Config, path=path, environ={}))
    seen: list[Config] = []
    reloadable.on_change(seen.append)
    path.write_text("data_dirr: two\n")
    with pytest.raises(InvalidConfig):
        reloadable.reload()
    assert reloadable.current.data_dir == Path("one") and seen == []
    path.write_text("data_dir: two\n")
    assert reloadable.reload().data_dir == Path("two")
    assert [config.data_dir for config in seen] == [Path("two")]


def test_what_another_process_reads_is_passed_over_unread(tmp_path: Path) -> None:
    path = tmp_path / "headwater.yaml"
    path.write_text("others: {nobody: knows}\n")
    with pytest.raises(InvalidConfig):
        load(Config, path=path, environ={})
    environ = {"HEADWATER_OTHERS__NOBODY__KNOWS": "x"}
    assert load(Config, path=path, environ=environ, others=frozenset({"others"})) == Config()
    with pytest.raises(InvalidConfig, match="no option is named so"):
        load(Config, path=None, environ={"HEADWATER_OTHER": "x"}, others=frozenset({"others"}))

"""The section `tables`: quotas are read from a file as they are documented, and one that lets nothing in is refused."""

import pathlib
from typing import Annotated

import pytest

from headwater.kernel.config import Bytes, Section, doc
from headwater.kernel.configfile import load
from headwater.kernel.errors import InvalidConfig
from headwater.tables.config import QuotaConfig, TablesConfig


class File(Section, frozen=True):
    """A file with nothing but tables."""

    tables: Annotated[TablesConfig, doc("Tables.")] = TablesConfig()


def read(tmp_path: pathlib.Path, quota: str) -> QuotaConfig:
    path = tmp_path / "headwater.yaml"
    path.write_text(f"tables: {{quotas: {{en.example/comments: {quota}}}}}\n")
    return load(File, path=path, environ={}).tables.quotas["en.example/comments"]


def test_a_quota_names_rows_or_bytes_or_both(tmp_path: pathlib.Path) -> None:
    assert read(tmp_path, "{rows_max: 5}") == QuotaConfig(rows_max=5)
    assert read(tmp_path, "{bytes_max: 1KiB}") == QuotaConfig(bytes_max=Bytes(1024))
    assert read(tmp_path, "{rows_max: 1, bytes_max: 1B}") == QuotaConfig(rows_max=1, bytes_max=Bytes(1))


@pytest.mark.parametrize("quota", ["{rows_max: 0}", "{rows_max: -1}", "{bytes_max: 0B}"])
def test_a_quota_that_lets_nothing_in_is_refused(tmp_path: pathlib.Path, quota: str) -> None:
    with pytest.raises(InvalidConfig, match="at least 1"):
        read(tmp_path, quota)


def test_what_is_no_number_of_rows_is_refused_with_its_place(tmp_path: pathlib.Path) -> None:
    with pytest.raises(InvalidConfig) as refused:
        read(tmp_path, "{rows_max: many}")
    assert str(refused.value.where).endswith(" tables.quotas.en.example/comments.rows_max")

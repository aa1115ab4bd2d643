"""The data directory: what cannot be used is said in words, before anything is started."""

import os
from pathlib import Path

import pytest

from headwater.app.storage import owned_directory
from headwater.kernel.errors import InvalidConfig, StorageFull


def test_a_directory_that_cannot_be_used_is_a_wrong_configuration(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    for path, reason in ((file, "File exists"), (file / "below", "Not a directory")):
        with pytest.raises(InvalidConfig, match=reason) as caught, owned_directory(path):
            raise AssertionError("owned")
        assert caught.value.where == "data_dir" and str(path) in caught.value.detail


def test_a_full_disk_is_no_wrong_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    full = Path("/dev/full")

    def open_full(*_arguments: object) -> int:
        raise OSError(28, os.strerror(28), str(full))

    monkeypatch.setattr(os, "open", open_full)
    with pytest.raises(StorageFull), owned_directory(Path()):
        raise AssertionError("owned")

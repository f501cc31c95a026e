"""Files are whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from wearcast.errors import UsageError
from wearcast.writing import replace_file, write_whole


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "f.csv"
    write_whole(path, b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UsageError, match="No space left"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["f.csv"]
    with pytest.raises(UsageError, match="cannot be written"):
        write_whole(path / "below", b"new")


def test_a_file_is_readable_by_others_and_its_folder_is_made(tmp_path: Path):
    """As a file that is opened for writing would be, not as a scratch file is."""
    path = tmp_path / "deep" / "f.bin"
    replace_file(path, memoryview(b"new"))
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o644

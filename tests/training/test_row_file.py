"""Rows that a full disk delays are written in their order, whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from legged_ppo.training.row_file import RowFile


def test_rows_follow_as_soon_as_the_file_can_be_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "logs" / "metrics.jsonl"
    rows = RowFile(path)
    for row in ("1", "2", "3"):
        rows.append(row)
    assert len(caplog.messages) == 1 and str(path) in caplog.messages[0]
    path.parent.mkdir()
    rows.append("4")
    rows.append("5")
    assert path.read_text() == "1\n2\n3\n4\n5\n"
    path.unlink()
    rows.append("6")
    assert path.read_text() == "6\n"


def test_a_row_that_was_written_in_part_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "metrics.jsonl"
    rows = RowFile(path)
    rows.append("first")

    class Full:
        """A disk with room for two more bytes."""

        def __init__(self) -> None:
            self.file = os.fdopen(os.open(path, os.O_RDWR | os.O_APPEND), "ab", buffering=0)

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def tell(self) -> int:
            return self.file.seek(0, os.SEEK_END)

        def write(self, data: memoryview) -> int:
            if path.stat().st_size >= 8:
                raise OSError(28, "No space left on device")
            return self.file.write(data[:2])

        def truncate(self, size: int) -> int:
            return self.file.truncate(size)

    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", lambda *_, **__: Full())
        rows.append("second")
    assert path.read_text() == "first\n"
    rows.append("third")
    assert path.read_text() == "first\nsecond\nthird\n"

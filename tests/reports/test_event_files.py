"""Scalars of TensorBoard files, against TensorBoard's own reader."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from legged_ppo.cli import report
from legged_ppo.reports.event_files import read_events


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The events of a run of 300 iterations and 30 scalars, with pictures between them."""
    with SummaryWriter(str(tmp_path)) as board:
        board.add_text("config", "x" * 5000, 0)
        for step in range(1, 301):
            for i in range(30):
                board.add_scalar(f"Loss/{i}", step * i, 10 * step)
            if step % 100 == 0:
                board.add_image("plot", np.random.default_rng(0).random((3, 400, 400)), 10 * step)
    return tmp_path


def test_rows_hold_what_tensorboard_reads_and_come_sooner(folder: Path) -> None:
    begin = time.perf_counter()
    rows = read_events(list(folder.glob("events.*")))
    own = time.perf_counter() - begin
    begin = time.perf_counter()
    theirs = EventAccumulator(str(folder), {"scalars": 0}).Reload()
    reference = time.perf_counter() - begin
    assert [row["env_steps"] for row in rows] == [10 * step for step in range(1, 301)]
    for i in (0, 7, 29):
        expected = [(each.step, each.value) for each in theirs.Scalars(f"Loss/{i}")]
        assert [(row["env_steps"], row[f"Loss/{i}"]) for row in rows] == expected
    assert own < reference


def test_a_cut_file_gives_what_is_whole(folder: Path) -> None:
    (file,) = folder.glob("events.*")
    whole = read_events([file])
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2 + 3])
    rows = read_events([file])
    assert 50 < len(rows) < 300 and rows[:-1] == whole[: len(rows) - 1]
    file.write_bytes(b"\xff" * 500)
    assert read_events([file]) == []


def test_a_folder_of_events_alone_has_a_page(folder: Path) -> None:
    with SummaryWriter(str(folder), filename_suffix=".more") as board:
        for step in range(1, 50):
            board.add_scalar("Train/mean_reward", step, step)
    assert report.main([str(folder)]) == 0
    assert "come from TensorBoard files" in (folder / "report.html").read_text()

"""A dashboard that fails or hangs costs its rows alone."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest

from legged_ppo.training.dashboard import Dashboard

Rows = list[tuple[int, int]]


def test_a_failed_dashboard_is_tried_again_after_one_two_and_four_rows(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    attempts: list[int] = []

    def write(_: Any, __: Any, env_steps: int) -> None:
        attempts.append(env_steps)
        if env_steps < 8:
            raise ConnectionError("gone\nfor now")

    board = Dashboard("wandb", object, write)
    for step in range(1, 11):
        board.send({"Loss/value": 0.5}, step)
    board.close()
    assert attempts == [1, 2, 4, 8, 9, 10]
    failed = [line for line in caplog.messages if "wandb failed: gone for now" in line]
    assert len(failed) == 3 and caplog.messages[-1] == "wandb works again"


def test_each_writer_is_connected_in_the_thread_and_disconnected_at_the_end() -> None:
    threads: list[threading.Thread] = []
    rows: Rows = []

    def connect() -> Rows:
        threads.append(threading.current_thread())
        return rows

    board = Dashboard(
        "TensorBoard",
        connect,
        lambda target, values, step: target.append((int(values["a"]), step)),
        lambda target: target.append((0, 0)),
    )
    board.send({"a": 1}, 5)
    board.send({"a": 2}, 6)
    board.close()
    assert rows == [(1, 5), (2, 6), (0, 0)]
    assert len(threads) == 1 and threads[0] is not threading.main_thread()


def test_a_dashboard_that_hangs_neither_stops_the_caller_nor_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    forever = threading.Event()
    board = Dashboard("wandb", object, lambda *_: bool(forever.wait()), patience_s=0.05)
    for step in range(2000):
        board.send({}, step)
    board.close()
    forever.set()
    assert "its rows are left out" in caplog.messages[0]
    assert len(caplog.messages) == 2 and "does not answer after" in caplog.messages[1]

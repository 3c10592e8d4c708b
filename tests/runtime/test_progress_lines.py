"""Long work says how far it is."""

from __future__ import annotations

import logging

import pytest

from legged_ppo.runtime import progress_lines
from legged_ppo.runtime.progress_lines import ProgressLines


def test_a_line_every_period_and_none_before(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(progress_lines.time, "monotonic", lambda: now)  # type: ignore[attr-defined]
    log = logging.getLogger("legged_ppo.test")
    caplog.set_level(logging.INFO, log.name)
    bounded, endless = ProgressLines(log, "video", 1200), ProgressLines(log, "play", None)
    for second in range(25):
        now = 100.0 + second
        bounded.update(50 * second)
        endless.update(second)
    lines = [record.message for record in caplog.records]
    assert lines == [
        "video: 500 of 1,200 steps",
        "play: 10 steps",
        "video: 1,000 of 1,200 steps",
        "play: 20 steps",
    ]

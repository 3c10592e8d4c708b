"""The parts of an iteration are timed where their work is done."""

from __future__ import annotations

import time

import pytest
import torch

from legged_ppo.training.timer import Stopwatch


def test_on_a_cpu_the_clock_is_pythons() -> None:
    stopwatch = Stopwatch(torch.device("cpu"))
    stopwatch.mark()
    time.sleep(0.02)
    stopwatch.mark()
    stopwatch.mark()
    first, second = stopwatch.seconds()
    assert 0.02 <= first < 1.0 and second < 0.02


def test_on_a_gpu_the_device_notes_the_marks_and_is_waited_for_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[str] = []

    class Event:
        """Reached by the device at once, then two and five seconds later."""

        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing
            self.at = [0.0, 2000.0, 7000.0][calls.count("record")]

        def record(self, stream: object) -> None:
            calls.append("record")

        def synchronize(self) -> None:
            calls.append("synchronize")

        def elapsed_time(self, end: Event) -> float:
            return end.at - self.at

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: None)
    stopwatch = Stopwatch(torch.device("cuda", 0))
    for _ in range(3):
        stopwatch.mark()
    assert stopwatch.seconds() == [2.0, 5.0]
    assert calls == ["record", "record", "record", "synchronize"]

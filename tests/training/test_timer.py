"""The parts of an iteration are timed where their work is done."""

from __future__ import annotations

import pytest
import torch

from legged_ppo.training.timer import Stopwatch


def test_on_a_cpu_the_marks_are_read_from_the_hosts_clock() -> None:
    readings = iter([3.0, 5.0, 5.5])
    stopwatch = Stopwatch(torch.device("cpu"), clock=lambda: next(readings))
    for _ in range(3):
        stopwatch.mark()
    assert stopwatch.seconds() == [2.0, 0.5]


def test_on_a_gpu_the_device_records_the_marks_and_the_host_waits_at_the_end(
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

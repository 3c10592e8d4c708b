"""Stopwatch: how long the parts of an iteration take."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch


class Stopwatch:
    """Marks in the course of an iteration. On a GPU, whose work Python only queues, a mark is an event that
    the device records when it gets there; the host waits only in `seconds`.

    Args:
        clock: seconds, read at the marks of a CPU.
    """

    def __init__(
        self, device: torch.device, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._device, self._clock = device, clock
        self._times: list[float] = []
        self._events: list[torch.cuda.Event] = []

    def mark(self) -> None:
        if self._device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)
            event.record(torch.cuda.current_stream(self._device))
            self._events.append(event)
        else:
            self._times.append(self._clock())

    def seconds(self) -> list[float]:
        """Between each mark and the next; waits until the device has reached the last."""
        if self._device.type == "cuda":
            self._events[-1].synchronize()
            pairs = zip(self._events, self._events[1:], strict=False)
            return [1e-3 * begin.elapsed_time(end) for begin, end in pairs]
        return [end - begin for begin, end in zip(self._times, self._times[1:], strict=False)]

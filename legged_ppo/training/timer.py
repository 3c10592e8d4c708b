"""Stopwatch: durations of the parts of an iteration."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch


class Stopwatch:
    """Marks during an iteration. On a GPU a mark is an event in the queue of the device; the host
    synchronises only in `seconds`.

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
        """End one part and begin the next."""
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

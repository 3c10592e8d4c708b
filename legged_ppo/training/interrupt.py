"""Ctrl-C: the first asks the loop to save and stop, the second stops at once."""

from __future__ import annotations

import os
import signal
from types import FrameType, TracebackType

EXIT_CODE = 130


class InterruptGuard:
    """Context manager; `requested` turns true at SIGINT or SIGTERM."""

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> InterruptGuard:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            os._exit(EXIT_CODE)
        self.requested = True
        os.write(2, b"\nstopping after this iteration (Ctrl-C again to stop at once)\n")

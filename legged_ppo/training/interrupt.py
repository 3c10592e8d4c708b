"""Ctrl-C: the first asks the loop to save and stop, the second stops at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from types import FrameType, TracebackType

EXIT_CODE = 130


class InterruptGuard:
    """Context manager; `requested` turns true at SIGINT, SIGTERM or SIGHUP.

    Python lets the main thread alone handle signals: in another thread nothing is requested. A SIGHUP that
    the caller ignores (nohup) stays ignored.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> InterruptGuard:
        if threading.current_thread() is not threading.main_thread():
            return self
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue
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
        if self.requested and number != signal.SIGHUP:  # kernel and shell may both send that one
            os._exit(EXIT_CODE)
        self.requested = True
        with contextlib.suppress(OSError):  # the terminal may be gone
            os.write(2, b"\nstopping after this iteration (Ctrl-C again to stop at once)\n")

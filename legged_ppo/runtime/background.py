"""Calls to a service that may fail or never return, made by a thread of their own."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

_log = logging.getLogger(__name__)

_CAPACITY = 10_000
"""Calls that wait at most: beyond it the service does not keep up, and calls are dropped."""


class BackgroundCalls:
    """Makes calls in the order in which they are submitted, without holding up whoever submits them.

    A call that raises is reported by a warning, the first one only, and so is the first one dropped.

    Args:
        name: of the service, for the warnings.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: queue.Queue[Callable[[], object] | None] = queue.Queue(_CAPACITY)
        self._reported: set[str] = set()
        # A daemon: a call that never returns must not keep the process alive.
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def submit(self, call: Callable[[], object]) -> None:
        """Have `call` made later."""
        try:
            self._calls.put_nowait(call)
        except queue.Full:
            self._report("does not keep up", f"{_CAPACITY} calls wait, more are dropped")

    def wait(self, seconds: float) -> bool:
        """Wait for all calls submitted so far; False if they are not done in time."""
        done = threading.Event()
        try:
            self._calls.put(done.set, timeout=seconds)
        except queue.Full:
            return False
        return done.wait(seconds)

    def close(self) -> None:
        """End the thread after the calls submitted so far."""
        try:
            self._calls.put_nowait(None)
        except queue.Full:
            return  # the thread hangs in a call; it ends with the process

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                call()
            except Exception as error:
                self._report("failed", str(error) or type(error).__name__)

    def _report(self, what: str, why: str) -> None:
        if what not in self._reported:
            self._reported.add(what)
            _log.warning("%s %s (%s); the training continues", self._name, what, why)

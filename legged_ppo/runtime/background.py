"""Calls to a service that may fail or never return, made by a thread of their own."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

_log = logging.getLogger(__name__)

_CAPACITY = 10_000


class BackgroundCalls:
    """Makes calls in the order in which they are submitted, without holding up whoever submits them.

    A call that raises is reported by a warning, the first one only, and so is the first one left out.

    Args:
        name: of the service, for the warnings.
        capacity: calls that wait at most; further ones are left out.
    """

    def __init__(self, name: str, capacity: int = _CAPACITY) -> None:
        self._name = name
        self._calls: queue.Queue[Callable[[], object] | None] = queue.Queue(capacity)
        self._failed = self._full = False
        # A daemon: a call that never returns must not keep the process alive.
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def submit(self, call: Callable[[], object]) -> None:
        """Have `call` made later."""
        try:
            self._calls.put_nowait(call)
        except queue.Full:
            if not self._full:
                _log.warning("%s does not keep up; its rows are left out", self._name)
            self._full = True

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
                if not self._failed:
                    reason = str(error) or type(error).__name__
                    _log.warning("%s failed (%s); the training continues", self._name, reason)
                self._failed = True

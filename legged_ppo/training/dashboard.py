"""A dashboard that may fail or hang without ending or stopping the training."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

_log = logging.getLogger(__name__)

_MOST_WAITING = 1000
"""Rows that wait for a dashboard before further ones are left out."""

Values = Mapping[str, float | np.ndarray]
"""Numbers, and images [height, width, 3] uint8, by their names."""


class Dashboard:
    """Sends rows from a thread of its own. After a failure it tries again after 1, 2, 4, ... rows.

    Args:
        name: what messages call it.
        connect: returns a new writer or run; called in the thread.
        write: (writer, values, env_steps) sends one row.
        patience_s: how long `close` waits for what is still to be sent.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], Any],
        write: Callable[[Any, Values, int], None],
        disconnect: Callable[[Any], None] = lambda _: None,
        patience_s: float = 30.0,
    ) -> None:
        self._name, self._patience_s = name, patience_s
        self._connect, self._write, self._disconnect = connect, write, disconnect
        self._waiting: queue.Queue[tuple[Values, int] | None] = queue.Queue(_MOST_WAITING)
        self._full = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def send(self, values: Values, env_steps: int) -> None:
        """Queue one row; it is left out, with one warning, where the dashboard does not keep up."""
        try:
            self._waiting.put_nowait((values, env_steps))
        except queue.Full:
            if not self._full:
                _log.warning("%s does not answer; its rows are left out", self._name)
            self._full = True

    def close(self) -> None:
        """Send what waits, for at most `patience_s`."""
        try:
            self._waiting.put(None, timeout=self._patience_s)
            self._thread.join(self._patience_s)
        except queue.Full:
            pass
        if self._thread.is_alive():
            message = "%s does not answer after %.0f s; its last rows may be missing"
            _log.warning(message, self._name, self._patience_s)

    def _run(self) -> None:
        target: Any = None
        failures = skipped = 0
        while (row := self._waiting.get()) is not None:
            if target is None and failures and skipped < 2 ** (failures - 1) - 1:
                skipped += 1
                continue
            try:
                if target is None:
                    target = self._connect()
                self._write(target, *row)
                if failures:
                    _log.info("%s works again", self._name)
                failures = 0
            except Exception as error:  # a dashboard must never end a run
                self._report(error, "the next attempt follows")
                with contextlib.suppress(Exception):
                    self._disconnect(target)
                target, failures, skipped = None, failures + 1, 0
        if target is not None:
            try:
                self._disconnect(target)
            except Exception as error:
                self._report(error, "its last rows may be missing")

    def _report(self, error: Exception, consequence: str) -> None:
        reason = " ".join(str(error).split()) or type(error).__name__
        _log.warning("%s failed: %s; %s", self._name, reason[:300], consequence)

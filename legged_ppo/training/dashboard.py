"""A dashboard that may fail or hang without ending or stopping the training."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from legged_ppo.runtime.background import BackgroundCalls

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
        self._target: Any = None
        self._failures = self._skipped = 0
        self._calls = BackgroundCalls(name, _MOST_WAITING)

    def send(self, values: Values, env_steps: int) -> None:
        """Queue one row; it is left out, with one warning, where the dashboard does not keep up."""
        self._calls.submit(partial(self._send, values, env_steps))

    def close(self) -> None:
        """Send what waits, for at most `patience_s`."""
        self._calls.submit(self._end)
        if not self._calls.wait(self._patience_s):
            message = "%s does not answer after %.0f s; its last rows may be missing"
            _log.warning(message, self._name, self._patience_s)
        self._calls.close()

    def _send(self, values: Values, env_steps: int) -> None:
        """In the thread, as `_end`."""
        if self._failures and self._skipped < 2 ** (self._failures - 1) - 1:
            self._skipped += 1
            return
        try:
            if self._target is None:
                self._target = self._connect()
            self._write(self._target, values, env_steps)
        except Exception as error:  # a dashboard must never end a run
            self._report(error, "the next attempt follows")
            with contextlib.suppress(Exception):
                self._disconnect(self._target)
            self._target, self._skipped = None, 0
            self._failures += 1
            return
        if self._failures:
            _log.info("%s works again", self._name)
        self._failures = 0

    def _end(self) -> None:
        if self._target is None:
            return
        try:
            self._disconnect(self._target)
        except Exception as error:
            self._report(error, "its last rows may be missing")

    def _report(self, error: Exception, consequence: str) -> None:
        reason = " ".join(str(error).split()) or type(error).__name__
        _log.warning("%s failed: %s; %s", self._name, reason[:300], consequence)

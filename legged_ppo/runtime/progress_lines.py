"""Progress lines of long work."""

from __future__ import annotations

import logging
import time

_PERIOD = 10.0
"""Seconds between lines."""


class ProgressLines:
    """Logs `work: 400 of 1,000 steps` every 10 s; shorter work logs nothing.

    Args:
        log: receives the lines at level INFO.
        work: what is done, with which each line begins.
        total: of `unit`; None where the end is not known.
        period: seconds between lines.
    """

    def __init__(
        self,
        log: logging.Logger,
        work: str,
        total: int | None,
        unit: str = "steps",
        period: float = _PERIOD,
    ) -> None:
        self._log, self._work, self._total, self._unit = log, work, total, unit
        self._period = period
        self._last = time.monotonic()

    def update(self, done: int) -> None:
        """Note that `done` units are finished."""
        now = time.monotonic()
        if now - self._last < self._period:
            return
        self._last = now
        total = "" if self._total is None else f" of {self._total:,}"
        self._log.info("%s: %s%s %s", self._work, f"{done:,}", total, self._unit)

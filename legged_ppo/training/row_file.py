"""A file of lines that outlives a full disk."""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from pathlib import Path

_log = logging.getLogger(__name__)

_MOST_WAITING = 10_000
"""Lines that are kept in memory while the file cannot be written."""


class RowFile:
    """Appends lines. Those that cannot be written wait in memory and follow as soon as it is possible."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: deque[str] = deque(maxlen=_MOST_WAITING)
        self._failed = self._torn = False

    def append(self, line: str) -> None:
        """Write `line`, or keep it for the next call; a failure is reported once until it is over."""
        self._waiting.append(line + "\n")
        self.flush()

    def flush(self) -> None:
        """Write the lines that wait, if there are any."""
        if not self._waiting:
            return
        try:
            self._write(("\n" if self._torn else "") + "".join(self._waiting))
        except OSError as error:
            if not self._failed:
                reason = error.strerror or error
                kept = f"up to {_MOST_WAITING:,} rows are kept and written later"
                _log.warning("cannot write %s: %s; %s", self._path, reason, kept)
            self._failed = True
            return
        if self._failed:
            _log.info("%s is written again, %d rows at once", self._path, len(self._waiting))
        self._failed = self._torn = False
        self._waiting.clear()

    def close(self) -> None:
        """A last attempt."""
        self.flush()
        if self._waiting:
            _log.warning("%s lacks the last %d rows", self._path, len(self._waiting))

    def _write(self, text: str) -> None:
        """Append all of `text`, or nothing."""
        with open(self._path, "ab", buffering=0) as file:
            begin, rest = file.tell(), memoryview(text.encode())
            try:
                while rest:
                    rest = rest[file.write(rest) :]
            except OSError:
                self._torn = True
                with contextlib.suppress(OSError):
                    file.truncate(begin)
                    self._torn = False
                raise

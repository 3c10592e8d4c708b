"""MuJoCo's warnings, counted: an unstable robot raises thousands of them, which would bury everything else."""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import mujoco

_log = logging.getLogger(__name__)

_KEPT = 100
"""Warnings of each kind that are written to the file."""


@contextlib.contextmanager
def counted_warnings(file: Path | None = None) -> Iterator[Counter[str]]:
    """Within, log the first warning of each kind, and at the end how many there were.

    Two warnings are of one kind if they differ in numbers only. What MuJoCo would write to MUJOCO_LOG.TXT
    in the current folder goes to `file`, or to no file.

    Yields:
        the number of warnings of each kind.
    """
    counts: Counter[str] = Counter()
    before, config = mujoco.MjLogConfig.get(), mujoco.MjLogConfig.get()
    previous = mujoco.get_mju_user_warning()
    config.logto_file = file is not None
    config.logfile = str(file or "")
    config.set()
    mujoco.set_mju_user_warning(_counter(counts, file))
    try:
        yield counts
    finally:
        mujoco.set_mju_user_warning(previous)
        before.set()
        for kind, count in counts.items():
            if count > 1:
                _log.warning("MuJoCo warned %s times: %s", f"{count:,}", kind)


def _counter(counts: Counter[str], file: Path | None) -> Callable[[str], None]:
    """A handler for MuJoCo, whose threads may call it at the same time."""
    lock = threading.Lock()

    def count(message: str) -> None:
        kind = re.sub(r"\d+(\.\d+)?", "#", message.partition(" Time =")[0]).strip()
        with lock:
            counts[kind] += 1
            number = counts[kind]
            if file is not None and number <= _KEPT:
                with contextlib.suppress(OSError), file.open("a") as log:
                    log.write(f"{message.strip()}\n")
        if number == 1:
            where = "" if file is None else f"; see {file}"
            _log.warning("MuJoCo warns: %s (counted from here on%s)", message.strip(), where)

    return count

"""One process writes a run: a lock on its folder, which the system releases however the process ends."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from legged_ppo.errors import UsageError
from legged_ppo.runs.whole_file import writing

_log = logging.getLogger(__name__)

_FILE = "run.lock"
_PATIENCE, _PAUSE = 0.5, 0.05
"""Seconds for which a held lock is tried again: `is_locked` holds it for an instant; and between two trials"""
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)
"""Errors of file systems that have no locks."""


@contextlib.contextmanager
def run_lock(root: Path) -> Iterator[None]:
    """Hold the lock of the run folder `root`; its file names the process and stays behind, unlocked.

    On a file system without locks the work goes on with a warning.

    Raises:
        UsageError: another process writes this run.
        WriteError: the folder cannot be written.
    """
    with _opened(root) as file:
        try:
            _acquire(file.fileno())
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise UsageError(
                f"{root} is being written by {holder}",
                "wait for its end, or start a run of its own with --init-from",
            ) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            _log.warning("%s: this file system has no locks; start no second process here", root)
        with contextlib.suppress(OSError):  # a full disk keeps nobody from holding the lock
            os.ftruncate(file.fileno(), 0)
            os.write(file.fileno(), f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        try:
            yield
        finally:  # not by closing: processes forked meanwhile share the lock
            fcntl.flock(file, fcntl.LOCK_UN)


def is_locked(root: Path) -> bool:
    """Whether a process writes the run in the folder `root` now."""
    try:
        with (root / _FILE).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no lock was ever taken, or there are none
        return False
    return False


def _opened(root: Path) -> TextIO:
    with writing(root):
        return (root / _FILE).open("a+")


def _acquire(descriptor: int) -> None:
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > end:
                raise
            time.sleep(_PAUSE)

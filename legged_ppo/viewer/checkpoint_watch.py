"""Watches the checkpoint that a training writes, and reads it in the background when it changes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from legged_ppo.errors import ConfigError
from legged_ppo.runs.run_directory import LATEST

if TYPE_CHECKING:
    from legged_ppo.evaluation.trained_policy import TrainedPolicy

_PERIOD = 1.0
"""s between looks at the file"""


def watched_path(checkpoint: Path) -> Path:
    """What a training goes on writing: phase1_latest.pth beside the checkpoint, or the checkpoint itself."""
    latest = checkpoint.parent / LATEST
    return latest if latest.is_file() else checkpoint


class CheckpointWatch:
    """Calls back from a thread of its own. Training replaces the file whole, so it is never read half written.

    Args:
        path: the file.
        read: reads the policy.
        deliver: gets a policy, or the line that says why there is none.
    """

    def __init__(
        self,
        path: Path,
        read: Callable[[Path], TrainedPolicy],
        deliver: Callable[[TrainedPolicy | str], None],
        *,
        automatic: bool,
    ) -> None:
        self.path, self.automatic = path, automatic
        self._read, self._deliver = read, deliver
        self._seen = self._stamp()
        self._wanted, self._closed = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="checkpoint watch", daemon=True)
        self._thread.start()

    def reload(self) -> None:
        """Read the file now, changed or not."""
        self._wanted.set()

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        self._wanted.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.is_set():
            asked = self._wanted.wait(_PERIOD)
            self._wanted.clear()
            stamp = self._stamp()
            if self._closed.is_set() or not (asked or (self.automatic and stamp != self._seen)):
                continue
            self._seen = stamp
            try:
                self._deliver(self._read(self.path))
            except (ConfigError, OSError) as error:
                self._deliver(str(error))

    def _stamp(self) -> tuple[int, int, int] | None:
        """What changes when the file is replaced; None where it is missing."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size

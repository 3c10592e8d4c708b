"""Faults at a chosen file operation below a folder: the process is killed, or the system reports an error.

Opening for writing, renaming, removing and making folders and links are seen by an audit hook of Python,
writes and fsync by wrappers. Both stay for the life of the process: use them in a child.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_NAMED = {
    "os.rename": "rename",
    "os.remove": "remove",
    "os.mkdir": "mkdir",
    "os.rmdir": "rmdir",
    "os.symlink": "link",
    "os.link": "link",
}
_WITHOUT_SPACE = ("open", "write", "fsync", "rename", "mkdir", "link")
"""What a full disk refuses; it still removes."""


@dataclass(frozen=True)
class Fault:
    """From the `at`-th operation on (1 is the first), `count` operations fail.

    Attributes:
        error: of the failing operations; 0 kills the process before the operation instead.
        inside: only writes count, and half of the first one's bytes are written before the fault.
    """

    at: int
    error: int = 0
    count: int = 1
    inside: bool = False


class Operations:
    """Counts the operations below `folder`, and lets the `fault` happen."""

    def __init__(self, folder: Path, fault: Fault | None = None) -> None:
        self.folder, self.fault = f"{folder}{os.sep}", fault
        self.number = self.failed = 0
        self._lock = threading.Lock()
        self._open, self._fsync = builtins.open, os.fsync

    def install(self) -> None:
        """Watch this process from now on."""
        builtins.open = io.open = self._opened  # type: ignore[assignment]
        os.fsync = self._synced  # type: ignore[assignment]
        sys.addaudithook(self._audited)

    def _audited(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT
            if (flags & writes if mode is None else set(mode) & set("wax+")) and self._below(path):
                self._count("open")
        elif event in _NAMED:
            path = arguments[1] if event in ("os.symlink", "os.link") else arguments[0]
            if self._below(path):
                self._count(_NAMED[event])

    def _below(self, path: object) -> bool:
        if isinstance(path, int) or not isinstance(path, (str, bytes, os.PathLike)):
            return False
        return f"{os.fsdecode(path)}{os.sep}".startswith(self.folder)

    def _opened(
        self, file: Any, mode: str = "r", buffering: int = -1, *rest: Any, **named: Any
    ) -> Any:
        if not (set(mode) & set("wax+") and self._below(file)):
            return self._open(file, mode, buffering, *rest, **named)
        raw = _Raw(file, mode.replace("b", "").replace("t", ""))
        raw.operations = self
        if "b" in mode and buffering == 0:
            return raw
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, *rest, **named)

    def _synced(self, descriptor: Any) -> None:
        number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        if self._below(Path(f"/proc/self/fd/{number}").readlink()):
            self._count("fsync")
        self._fsync(number)

    def _count(self, kind: str, raw: _Raw | None = None, data: memoryview | None = None) -> None:
        """Count one operation; raises or kills where it is to fail."""
        fault = self.fault
        if fault is not None and fault.inside and kind != "write":
            return
        with self._lock:
            self.number += 1
            number = self.number
        if fault is None or not fault.at <= number < fault.at + fault.count:
            return
        if fault.error == errno.ENOSPC and kind not in _WITHOUT_SPACE:
            return
        self.failed += 1
        if fault.inside and raw is not None and data is not None and number == fault.at:
            raw.write_half(data)
        if fault.error == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(fault.error, os.strerror(fault.error))


class _Raw(io.FileIO):
    """The lowest layer of a file that is open for writing."""

    operations: Operations

    def write(self, data: Any) -> int:
        """As of FileIO, with the fault that is due."""
        self.operations._count("write", self, memoryview(data).cast("B"))
        return super().write(data)

    def write_half(self, data: memoryview) -> None:
        """Write the first half of `data`."""
        super().write(data[: len(data) // 2])

"""Standard output that may end before the command: `| head -1`, a closed terminal, a full disk."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO, cast


class SurvivingStream:
    """A text stream whose failed writes end its output instead of the work; all else is the stream's own.

    A closed pipe is left in silence. Any other failure is reported once on the standard error.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write `text`; returns the number of characters."""
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Hand what was written to the file or pipe."""
        self._try(self._stream.flush)

    def _try(self, work: Callable[[], object]) -> None:
        try:
            work()
        except OSError as error:
            if not isinstance(error, BrokenPipeError):
                line = f"warning: cannot write {_name_of(self._stream)}: {error.strerror}; "
                with contextlib.suppress(OSError):
                    os.write(2, (line + "the output ends here, the run continues\n").encode())
            self._discard()

    def _discard(self) -> None:
        """Lead the file descriptor, and what the buffer still holds, to the null device."""
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(null, self._stream.fileno())
        finally:
            os.close(null)
        with contextlib.suppress(OSError):
            self._stream.flush()


@contextlib.contextmanager
def surviving_output() -> Iterator[None]:
    """Within, a standard output or error that fails does not end the work."""
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast(TextIO, SurvivingStream(stream)) for stream in streams)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = streams


def _name_of(stream: TextIO) -> str:
    """The file behind a stream, where the system has its name."""
    with contextlib.suppress(OSError):
        return str(Path(f"/proc/self/fd/{stream.fileno()}").readlink())
    return stream.name

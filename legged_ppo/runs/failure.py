"""Why a run ended before its end: `failure.txt` in its folder, one line and the traceback."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from legged_ppo.runs.whole_file import writing

_FILE = "failure.txt"


@contextlib.contextmanager
def noting_failure(root: Path) -> Iterator[None]:
    """Write the error that ends the work inside to the run folder `root`; work that ends well, or that the
    user stops, leaves no such file, nor an older one."""
    path = root / _FILE
    with writing(root):
        path.unlink(missing_ok=True)
    try:
        yield
    except Exception as error:
        time = datetime.now(UTC).isoformat(timespec="seconds")
        trace = "".join(traceback.format_exception(error))
        with contextlib.suppress(OSError):  # of a full disk; the error itself is reported anyway
            path.write_text(f"{_line(error)}\n{time}\n\n{trace}")
        raise


def failure_line(root: Path) -> str:
    """The error of the run in one line; empty where it did not fail."""
    try:
        return (root / _FILE).read_text(errors="replace").partition("\n")[0]
    except OSError:
        return ""


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__

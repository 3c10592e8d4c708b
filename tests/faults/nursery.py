"""Child processes that start in milliseconds: forks of one process in which everything is imported.

The nursery itself runs no thread and trains nothing, so that its forks are sound.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import select
import signal
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

ROOT = Path(__file__).resolve().parents[2]
PRELOADED = (
    "legged_ppo.cli.train",
    "legged_ppo.training.run",
    "legged_ppo.env.factory",
    "legged_ppo.reports.heat_map",
    "matplotlib.figure",
    "torch._dynamo",
    "tests.faults.runs",
)
TIME_LIMIT_S = 60.0


@dataclass(frozen=True)
class Job:
    """A function of a module with its arguments, and the signal that its process gets after a while."""

    work: Callable[..., int | None]
    arguments: dict[str, Any] = field(default_factory=dict)
    signal: int = signal.SIGKILL
    after_s: float | None = None


@dataclass(frozen=True)
class Ended:
    """How a child ended: its exit code, negative for a signal, None for a hang; and what it printed."""

    code: int | None
    output: str
    seconds: float


class Nursery:
    """Context manager; `run` has one child at a time."""

    def __enter__(self) -> Nursery:
        environment = dict(os.environ, OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *sys.path])
        command = [sys.executable, "-m", "tests.faults.nursery"]
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def run(self, job: Job) -> Ended:
        """Run one job to its end."""
        assert self._process.stdin is not None and self._process.stdout is not None
        _send(self._process.stdin, job)
        ended = _receive(self._process.stdout)
        assert isinstance(ended, Ended), "the nursery ended"
        return ended


def _send(pipe: BinaryIO | Any, value: Any) -> None:
    content = pickle.dumps(value)
    pipe.write(struct.pack("<Q", len(content)) + content)
    pipe.flush()


def _receive(pipe: BinaryIO | Any) -> Any:
    """The next value; None at the end."""
    header = pipe.read(8)
    if len(header) < 8:
        return None
    return pickle.loads(pipe.read(struct.unpack("<Q", header)[0]))


def _fork(job: Job, output: int) -> Ended:
    begin = time.monotonic()
    child = os.fork()
    if child == 0:
        _live(job, output)
    handle = os.pidfd_open(child)
    code: int | None = None
    try:
        limit = TIME_LIMIT_S if job.after_s is None else job.after_s
        ended = _wait(handle, limit)
        if not ended and job.after_s is not None:
            os.kill(child, job.signal)
            ended = _wait(handle, TIME_LIMIT_S)
        if not ended:
            os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        code = os.waitstatus_to_exitcode(status) if ended else None
    finally:
        os.close(handle)
    os.lseek(output, 0, os.SEEK_SET)
    text = os.read(output, 1_000_000).decode(errors="replace")
    return Ended(code, text, time.monotonic() - begin)


def _wait(handle: int, seconds: float) -> bool:
    return bool(select.select([handle], [], [], seconds)[0])


def _live(job: Job, output: int) -> None:
    """The life of a child; does not return."""
    code = 1
    try:
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (output, 1), (output, 2)):
            os.dup2(source, target)
        code = job.work(**job.arguments) or 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


def _serve() -> None:
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    for name in PRELOADED:
        importlib.import_module(name)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while (job := _receive(requests)) is not None:
        output = os.memfd_create("output")
        try:
            _send(answers, _fork(job, output))
        finally:
            os.close(output)


if __name__ == "__main__":
    from tests.faults import nursery

    nursery._serve()

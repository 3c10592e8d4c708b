"""Child processes that start in milliseconds: forks of this one, in which everything is imported.

This process trains nothing and keeps torch to one thread, so that its forks are sound.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

_LAZY = (
    "legged_ppo.reports.heat_map",
    "legged_ppo.env.factory",
    "matplotlib.figure",
    "torch._dynamo",
)
"""What a training would import only when it needs it."""
TIME_LIMIT_S = 300.0
"""A child that takes longer hangs; a busy machine may slow it down a hundredfold."""


@dataclass(frozen=True)
class Job:
    """A function with its arguments, and the signal that its process gets after a while."""

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


def prepare() -> None:
    """Import what children need, once, and start no thread."""
    torch.set_num_threads(1)
    for name in _LAZY:
        importlib.import_module(name)


def run_child(job: Job) -> Ended:
    """Do the job in a child and wait for its end."""
    output = os.memfd_create("output")
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    begin = time.monotonic()
    child = os.fork()
    if child == 0:
        _live(job, output)
    handle = os.pidfd_open(child)
    try:
        ended = _wait(handle, TIME_LIMIT_S if job.after_s is None else job.after_s)
        if not ended and job.after_s is not None:
            os.kill(child, job.signal)
            ended = _wait(handle, TIME_LIMIT_S)
        if not ended:
            os.kill(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        seconds = time.monotonic() - begin
        os.lseek(output, 0, os.SEEK_SET)
        text = os.read(output, 1_000_000).decode(errors="replace")
    finally:
        os.close(handle)
        os.close(output)
    return Ended(code if ended else None, text, seconds)


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

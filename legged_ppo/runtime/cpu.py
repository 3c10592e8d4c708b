"""The CPU of this machine: its features and its load, how malloc keeps memory, how threads wait."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import platform
import time
from pathlib import Path

_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}  # AMD and Intel; Intel's tiles; ARM
_SPINS = "1000"
"""Rounds of GNU OpenMP's waiting loop before a thread sleeps: some microseconds."""
_SAMPLE_S = 0.2
"""Time [s] over which the load of the machine is measured."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt"""


@functools.cache
def _words() -> frozenset[str]:
    try:
        return frozenset(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return frozenset()


def cpu_name() -> str:
    """The model, as the system calls it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.machine()


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0))


def multiplies_bfloat16() -> bool:
    """Whether the CPU has instructions for bfloat16 products; without them they are slower than float32's."""
    return not _BFLOAT16.isdisjoint(_words())


def keep_freed_memory() -> None:
    """Configure glibc's malloc to return no memory to the system; no effect with other C libraries.

    Every update allocates and frees the same large tensors. By default each allocation comes from the system,
    with a page fault for every 4 KiB.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, 2**30)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def sleep_soon_when_waiting() -> None:
    """Let torch's OpenMP threads sleep soon when they wait for each other, unless the environment decides.

    By default they spin for milliseconds. That is faster on a quiet machine; where another process is busy, it
    takes the core from the thread that is waited for. Call it before torch is imported, because GNU OpenMP reads
    its environment once.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)


def busy_cores() -> float:
    """Number of cores that other processes keep busy at present; 0.0 where there is no /proc/stat."""
    try:
        before = _core_times()
        time.sleep(_SAMPLE_S)
        after = _core_times()
    except OSError:
        return 0.0
    busy, total = (b - a for a, b in zip(before, after, strict=True))
    return (os.cpu_count() or 1) * busy / total if total > 0 else 0.0


def _core_times() -> tuple[int, int]:
    """Busy time and all time of all cores since the start of the machine, in clock ticks."""
    times = [int(x) for x in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle = times[3] + times[4]  # idle, and waiting for a disk
    return sum(times) - idle, sum(times)

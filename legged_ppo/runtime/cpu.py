"""Features of this machine's CPU, and how malloc keeps memory."""

from __future__ import annotations

import ctypes
import functools
import os
from pathlib import Path

_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}  # AMD and Intel; Intel's tiles; ARM
_SPINS = "1000"
"""Rounds of GNU OpenMP's waiting loop before a thread sleeps: some microseconds."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt"""


@functools.cache
def _words() -> frozenset[str]:
    try:
        return frozenset(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return frozenset()


def is_amd() -> bool:
    """Whether the CPU is from AMD."""
    return "AuthenticAMD" in _words()


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

    By default they spin for milliseconds, also where another process needs the core: an update takes ten times
    as long then. Call it before torch is imported, because GNU OpenMP reads its environment once.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)

"""What the CPU of this machine can do, and how this process keeps its memory."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}  # AMD and Intel; Intel's tiles; ARM
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt"""


@functools.cache
def _words() -> frozenset[str]:
    try:
        return frozenset(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return frozenset()


def is_amd() -> bool:
    return "AuthenticAMD" in _words()


def multiplies_bfloat16() -> bool:
    """Whether it has instructions for products of bfloat16; without them they are slower than float32's."""
    return not _BFLOAT16.isdisjoint(_words())


def keep_freed_memory() -> None:
    """Let malloc give nothing back to the system, where the C library is glibc.

    An update allocates and frees the same large tensors again and again. By default they come from the system
    each time, with a page fault for every 4 KiB of them.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, 2**30)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)

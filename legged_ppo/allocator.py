"""How this process keeps the memory that it has freed."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt"""


def keep_freed_memory() -> None:
    """Let malloc give nothing back to the system, where the C library is glibc.

    An update allocates and frees the same large tensors again and again. By default they come from the system
    each time, with a page fault for every 4 KiB of them.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, 2**30)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)

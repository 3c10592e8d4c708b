"""What the CPU of this machine is and can do, where Linux tells."""

from __future__ import annotations

import functools
from pathlib import Path

_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}  # AMD and Intel; Intel's tiles; ARM


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

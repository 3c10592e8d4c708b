"""The CPU that the physics is compiled for, and where its object code is kept; needs LLVM alone."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import llvmlite.binding as llvm

from legged_ppo.runtime.user_cache import user_cache


@dataclass(frozen=True)
class Target:
    """The CPU that code is compiled for."""

    cpu: str
    features: str
    triple: str

    @functools.cached_property
    def lanes(self) -> int:
        """float32 numbers in a register: 16 with AVX-512, 8 with AVX, 4 (SSE, NEON)."""
        on = set(self.features.split(","))
        return 16 if "+avx512f" in on else 8 if "+avx" in on else 4


@functools.cache
def host() -> Target:
    """This machine."""
    features = llvm.get_host_cpu_features().flatten()
    if "+avx512f" in features.split(","):
        features += (
            ",-prefer-256-bit"  # LLVM's default on CPUs whose clock once fell with wide registers
        )
    return Target(llvm.get_host_cpu_name(), features, llvm.get_default_triple())


def cache_folder() -> Path:
    """Where compiled programs lie; it need not exist."""
    return user_cache() / "simd"

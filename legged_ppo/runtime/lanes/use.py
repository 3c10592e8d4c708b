"""Where networks use code compiled for a device in place of torch's operators; imports no compiler."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

_operators_only = False


def compiles_for(x: torch.Tensor) -> bool:
    """Whether compiled code may compute on this tensor: float32 on a CPU, while torch records no program for
    others."""
    suits = x.device.type == "cpu" and x.dtype == torch.float32
    return suits and not _operators_only and not is_recorded()


def has_kernels_for(x: torch.Tensor) -> bool:
    """Whether kernels of this package may compute on this tensor: on a GPU, while torch records no program for
    others."""
    return x.device.type == "cuda" and not _operators_only and not is_recorded()


def is_recorded() -> bool:
    """Whether torch records a program: for others, which lack what this package adds, or for its own compiler,
    which cannot see into that."""
    if torch.compiler.is_compiling() or torch.compiler.is_exporting():
        return True
    return torch.jit.is_tracing()  # type: ignore[attr-defined]


@contextlib.contextmanager
def operators_only() -> Iterator[None]:
    """Scope in which torch's operators compute everything."""
    global _operators_only
    before, _operators_only = _operators_only, True
    try:
        yield
    finally:
        _operators_only = before

"""Where networks use code compiled for the CPU in place of torch's operators; imports no LLVM."""

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


def is_recorded() -> bool:
    """Whether torch records a program for others, which lack what this package adds."""
    return torch.compiler.is_exporting() or torch.jit.is_tracing()  # type: ignore[attr-defined]


@contextlib.contextmanager
def operators_only() -> Iterator[None]:
    """Scope in which torch's operators compute everything, as on a GPU."""
    global _operators_only
    before, _operators_only = _operators_only, True
    try:
        yield
    finally:
        _operators_only = before

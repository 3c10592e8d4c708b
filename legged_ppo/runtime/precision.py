"""`ppo.precision`: the precision of the network's matrix products, the same in rollout and update."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from legged_ppo.runtime.cpu import multiplies_bfloat16


def advice(name: str, device: torch.device) -> str | None:
    """A warning if the precision is slower than float32 on this device; else None."""
    if name == "bfloat16" and device.type == "cpu" and not multiplies_bfloat16():
        return "ppo.precision=bfloat16: this CPU has no instructions for it; float32 is faster"
    return None


def network_precision(name: str, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Context of every forward pass of the network."""
    if name == "bfloat16":
        return torch.autocast(device.type, torch.bfloat16)
    return matmul_precision(name)


def matmul_precision(name: str) -> contextlib.AbstractContextManager[Any]:
    """Context of every backward pass, whose types autocast chose in the forward pass."""
    return _tf32() if name == "tf32" else contextlib.nullcontext()


@contextlib.contextmanager
def _tf32() -> Iterator[None]:
    """A scope, not a global setting: rotations of observations are matrix products too."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)

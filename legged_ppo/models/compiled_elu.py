"""`models/activations.py`'s ELU and its slope compiled for this CPU."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from legged_ppo.runtime.lanes.functions import KernelFunctions
from legged_ppo.runtime.lanes.kernel import Floats, Kernel
from legged_ppo.runtime.lanes.object_code import cached_object
from legged_ppo.runtime.lanes.target import host
from legged_ppo.runtime.lanes.values import IndexValue, Value

_FORWARD, _BACKWARD = "elu_forward", "elu_backward"
_ONE_THREAD = 2**16
"""Numbers below which the start of a second thread costs more than it saves."""


def compiled_elu(x: torch.Tensor) -> torch.Tensor | None:
    """ELU of float32 numbers on the CPU, of any shape; None if they do not fill whole registers."""
    if x.numel() % _functions()[1]:
        return None
    if not torch.is_grad_enabled():
        return _forward(x)
    y: torch.Tensor = _ELU.apply(x)
    return y


class _ELU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        y = _forward(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        (y,) = ctx.saved_tensors
        return _run(_BACKWARD, (grad, y, torch.empty_like(y)))


def _forward(x: torch.Tensor) -> torch.Tensor:
    return _run(_FORWARD, (x, x.new_empty(x.shape)))


def _run(name: str, tables: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """The last of the tables, filled."""
    functions, lanes = _functions()
    result = tables[-1]
    flat = [table.contiguous() for table in tables]
    functions.run(name, flat, result.numel() // lanes, threads=1 + result.numel() // _ONE_THREAD)
    return result


@functools.cache
def _functions() -> tuple[KernelFunctions, int]:
    target = host()
    lanes = target.lanes

    def emit() -> str:
        m = Kernel(lanes, target.triple)
        for name, count, function in ((_FORWARD, 1, _elu), (_BACKWARD, 2, _slope)):
            _emit(m, name, count, function)
        return str(m.module)

    code = cached_object(("elu", lanes), [Path(__file__)], emit, target)
    return KernelFunctions(code, target, (_FORWARD, _BACKWARD)), lanes


def _emit(m: Kernel, name: str, count: int, function: Any) -> None:
    """A function of `count` tables and of the one that it fills."""

    def body(
        tables: Sequence[Floats], numbers: Sequence[IndexValue], first: IndexValue, last: IndexValue
    ) -> None:
        for row in m.loop(last, first):
            place = row * m.lanes
            values = [table.vector(place) for table in tables[:count]]
            tables[count].store(place, function(m, *values))

    m.function(name, count + 1, 0, body)


def _elu(m: Kernel, x: Value) -> Value:
    return m.select(x > 0.0, x, m.exp(x) - 1.0)


def _slope(m: Kernel, grad: Value, y: Value) -> Value:
    return m.select(y > 0.0, grad, grad * (y + 1.0))

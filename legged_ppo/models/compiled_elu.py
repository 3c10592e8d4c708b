"""`models/activations.py`'s ELU and its slope compiled for this CPU."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from legged_ppo.runtime.lanes.functions import KernelFunctions, compiled_functions
from legged_ppo.runtime.lanes.kernel import Floats, Kernel, halved, mixed
from legged_ppo.runtime.lanes.target import host
from legged_ppo.runtime.lanes.values import IndexValue, Value

_FORWARD, _BACKWARD = "forward", "backward"
_ONE_THREAD = 2**16
"""Numbers below which the start of a second thread costs more than it saves."""


def compiled_elu(x: torch.Tensor, parts: int = 1) -> torch.Tensor | None:
    """ELU of float32 numbers on the CPU, of any shape; None if they do not fill whole registers.

    Args:
        parts: 2 if each row [..., 2 U] has the even parts of U pairs and then the odd ones (`models/halves.py`).
    """
    numbers = x.numel() if parts == 1 else x.shape[-1] // parts
    if numbers % _functions()[1]:
        return None
    if not torch.is_grad_enabled():
        return _run(_FORWARD, parts, x, x.new_empty(x.shape))
    y: torch.Tensor = _ELU.apply(x, parts)
    return y


class _ELU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, parts: int) -> torch.Tensor:
        y = _run(_FORWARD, parts, x, x.new_empty(x.shape))
        ctx.save_for_backward(y)
        ctx.parts = parts
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (y,) = ctx.saved_tensors
        return _run(_BACKWARD, ctx.parts, grad, y, torch.empty_like(y)), None


def _run(name: str, parts: int, *tables: torch.Tensor) -> torch.Tensor:
    """The last of the tables, filled."""
    functions, lanes = _functions()
    result = tables[-1]
    units = lanes if parts == 1 else result.shape[-1] // parts
    rows = result.numel() // (units * parts)
    flat = [table.contiguous() for table in tables]
    threads = 1 + result.numel() // _ONE_THREAD
    functions.run(name + str(parts), flat, rows, (units,), threads=threads)
    return result


@functools.cache
def _functions() -> tuple[KernelFunctions, int]:
    lanes = host().lanes
    names = [name + str(parts) for parts in (1, 2) for name in (_FORWARD, _BACKWARD)]
    return compiled_functions(_emit, names, __file__, lanes), lanes


def _emit(m: Kernel) -> None:
    for parts in (1, 2):
        _emit_function(m, _FORWARD, parts, 1, _forward)
        _emit_function(m, _BACKWARD, parts, 2, _backward)


def _emit_function(m: Kernel, name: str, parts: int, count: int, function: Any) -> None:
    """A function of `count` tables and of the one that it fills, each [rows, parts, units], and of the units."""

    def body(
        tables: Sequence[Floats], numbers: Sequence[IndexValue], first: IndexValue, last: IndexValue
    ) -> None:
        units, _ = numbers
        for row in m.loop(last, first):
            for unit in m.loop(units, step=m.lanes):
                places = [(row * parts + part) * units + unit for part in range(parts)]
                values = [[table.vector(place) for place in places] for table in tables[:count]]
                for place, value in zip(places, function(m, *values), strict=True):
                    tables[count].store(place, value)

    m.function(name + str(parts), count + 1, 1, body)


def _forward(m: Kernel, x: list[Value]) -> list[Value]:
    return halved([m.select(side > 0.0, side, m.exp(side) - 1.0) for side in mixed(x)])


def _backward(m: Kernel, grad: list[Value], y: list[Value]) -> list[Value]:
    sides = zip(halved(grad), mixed(y), strict=True)
    return mixed([m.select(value > 0.0, g, g * (value + 1.0)) for g, value in sides])

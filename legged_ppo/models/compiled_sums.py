"""Sums of two chosen entries of a vector each, compiled for the CPU."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import torch

from legged_ppo.runtime.lanes.functions import KernelFunctions
from legged_ppo.runtime.lanes.kernel import Floats, Kernel
from legged_ppo.runtime.lanes.object_code import cached_object
from legged_ppo.runtime.lanes.target import host
from legged_ppo.runtime.lanes.values import IndexValue

_NAME = "sums"
_ONE_THREAD = 2**14
"""Sums below which the start of a second thread costs more than it saves."""


class CompiledSums:
    """y[i] = factors[0, i] x[places[0, i]] + factors[1, i] x[places[1, i]]

    Args:
        places: [2, n] int64.
        factors: [2, n].
    """

    def __init__(self, places: torch.Tensor, factors: torch.Tensor) -> None:
        self._functions, lanes = _functions()
        self._count = places.shape[1]
        padding = (0, -self._count % lanes)
        self._places = torch.nn.functional.pad(places.int(), padding).view(torch.float32)
        self._factors = torch.nn.functional.pad(factors, padding)
        self._rows = self._places.shape[1] // lanes

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """y [n] of x, float32 on the CPU in one piece."""
        y = x.new_empty(self._places.shape[1])
        tables = (x, *self._places, *self._factors, y)
        self._functions.run(_NAME, tables, self._rows, threads=1 + self._count // _ONE_THREAD)
        return y[: self._count]


@functools.cache
def _functions() -> tuple[KernelFunctions, int]:
    target = host()
    lanes = target.lanes

    def emit() -> str:
        m = Kernel(lanes, target.triple)
        m.function(_NAME, 6, 0, functools.partial(_emit, m))
        return str(m.module)

    code = cached_object((_NAME, lanes), [Path(__file__)], emit, target)
    return KernelFunctions(code, target, (_NAME,)), lanes


def _emit(
    m: Kernel,
    tables: Sequence[Floats],
    numbers: Sequence[IndexValue],
    first: IndexValue,
    last: IndexValue,
) -> None:
    x, *places, first_factors, second_factors, y = tables
    for row in m.loop(last, first):
        at = row * m.lanes
        values = [x.gathered(each.integers(at)) for each in places]
        y.store(at, values[0] * first_factors.vector(at) + values[1] * second_factors.vector(at))

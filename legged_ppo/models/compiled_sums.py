"""Sums of two chosen entries of a vector each, compiled for the CPU."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch

from legged_ppo.runtime.lanes.functions import KernelFunctions, compiled_functions
from legged_ppo.runtime.lanes.kernel import Floats, Kernel
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
    lanes = host().lanes
    return compiled_functions(_emit, (_NAME,), __file__, lanes), lanes


def _emit(m: Kernel) -> None:
    """The function of (x, both places [n], both factors [n], y [n]), whose rows are of `lanes` sums each."""

    def body(
        tables: Sequence[Floats], _: Sequence[IndexValue], first: IndexValue, last: IndexValue
    ) -> None:
        x, *places, first_factors, second_factors, y = tables
        for row in m.loop(last, first):
            at = row * m.lanes
            a, b = (x.gathered(each.integers(at)) for each in places)
            y.store(at, a * first_factors.vector(at) + b * second_factors.vector(at))

    m.function(_NAME, 6, 0, body)

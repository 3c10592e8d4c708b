"""Kernels for a CPU: LLVM compiles them for a robot in each SIMD lane, and threads divide the robots."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch

from legged_ppo.runtime.fusion.emission import Output, emit
from legged_ppo.runtime.fusion.kernel import Pointers
from legged_ppo.runtime.fusion.lane_code import LaneCode
from legged_ppo.runtime.fusion.lane_memory import LaneMemory
from legged_ppo.runtime.lanes.object_code import cached_object, load_object
from legged_ppo.runtime.lanes.target import host
from legged_ppo.runtime.lanes.team import run_each

_FEWEST = 32
"""Groups of robots for which a thread is worth its waking."""


class LaneBackend:
    """`Backend` of this machine's CPU.

    Args:
        threads: among which kernels divide their robots; which of them computes a robot changes no bit.
    """

    device = torch.device("cpu")

    def __init__(self, threads: int = 1) -> None:
        self._threads, self._target = threads, host()

    def compile(
        self,
        outputs: Sequence[Output],
        strides: Sequence[tuple[int, ...]],
        robots: int,
        pointers: Pointers,
    ) -> Callable[[Sequence[torch.Tensor]], None]:
        """See `Backend`."""
        target = self._target
        code = LaneCode(target.lanes, target.triple)
        emit(code, LaneMemory(code), outputs, strides, robots)
        text = code.finish()
        engine = load_object(cached_object((text,), [], lambda: text, target), target)
        kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, *[ctypes.c_int] * 3)
        function = kind(engine.get_function_address("kernel"))
        groups, last, address = -(-robots // target.lanes), robots - 1, ctypes.addressof(pointers)
        parts = max(1, min(self._threads, groups // _FEWEST))
        bounds = pairwise([groups * i // parts for i in range(parts + 1)])
        calls = [(address, first, end, last) for first, end in bounds]
        return _Launch(engine, function, calls)


@dataclass(frozen=True)
class _Launch:
    """Calls of a kernel's function for all groups of robots."""

    engine: Any
    """Owns the function's code."""
    function: Callable[..., None]
    calls: Sequence[tuple[int, ...]]

    def __call__(self, tensors: Sequence[torch.Tensor]) -> None:
        run_each(self.function, self.calls)

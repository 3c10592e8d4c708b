"""The memory of all robots: groups of one vector's width, [groups, fields, lanes] float32."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np
import torch

from legged_ppo.runtime.lanes.team import run_each
from legged_ppo.sim.simd.ground import Ground
from legged_ppo.sim.simd.layout import Layout
from legged_ppo.sim.simd.readings import Readings
from legged_ppo.sim.simulator import SimState

_CACHE_LINE = 64


def aligned(shape: tuple[int, ...]) -> np.ndarray:
    """float32 zeros that start at a cache line."""
    size = int(np.prod(shape))
    raw = np.zeros(size + _CACHE_LINE // 4, dtype=np.float32)
    start = (-raw.ctypes.data % _CACHE_LINE) // 4
    return raw[start : start + size].reshape(shape)


class Groups:
    """Robots by number, whatever lane they are in.

    Lanes without a robot start from zeros; nothing that happens in a lane reaches another.
    """

    def __init__(self, layout: Layout, num_envs: int, lanes: int) -> None:
        self.layout, self.num_envs, self.lanes = layout, num_envs, lanes
        self.data = aligned((-(-num_envs // lanes), layout.size, lanes))
        self._tensor = torch.from_numpy(self.data)
        self.count, self.address = len(self.data), self.data.ctypes.data

    def read(self, name: str) -> torch.Tensor:
        """A copy of a span, [N, length]."""
        return self._rows(self.layout.slice(name))

    def write(self, name: str, values: torch.Tensor) -> None:
        """Fill a span from [N, length]."""
        self._put(self.layout.slice(name), values)

    def rows(self) -> torch.Tensor:
        """A copy of everything, [N, fields]."""
        return self._rows(slice(None))

    def put_rows(self, values: torch.Tensor) -> None:
        """The reverse of `rows`."""
        self._put(slice(None), values)

    def chosen(self, robots: torch.Tensor) -> Groups:
        """A copy of some robots, [n] int64."""
        copy = Groups(self.layout, len(robots), self.lanes)
        copy.put_rows(self._lanes_of(robots))
        return copy

    def place(self, robots: torch.Tensor, values: torch.Tensor, span: slice) -> None:
        """Fill a span of some robots, [n] int64, from [n, length]."""
        group, lane = robots // self.lanes, robots % self.lanes
        self._tensor[group, span, lane] = values

    def _lanes_of(self, robots: torch.Tensor) -> torch.Tensor:
        return self._tensor[robots // self.lanes, :, robots % self.lanes]

    def _rows(self, span: slice) -> torch.Tensor:
        blocks = self._tensor[:, span].transpose(1, 2)
        rows = torch.empty(blocks.shape).copy_(blocks)
        return rows.view(-1, blocks.shape[2])[: self.num_envs]

    def _put(self, span: slice, values: torch.Tensor) -> None:
        whole = self.num_envs // self.lanes
        filled = whole * self.lanes
        blocks = values[:filled].reshape(whole, self.lanes, values.shape[1])
        self._tensor[:whole, span] = blocks.transpose(1, 2)
        if filled < self.num_envs:
            self._tensor[whole, span, : self.num_envs - filled] = values[filled:].T


class Workers:
    """Threads that step groups; which thread steps which group changes no bit."""

    def __init__(self, threads: int, work_floats: int, ground: Ground) -> None:
        self._scratch = [aligned((work_floats,)) for _ in range(threads)]
        self._addresses, self._arrays = ground.packed()
        self._last = [(s.ctypes.data, self._addresses.ctypes.data) for s in self._scratch]

    def run(
        self,
        function: Callable[..., None],
        groups: Groups,
        readings: Readings,
        substeps: int = 0,
        targets: torch.Tensor | None = None,
    ) -> SimState:
        """Run a program's function over all groups; returns what it read out.

        Args:
            targets: [N, J] float32, contiguous, in the task's order, for `control_step`.
        """
        following = ctypes.c_int(0)
        numbers, flags = readings.memory()
        arguments = (
            groups.address,
            groups.num_envs,
            substeps,
            ctypes.addressof(following),
            0 if targets is None else targets.data_ptr(),
            numbers.data_ptr(),
            flags.data_ptr(),
        )
        run_each(function, [(*arguments, *last) for last in self._last[: groups.count]])
        return readings.state(numbers, flags)

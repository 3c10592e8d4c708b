"""The reference machine: every number is a float64 array with one entry per robot."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from legged_ppo.sim.simd.layout import (
    Contacts,
    Fields,
    contact_layout,
    contact_room,
    state_layout,
    work_layout,
)
from legged_ppo.sim.simd.robot import Robot
from legged_ppo.sim.simd.workspace import Workspace


class Rows:
    """`Memory` over an array [size, N]; reading copies, because a number does not change later."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __getitem__(self, index: int) -> np.ndarray:
        return self.array[index].copy()

    def __setitem__(self, index: int, value: Any) -> None:
        self.array[index] = value

    def read(self, start: int, count: int) -> list[Any]:
        return [self[i] for i in range(start, start + count)]

    def write(self, start: int, values: Sequence[Any]) -> None:
        for i, value in enumerate(values, start):
            self.array[i] = value

    def add(self, start: int, values: Sequence[Any]) -> None:
        for i, value in enumerate(values, start):
            self.array[i] += value

    def part(self, start: int) -> Rows:
        return Rows(self.array[start:])


@dataclass
class Cell:
    """`Variable`"""

    value: Any


class NumpyMachine:
    """`Machine` on arrays; branches and loops are Python's."""

    def select(self, mask: Any, a: Any, b: Any) -> Any:
        return np.where(mask, a, b)

    def mask(self, value: bool) -> Any:
        return np.bool_(value)

    def is_mask(self, value: Any) -> bool:
        return isinstance(value, np.bool_) or getattr(value, "dtype", None) == np.bool_

    def minimum(self, a: Any, b: Any) -> Any:
        return np.where(np.less(a, b), a, b)

    def maximum(self, a: Any, b: Any) -> Any:
        return np.where(np.greater(a, b), a, b)

    def absolute(self, a: Any) -> Any:
        return np.abs(a)

    def sqrt(self, a: Any) -> Any:
        return np.sqrt(a)

    def reciprocal(self, a: Any) -> Any:
        return 1.0 / a

    def floor(self, a: Any) -> Any:
        return np.floor(a)

    def sincos(self, a: Any) -> tuple[Any, Any]:
        return np.sin(a), np.cos(a)

    def broadcast(self, index: int) -> float:
        return float(index)

    def gather(self, table: np.ndarray, position: Any) -> Any:
        return np.ravel(table)[np.asarray(position).astype(np.int64)]

    def record(self, table: np.ndarray, position: Any, count: int) -> list[Any]:
        return [self.gather(table, position + float(i)) for i in range(count)]

    def variable(self, value: Any) -> Cell:
        return Cell(value)

    def constants(self, values: Sequence[float]) -> Any:
        return list(values)

    def indices(self, values: Sequence[int]) -> Any:
        return list(values)

    def any(self, mask: Any) -> bool:
        return bool(np.any(mask))

    def none(self, mask: Any) -> bool:
        return not np.any(mask)

    def less(self, a: int, b: int) -> bool:
        return a < b

    def loop(self, count: int) -> Iterator[int]:
        return iter(range(count))

    def leave(self, condition: bool) -> bool:
        return condition

    def when(self, condition: bool) -> Iterator[None]:
        if condition:
            yield

    def call(self, phase: Callable[..., None], w: Workspace) -> None:
        phase(self, w)


def numpy_workspace(robot: Robot, num_envs: int, ground: Any) -> Workspace:
    """Memory, all zeros, for so many robots."""

    def zeros(size: int) -> Rows:
        return Rows(np.zeros((size, num_envs)))

    state, work, contact = state_layout(robot), work_layout(robot), contact_layout(robot)
    count, most = len(robot.legs) + 1, (len(robot.legs) + 1) * contact_room(robot)
    return Workspace(
        robot=robot,
        state=Fields(zeros(state.size), state),
        work=Fields(zeros(work.size), work),
        contacts=Contacts(zeros(contact.size * most), robot, [0] * count, [0] * most),
        limits=Cell(False),
        ground=ground,
    )

"""Indices of a tensor's entries while a kernel is written: one part for each dimension."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from legged_ppo.runtime.fusion.codegen import Number, Place
from legged_ppo.runtime.fusion.graph import UnfusableError


class Robot:
    """The robot of a lane."""

    def __repr__(self) -> str:
        return "robot"


ROBOT = Robot()


@dataclass(frozen=True)
class Loop:
    """The loop's index plus an offset."""

    offset: int = 0


@dataclass(frozen=True)
class Computed:
    """A number that the kernel computes, between 0 and the dimension's size."""

    number: Number


Part = int | Robot | Loop | Computed
Index = tuple[Part, ...]


class StraddleError(UnfusableError):
    """A loop crosses the border between two parts of a tensor.

    Args:
        cut: the value of the loop's index at the border.
    """

    def __init__(self, cut: int) -> None:
        super().__init__(f"a loop over a border at {cut}")
        self.cut = cut


@dataclass(frozen=True)
class Range:
    """The values of the loop's index."""

    low: int = 0
    high: int = 0


def shifted(part: Part, offset: int) -> Part:
    if isinstance(part, int):
        return part + offset
    if isinstance(part, Loop):
        return Loop(part.offset + offset)
    if offset:
        raise UnfusableError(f"an offset from {part!r}")
    return part


def inside(part: Part, low: int, high: int, size: int, loop: Range) -> bool:
    """Whether an index into a dimension lies between these bounds.

    Raises:
        StraddleError: for some values of the loop's index only.
    """
    if (low, high) == (0, size):
        return True
    if isinstance(part, int):
        return low <= part < high
    if isinstance(part, Loop):
        for border in (low, high):
            if loop.low + part.offset < border < loop.high + part.offset:
                raise StraddleError(border - part.offset)
        return low <= loop.low + part.offset < high
    raise UnfusableError(f"{part!r} as index of something put together")


def broadcast(index: Index, shape: tuple[int, ...]) -> Index:
    """The index of an operand of this shape."""
    own = index[len(index) - len(shape) :]
    return tuple(0 if size == 1 else part for part, size in zip(own, shape, strict=True))


def reshaped(index: Index, shape: tuple[int, ...], source: tuple[int, ...]) -> Index:
    """The index of the same entry in the shape that a tensor had before it was viewed as `shape`."""
    found: list[Part] = []
    new, old = list(zip(shape, index, strict=True)), list(source)
    while new or old:
        if new and old and new[0][0] == old[0]:
            found.append(new.pop(0)[1])
            old.pop(0)
        elif new and new[0][0] == 1:
            new.pop(0)
        elif old and old[0] == 1:
            found.append(0)
            old.pop(0)
        else:
            found += _regrouped(new, old)
    return tuple(found)


def _regrouped(new: list[tuple[int, Part]], old: list[int]) -> list[Part]:
    """Parts of the next old dimensions that together are some next new ones; takes both off their lists."""
    sizes, parts = [new[0][0]], [new.pop(0)[1]]
    group = [old.pop(0)]
    while math.prod(sizes) != math.prod(group):
        if math.prod(sizes) < math.prod(group):
            sizes.append(new[0][0])
            parts.append(new.pop(0)[1])
        else:
            group.append(old.pop(0))
    number = 0
    for size, part in zip(sizes, parts, strict=True):
        if not isinstance(part, int):
            raise UnfusableError(f"a view that divides or joins the dimension of {part!r}")
        number = number * size + part
    found: list[Part] = []
    for size in reversed(group):
        found.insert(0, number % size)
        number //= size
    return found


def place_of(index: Index, strides: tuple[int, ...]) -> Place:
    """Where the entry lies in memory."""
    fixed = robot = loop = 0
    computed: list[tuple[Any, int]] = []
    for part, stride in zip(index, strides, strict=True):
        if isinstance(part, int):
            fixed += part * stride
        elif isinstance(part, Loop):
            loop += stride
            fixed += part.offset * stride
        elif isinstance(part, Computed):
            computed.append((part.number, stride))
        else:
            robot += stride
    return Place(fixed, robot, loop, tuple(computed))

"""The code of a whole kernel: which entries of its outputs are written, where and in what order."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from legged_ppo.runtime.fusion.codegen import Codegen, Memory, Number
from legged_ppo.runtime.fusion.elements import UNROLLED, Elements
from legged_ppo.runtime.fusion.graph import Node, UnfusableError
from legged_ppo.runtime.fusion.indices import ROBOT, Index, Loop, place_of

_SHORT = 8
"""Iterations up to which a loop is unrolled."""


@dataclass(frozen=True)
class Output:
    """A tensor that the kernel writes.

    Args:
        slot: position of its memory among the pointers: that of an input that is written in place, or one behind
            the inputs'.
    """

    node: Node
    slot: int
    strides: tuple[int, ...]


def emit(
    code: Codegen,
    memory: Memory,
    outputs: Sequence[Output],
    strides: Sequence[tuple[int, ...]],
    robots: int,
) -> None:
    """Write the function of a kernel.

    Entries that are written without a loop are all computed before the first loop and stored after the last, so
    that everything reads its inputs as they were. A loop computes all its entries of one index before it stores.

    Args:
        strides: of the inputs.

    Raises:
        UnfusableError: the graph has an operator or a pattern of memory that is not known here.
    """
    elements = Elements(code, memory, strides)
    unrolled: list[tuple[Output, dict[Index, Number]]] = []
    looped: dict[int, list[Any]] = {}
    for output in outputs:
        wide, parts = _parts(output.node, robots)
        if 0 in output.node.shape:
            continue
        if wide is None:
            places = itertools.product(*parts)
            unrolled.append((output, {p: elements.at(output.node, p) for p in places}))
        else:
            looped.setdefault(len(parts[wide]), []).append((output, wide, parts))
    written: set[int] = set()
    for size, group in looped.items():
        _write_loop(elements, size, group, written)
        written |= {output.slot for output, _, _ in group}
    for output, numbers in unrolled:
        _store(elements.memory, output, numbers)
    if robots > 1:
        _check_rows(elements, outputs, robots)


def _store(memory: Memory, output: Output, numbers: dict[Index, Number]) -> None:
    """All entries of the lanes' rows."""
    placed = [(place_of(index, output.strides), n) for index, n in numbers.items()]
    placed.sort(key=lambda entry: entry[0].fixed)
    first = placed[0][0]
    side_by_side = all(p.fixed == first.fixed + i for i, (p, _) in enumerate(placed))
    if side_by_side and len(placed) > 1:
        memory.store_row(output.slot, first, [number for _, number in placed])
        return
    for place, number in placed:
        memory.store(output.slot, place, number)


def _parts(node: Node, robots: int) -> tuple[int | None, list[Any]]:
    """The dimension that a loop runs over, if any, and the indices of each dimension."""
    if robots not in node.shape:
        raise UnfusableError(f"a result {node.shape} without a row for each of {robots} robots")
    robot = node.shape.index(robots)
    parts: list[Any] = [range(size) for size in node.shape]
    parts[robot] = [ROBOT]
    if math.prod(len(p) for p in parts) <= UNROLLED:
        return None, parts
    return max(range(len(parts)), key=lambda i: len(parts[i])), parts


def _write_loop(elements: Elements, size: int, group: list[Any], earlier: set[int]) -> None:
    """One loop, or one for each piece, that computes and stores the outputs which are this wide."""
    entries = [
        (output, place)
        for output, wide, parts in group
        for place in itertools.product(*parts[:wide], [Loop()], *parts[wide + 1 :])
    ]
    before = len(elements.loads)
    bounds = elements.pieces([(output.node, place) for output, place in entries], size)
    for low, high in bounds:
        if high - low <= _SHORT:
            for i in range(low, high):
                _write(elements, [(output, _at(place, i)) for output, place in entries])
        else:
            with elements.looping(low, high):
                _write(elements, entries)
    _check_order(elements.loads[before:], {o.slot: wide for o, wide, _ in group}, earlier)


def _at(place: Index, number: int) -> Index:
    return tuple(number + p.offset if isinstance(p, Loop) else p for p in place)


def _write(elements: Elements, entries: list[tuple[Output, Index]]) -> None:
    numbers = [elements.at(output.node, place) for output, place in entries]
    for (output, place), number in zip(entries, numbers, strict=True):
        elements.memory.store(output.slot, place_of(place, output.strides), number)


def _check_order(
    loads: list[tuple[int, Index]], written: dict[int, int], earlier: set[int]
) -> None:
    """A loop reads nothing that an earlier one wrote, and of what it writes itself only the same iteration's.

    Args:
        written: slots that it writes, and the dimensions that it runs over.
    """
    for slot, index in loads:
        if slot in earlier or (slot in written and index[written[slot]] != Loop()):
            raise UnfusableError(f"reading entry {index} of a tensor that a loop writes")


def _check_rows(elements: Elements, outputs: Sequence[Output], robots: int) -> None:
    """Of a tensor that is written a robot reads its own row alone."""
    rows = {output.slot: output.node.shape.index(robots) for output in outputs}
    for slot, index in elements.loads:
        if slot in rows and index[rows[slot]] is not ROBOT:
            raise UnfusableError(f"reading entry {index} of a tensor that is written")

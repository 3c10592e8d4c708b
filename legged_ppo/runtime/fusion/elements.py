"""From the graph to code: an entry of a tensor is written when something asks for it, and once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from legged_ppo.runtime.fusion.arithmetic import POINTWISE, add, larger, multiply, smaller
from legged_ppo.runtime.fusion.codegen import Codegen, Memory, Number
from legged_ppo.runtime.fusion.graph import Node, UnfusableError
from legged_ppo.runtime.fusion.indices import (
    ROBOT,
    Computed,
    Index,
    Loop,
    Part,
    Range,
    Robot,
    StraddleError,
    broadcast,
    place_of,
)
from legged_ppo.runtime.fusion.lookups import LOOKUPS, looked_up
from legged_ppo.runtime.fusion.reductions import FOLDS, places, reduced_entries
from legged_ppo.runtime.fusion.structure import STRUCTURE

UNROLLED = 64
"""Entries of a robot up to which code is written for each; more are a loop."""
_CHOICES = 8
"""Entries among which a computed index may choose where there is no memory to index."""
_PRODUCTS = {"mm": 0, "bmm": 0, "addmm": 1, "baddbmm": 1}


class Elements:
    """Writes the code of single entries.

    Args:
        strides: of the inputs' memory.
    """

    def __init__(self, code: Codegen, memory: Memory, strides: Sequence[tuple[int, ...]]) -> None:
        self.code, self.memory, self._strides = code, memory, strides
        self._known: dict[tuple[Node, Index], Number] = {}
        self._in_loop: dict[tuple[Node, Index], Number] = {}
        self.range = Range()
        self.loads: list[tuple[int, Index]] = []
        """What was read: positions of inputs and indices, in the order of the code"""
        self._looping = False

    @contextmanager
    def looping(self, low: int, high: int) -> Iterator[None]:
        """Entries asked for here may have the loop's index."""
        self.range, self._looping = Range(low, high), True
        with self.code.loop(low, high):
            yield
        self._in_loop.clear()
        self.range, self._looping = Range(), False

    def at(self, node: Node, index: Index) -> Number:
        """The number of an entry."""
        key = node, index
        known = self._known.get(key) or self._in_loop.get(key)
        if known is None:
            known = self._written(node, index)
            (self._in_loop if self._looping else self._known)[key] = known
        return known

    def _written(self, node: Node, index: Index) -> Number:
        name = node.name
        if name == "input":
            return self._loaded(node, index)
        if name in STRUCTURE:
            source = STRUCTURE[name](node, index, self.range)
            if not isinstance(source, tuple):
                return self.code.constant(source, node.kind)
            return self.code.converted(self.at(*source), node.kind)
        if name in POINTWISE:
            operands = [self._operand(a, index) for a in node.args]
            # A comparison in place leaves ones and zeros of the tensor's type.
            return self.code.converted(POINTWISE[name](self.code, node, operands), node.kind)
        if name in FOLDS:
            return self.code.converted(self._reduced(node, index), node.kind)
        if name in _PRODUCTS:
            return self._product(node, index)
        if name in LOOKUPS:
            return self._looked_up(node, index)
        if name == "arange":
            return self._counted(node, index)
        raise UnfusableError(f"the operator {name}")

    def _operand(self, value: Any, index: Index) -> Any:
        if isinstance(value, Node):
            return self.at(value, broadcast(index, value.shape))
        return value

    def _loaded(self, node: Node, index: Index) -> Number:
        position = node.args[0]
        self.loads.append((position, index))
        place = place_of(index, self._strides[position])
        row = 0
        if ROBOT in index:
            row = _row(node.shape, self._strides[position], index.index(ROBOT))
        elif node.shape and self._strides[position][-1] == 1:
            row = node.shape[-1]
        return self.memory.load(position, node.kind, place, row)

    def _counted(self, node: Node, index: Index) -> Number:
        if len(node.args) != 1:
            raise UnfusableError("arange with a start")
        (part,) = index
        if isinstance(part, int):
            return self.code.constant(part, node.kind)
        number = self.code.robot() if isinstance(part, Robot) else None
        if isinstance(part, Loop):
            number = self.code.loop_number(part.offset)
        if number is None:
            raise UnfusableError("arange at a computed index")
        return self.code.converted(number, node.kind)

    # Reductions and products

    def _reduced(self, node: Node, index: Index) -> Number:
        source, parts = reduced_entries(node, index)
        count = math.prod(len(p) for p in parts if isinstance(p, range))
        wide = [i for i, p in enumerate(parts) if isinstance(p, range) and len(p) > UNROLLED]
        if wide:
            if self._looping or len(wide) > 1:
                raise UnfusableError(f"{node.name} over a wide dimension inside a loop")
            total = self._wide(node, source, parts, wide[0])
        else:
            total = self._folded(node, source, parts, None)
        return self._finished(node, source, parts, total, count)

    def _folded(self, node: Node, source: Node, parts: Any, total: Number | None) -> Number:
        c, (enter, join) = self.code, FOLDS[node.name]
        for place in places(parts):
            value = enter(c, node, self.at(source, place))
            total = value if total is None else join(c, total, value)
        if total is None:
            raise UnfusableError(f"{node.name} of nothing")
        return total

    def _wide(self, node: Node, source: Node, parts: Any, dim: int) -> Number:
        """A reduction as loops, one for each part of the dimension that is made of one thing."""
        total: Number | None = None
        index = (*parts[:dim], Loop(), *parts[dim + 1 :])
        entries = [(source, place) for place in places(index)]
        for low, high in self.pieces(entries, len(parts[dim])):
            if high - low <= UNROLLED:
                piece = (*parts[:dim], range(low, high), *parts[dim + 1 :])
                total = self._folded(node, source, piece, total)
                continue
            first = (*parts[:dim], range(low, low + 1), *parts[dim + 1 :])
            total = self._folded(node, source, first, total)
            held = self.code.variable(total)
            with self.looping(low + 1, high):
                held.set(self._folded(node, source, index, held.get()))
            total = held.get()
        assert total is not None
        return total

    def _finished(self, node: Node, source: Node, parts: Any, total: Number, count: int) -> Number:
        c = self.code
        if node.name == "mean":
            return Number(c.builder.fdiv(total.code, c.constant(count, "f").code), "f")
        if node.name == "linalg_vector_norm":
            return c.call("sqrt", "f", total)
        if node.name != "var":
            return total
        correction = node.kwargs.get("correction", 1)
        mean = c.builder.fdiv(total.code, c.constant(count, "f").code)
        if any(isinstance(p, range) and len(p) > UNROLLED for p in parts):
            raise UnfusableError("var over a wide dimension")
        square: Number | None = None
        for place in places(parts):
            difference = Number(c.builder.fsub(self.at(source, place).code, mean), "f")
            value = multiply(c, difference, difference)
            square = value if square is None else add(c, square, value)
        assert square is not None
        divisor = c.constant(max(count - correction, 0), "f").code
        return Number(c.builder.fdiv(square.code, divisor), "f")

    def _product(self, node: Node, index: Index) -> Number:
        first = _PRODUCTS[node.name]
        a, b = node.args[first : first + 2]
        if node.kwargs.get("alpha", 1) != 1 or node.kwargs.get("beta", 1) != 1:
            raise UnfusableError(f"{node.name} with factors")
        *batch, i, j = index
        total: Number | None = None
        if a.shape[-1] > UNROLLED:
            raise UnfusableError(f"{node.name} over a wide dimension")
        for k in range(a.shape[-1]):
            left, right = (i, k), (k, j)
            value = multiply(self.code, self.at(a, (*batch, *left)), self.at(b, (*batch, *right)))
            total = value if total is None else add(self.code, total, value)
        if total is None:
            raise UnfusableError(f"{node.name} over nothing")
        if first:
            total = add(self.code, self._operand(node.args[0], index), total)
        return total

    # Look-ups

    def _looked_up(self, node: Node, index: Index) -> Number:
        table, parts = looked_up(node, index)
        full: list[Part] = []
        for part, size in zip(parts, table.shape, strict=True):
            if isinstance(part, tuple):
                number = self.at(*part)
                full.append(ROBOT if number.robot else Computed(self._bounded(number, size)))
            else:
                full.append(part)
        return self._entry(table, tuple(full))

    def _bounded(self, number: Number, size: int) -> Number:
        """An index counted from the end if negative, and always inside: torch raises an error instead."""
        c = self.code
        zero, top = c.constant(0, "i"), c.constant(size - 1, "i")
        negative = Number(c.builder.icmp_signed("<", number.code, zero.code), "b")
        number = c.select(negative, add(c, number, c.constant(size, "i")), number)
        return smaller(c, larger(c, number, zero), top)

    def _entry(self, table: Node, index: Index) -> Number:
        """An entry of memory, or one chosen among those that the kernel computes."""
        place = next((i for i, p in enumerate(index) if isinstance(p, Computed)), None)
        if place is None or _in_memory(table):
            return self.at(table, index)
        size, part = table.shape[place], index[place]
        assert isinstance(part, Computed)
        if size > _CHOICES:
            raise UnfusableError(f"a computed index into {size} computed entries")
        c = self.code
        result = self._entry(table, (*index[:place], 0, *index[place + 1 :]))
        for i in range(1, size):
            other = self._entry(table, (*index[:place], i, *index[place + 1 :]))
            here = c.builder.icmp_signed("==", part.number.code, c.constant(i, "i").code)
            result = c.select(Number(here, "b"), other, result)
        return result

    # Loops

    def pieces(self, entries: list[tuple[Node, Index]], size: int) -> list[tuple[int, int]]:
        """Bounds of the loops that write these entries, whose indices have the loop's: borders of joined
        tensors divide it. What does not have the loop's index is written now."""
        waiting, found = [(0, size)], []
        fixed: dict[tuple[Node, Index], None] = {}
        while waiting:
            low, high = waiting.pop()
            try:
                seen: dict[tuple[Node, Index], None] = {}
                for node, index in entries:
                    self._visit(node, index, Range(low, high), seen)
                found.append((low, high))
                fixed |= dict.fromkeys(
                    entry for entry in seen if not any(isinstance(p, Loop) for p in entry[1])
                )
            except StraddleError as border:
                waiting += [(border.cut, high), (low, border.cut)]
        for entry in fixed:
            self.at(*entry)
        return found

    def _visit(self, node: Node, index: Index, loop: Range, seen: dict[Any, None]) -> None:
        """Follow an entry to what it is made of, as far as it has the loop's index."""
        if (node, index) in seen:
            return
        seen[node, index] = None
        if not any(isinstance(p, Loop) for p in index):
            return
        for entry in _needed(node, index, loop):
            self._visit(*entry, loop, seen)


def _row(shape: tuple[int, ...], strides: tuple[int, ...], robot: int) -> int:
    """Entries of a robot in memory, from the first to the last, where no other robot's are between them."""
    others = [i for i in range(len(shape)) if i != robot]
    length = 1 + sum((shape[i] - 1) * strides[i] for i in others)
    return length if length <= strides[robot] else 0


def _needed(node: Node, index: Index, loop: Range) -> Iterator[tuple[Node, Index]]:
    """The entries that an entry is made of, without those at computed indices."""
    if node.name in STRUCTURE:
        source = STRUCTURE[node.name](node, index, loop)
        if isinstance(source, tuple):
            yield source
    elif node.name in POINTWISE:
        for operand in node.operands():
            yield operand, broadcast(index, operand.shape)
    elif node.name in FOLDS:
        reduced, parts = reduced_entries(node, index)
        for place in places(parts):
            yield reduced, place
    elif node.name in _PRODUCTS:
        first = _PRODUCTS[node.name]
        a, b = node.args[first : first + 2]
        for k in range(a.shape[-1]):
            yield a, (*index[:-1], k)
            yield b, (*index[:-2], k, index[-1])
        if first:
            yield node.args[0], broadcast(index, node.args[0].shape)
    elif node.name in LOOKUPS:
        for part in looked_up(node, index)[1]:
            if isinstance(part, tuple):
                yield part


def _in_memory(node: Node) -> bool:
    while node.name in ("view", "select", "unsqueeze", "squeeze", "transpose", "permute", "t"):
        node = node.args[0]
    return node.name == "input"

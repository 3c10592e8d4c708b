"""Operators that only say which entries of their operands an entry of the result is.

`sources(node, index, loop)` returns the operand and its index, or a number of Python's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from legged_ppo.runtime.fusion.graph import Node, UnfusableError
from legged_ppo.runtime.fusion.indices import (
    Index,
    Part,
    Range,
    broadcast,
    inside,
    reshaped,
    shifted,
)

Source = tuple[Node, Index] | float
Rule = Callable[[Node, Index, Range], Source]


def _dim(node: Node, position: int, rank: int) -> int:
    return int(node.argument(position, "dim", 0)) % rank


def _view(node: Node, index: Index, loop: Range) -> Source:
    source = node.args[0]
    return source, reshaped(index, node.shape, source.shape)


def _expand(node: Node, index: Index, loop: Range) -> Source:
    source = node.args[0]
    return source, broadcast(index, source.shape)


def _bounds(node: Node, first: int, size: int) -> tuple[int, int, int]:
    """Start, end and step of a slice."""
    start = node.argument(first, "start") or 0
    end, step = node.argument(first + 1, "end"), node.argument(first + 2, "step", 1)
    end = size if end is None else min(end, size)
    start, end = (max(x + size, 0) if x < 0 else min(x, size) for x in (start, end))
    return start, end, step


def _slice(node: Node, index: Index, loop: Range) -> Source:
    source = node.args[0]
    dim = _dim(node, 1, len(source.shape))
    start, _, step = _bounds(node, 2, source.shape[dim])
    part = index[dim]
    if step != 1:
        if not isinstance(part, int):
            raise UnfusableError("a loop over a slice with a step")
        part = part * step
    return source, _replaced(index, dim, shifted(part, start))


def _replaced(index: Index, dim: int, part: Part) -> Index:
    return (*index[:dim], part, *index[dim + 1 :])


def _select(node: Node, index: Index, loop: Range) -> Source:
    source = node.args[0]
    dim = _dim(node, 1, len(source.shape))
    number = int(node.argument(2, "index")) % source.shape[dim]
    return source, (*index[:dim], number, *index[dim:])


def _slice_scatter(node: Node, index: Index, loop: Range) -> Source:
    source, new = node.args[:2]
    dim = _dim(node, 2, len(source.shape))
    start, end, step = _bounds(node, 3, source.shape[dim])
    if step != 1:
        raise UnfusableError("writing into a slice with a step")
    if inside(index[dim], start, end, source.shape[dim], loop):
        own = _replaced(index, dim, shifted(index[dim], -start))
        return new, broadcast(own, new.shape)
    return source, index


def _select_scatter(node: Node, index: Index, loop: Range) -> Source:
    source, new = node.args[:2]
    dim = _dim(node, 2, len(source.shape))
    number = int(node.argument(3, "index")) % source.shape[dim]
    if inside(index[dim], number, number + 1, source.shape[dim], loop):
        return new, broadcast((*index[:dim], *index[dim + 1 :]), new.shape)
    return source, index


def _cat(node: Node, index: Index, loop: Range) -> Source:
    parts = node.args[0]
    dim = _dim(node, 1, len(node.shape))
    start = 0
    for part in parts:
        end = start + part.shape[dim]
        if end > start and inside(index[dim], start, end, node.shape[dim], loop):
            return part, _replaced(index, dim, shifted(index[dim], -start))
        start = end
    raise AssertionError(index)


def _stack(node: Node, index: Index, loop: Range) -> Source:
    dim = _dim(node, 1, len(node.shape))
    number = index[dim]
    if not isinstance(number, int):
        raise UnfusableError(f"a stack indexed by {number!r}")
    return node.args[0][number], (*index[:dim], *index[dim + 1 :])


def _transpose(node: Node, index: Index, loop: Range) -> Source:
    if len(index) < 2:
        return node.args[0], index
    a, b = (0, 1) if node.name == "t" else (int(d) % len(index) for d in node.args[1:3])
    parts = list(index)
    parts[a], parts[b] = parts[b], parts[a]
    return node.args[0], tuple(parts)


def _permute(node: Node, index: Index, loop: Range) -> Source:
    parts: list[Any] = [None] * len(index)
    for place, dim in enumerate(node.args[1]):
        parts[dim % len(index)] = index[place]
    return node.args[0], tuple(parts)


def _pad(node: Node, index: Index, loop: Range) -> Source:
    source, widths = node.args[0], list(node.args[1])
    parts = list(index)
    for i in range(len(widths) // 2):
        dim = len(index) - 1 - i
        before = widths[2 * i]
        size = source.shape[dim]
        if not inside(parts[dim], before, before + size, node.shape[dim], loop):
            return float(node.argument(2, "value", 0) or 0)
        parts[dim] = shifted(parts[dim], -before)
    return source, tuple(parts)


def _filled(position: int) -> Rule:
    return lambda node, index, loop: node.args[position]


def _constant(value: float) -> Rule:
    return lambda node, index, loop: value


STRUCTURE: dict[str, Rule] = {
    **dict.fromkeys(("view", "_unsafe_view", "_reshape_alias", "unsqueeze", "squeeze"), _view),
    "expand": _expand,
    "slice": _slice,
    "select": _select,
    "slice_scatter": _slice_scatter,
    "select_scatter": _select_scatter,
    "cat": _cat,
    "stack": _stack,
    "transpose": _transpose,
    "t": _transpose,
    "permute": _permute,
    "constant_pad_nd": _pad,
    "full": _filled(1),
    "full_like": _filled(1),
    "new_full": _filled(2),
    "scalar_tensor": _filled(0),
    **dict.fromkeys(("zeros", "zeros_like", "new_zeros", "empty", "empty_like"), _constant(0)),
    **dict.fromkeys(("new_empty", "empty_strided", "new_empty_strided"), _constant(0)),
    **dict.fromkeys(("ones", "ones_like", "new_ones"), _constant(1)),
}

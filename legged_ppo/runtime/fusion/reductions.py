"""Operators that reduce dimensions: which entries they take, and how they join them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from legged_ppo.runtime.fusion.arithmetic import add, larger, multiply, smaller
from legged_ppo.runtime.fusion.codegen import Codegen, Number
from legged_ppo.runtime.fusion.graph import Node, UnfusableError
from legged_ppo.runtime.fusion.indices import Index


def reduced_entries(node: Node, index: Index) -> tuple[Node, tuple[Any, ...]]:
    """The operand of a reduction, and the index of its entries, with a range for each dimension that
    disappears."""
    source: Node = node.args[0]
    dims, keep = _reduced_dims(node)
    parts: list[Any] = []
    left = list(index)
    for dim, size in enumerate(source.shape):
        if dim in dims:
            parts.append(range(size))
            if keep:
                left.pop(0)
        else:
            parts.append(left.pop(0))
    return source, tuple(parts)


def places(parts: Sequence[Any]) -> Iterator[Index]:
    """The indices that ranges in place of parts stand for."""
    return itertools.product(*(p if isinstance(p, range) else [p] for p in parts))


def _reduced_dims(node: Node) -> tuple[set[int], bool]:
    """The dimensions that a reduction sums over, and whether they stay with size 1."""
    rank = len(node.args[0].shape)
    position = 2 if node.name == "linalg_vector_norm" else 1
    if node.name == "linalg_vector_norm" and node.argument(1, "ord", 2) != 2:
        raise UnfusableError("a norm other than the Euclidean one")
    dims = node.argument(position, "dim")
    keep = bool(node.argument(position + 1, "keepdim", False))
    if node.name == "var":
        keep = bool(node.kwargs.get("keepdim", False))
    if isinstance(dims, int):
        dims = [dims]
    if dims is not None and not dims and node.name in ("all", "any"):
        return set(), keep
    return {d % max(rank, 1) for d in dims} if dims else set(range(rank)), keep


def _cast(c: Codegen, node: Node, a: Number) -> Number:
    return c.converted(a, node.kind)


def _truth(c: Codegen, node: Node, a: Number) -> Number:
    return c.converted(a, "b")


def _square(c: Codegen, node: Node, a: Number) -> Number:
    a = c.converted(a, "f")
    return multiply(c, a, a)


def _and(c: Codegen, a: Number, b: Number) -> Number:
    return Number(c.builder.and_(a.code, b.code), "b")


def _or(c: Codegen, a: Number, b: Number) -> Number:
    return Number(c.builder.or_(a.code, b.code), "b")


FOLDS: dict[str, tuple[Callable[..., Number], Callable[..., Number]]] = {
    "sum": (_cast, add),
    "mean": (_cast, add),
    "var": (_cast, add),
    "all": (_truth, _and),
    "any": (_truth, _or),
    "amax": (_cast, larger),
    "amin": (_cast, smaller),
    "linalg_vector_norm": (_square, add),
}

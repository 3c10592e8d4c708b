"""Operators that index a table with tensors."""

from __future__ import annotations

from typing import Any

from legged_ppo.runtime.fusion.graph import Node, UnfusableError
from legged_ppo.runtime.fusion.indices import Index, broadcast

LOOKUPS = ("index", "embedding", "index_select")


def looked_up(node: Node, index: Index) -> tuple[Node, list[Any]]:
    """The table of an operator that indexes, and for each of its dimensions an index or the entry
    (node, index) of the tensor that holds it."""
    table: Node = node.args[0]
    if node.name == "embedding":
        numbers = node.args[1]
        return table, [(numbers, index[: len(numbers.shape)]), *index[len(numbers.shape) :]]
    if node.name == "index_select":
        dim, numbers = int(node.args[1]) % len(table.shape), node.args[2]
        chosen = numbers, broadcast((index[dim],), numbers.shape)
        return table, [*index[:dim], chosen, *index[dim + 1 :]]
    given = [*node.args[1], *[None] * (len(table.shape) - len(node.args[1]))]
    places = [i for i, numbers in enumerate(given) if numbers is not None]
    if places != list(range(places[0], places[-1] + 1)):
        raise UnfusableError("indexing with tensors apart from each other")
    if any(given[i].kind == "b" for i in places):
        raise UnfusableError("indexing with a mask")
    rank = max(len(given[i].shape) for i in places)
    own, left = index[places[0] : places[0] + rank], list(index)
    del left[places[0] : places[0] + rank]
    parts: list[Any] = []
    for numbers in given:
        entry = None if numbers is None else (numbers, broadcast(own, numbers.shape))
        parts.append(left.pop(0) if entry is None else entry)
    return table, parts

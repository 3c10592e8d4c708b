"""The graph of a traced function: operators in the form of values, without views or mutation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

KINDS = {torch.float32: "f", torch.int64: "i", torch.bool: "b"}
"""Numbers that a kernel knows, by their torch type."""
_KEYWORDS = {
    "add": {"alpha"},
    "sub": {"alpha"},
    "rsub": {"alpha"},
    "addmm": {"alpha", "beta"},
    "baddbmm": {"alpha", "beta"},
    "addcmul": {"value"},
    "div": {"rounding_mode"},
    "var": {"correction", "keepdim"},
}
_WITHOUT_EFFECT = {"dtype", "layout", "device", "pin_memory", "memory_format", "non_blocking"}
"""Keywords that say nothing but the result's type, which a node has, and its memory."""


class UnfusableError(Exception):
    """A function has something that no kernel can do, and must run in torch."""


class Node:
    """A tensor: an operator with its arguments (nodes, numbers, and lists of both), or an input of the kernel.

    Args:
        name: of the operator without overload; `input` for an input, whose only argument is its position.
    """

    __slots__ = ("args", "dtype", "kwargs", "name", "shape")

    def __init__(
        self,
        name: str,
        args: tuple[Any, ...],
        shape: tuple[int, ...],
        dtype: torch.dtype,
        kwargs: dict[str, Any] | None = None,
    ) -> None:
        if dtype not in KINDS:
            raise UnfusableError(f"{name} with a tensor of type {dtype}")
        self.name, self.args, self.kwargs = name, args, kwargs or {}
        self.shape, self.dtype = shape, dtype

    @property
    def kind(self) -> str:
        return KINDS[self.dtype]

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """An argument that is given by its place or by its name."""
        if len(self.args) > position:
            return self.args[position]
        return self.kwargs.get(name, default)

    def check_keywords(self) -> None:
        """Refuse a keyword that the code of the operator does not know."""
        given = {name for name, value in self.kwargs.items() if value is not None}
        unknown = given - _KEYWORDS.get(self.name, set()) - _WITHOUT_EFFECT
        if unknown:
            raise UnfusableError(f"{self.name} with {', '.join(sorted(unknown))}")

    def operands(self) -> Iterator[Node]:
        """The nodes among the arguments."""
        yield from _nodes(self.args)


def _nodes(value: Any) -> Iterator[Node]:
    if isinstance(value, Node):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _nodes(item)


def in_order(roots: list[Node]) -> list[Node]:
    """The nodes that these need and they themselves, operands first."""
    order: dict[Node, None] = {}
    stack = [(root, False) for root in reversed(roots)]
    while stack:
        node, ready = stack.pop()
        if node in order:
            continue
        if ready:
            order[node] = None
        else:
            stack.append((node, True))
            stack += [(operand, False) for operand in node.operands()]
    return list(order)

"""Kernels: compiled graphs, called with tensors."""

from __future__ import annotations

import ctypes
import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise
from operator import is_not
from typing import Any, Protocol

import torch

from legged_ppo.runtime.fusion.emission import Output
from legged_ppo.runtime.fusion.graph import Node, UnfusableError, in_order

Pointers = Any
"""An array of ctypes with the addresses of a kernel's tensors."""
_FARTHEST = 2**30
"""Entries between a tensor's first and last one up to which the kernel's 32 bits can count halves of them."""


class Backend(Protocol):
    """Compiles kernels for one device."""

    device: torch.device

    def compile(
        self,
        outputs: Sequence[Output],
        strides: Sequence[tuple[int, ...]],
        robots: int,
        pointers: Pointers,
    ) -> Callable[[Sequence[torch.Tensor]], None]:
        """A function of the kernel's tensors that writes the outputs; `pointers` then has their addresses.

        Args:
            strides: of the inputs.

        Raises:
            UnfusableError: the graph has an operator or a pattern of memory that is not known, or the backend
                has no compiler.
        """


class Kernel:
    """A graph as one function of tensors.

    Args:
        results: nodes whose values new tensors receive.
        written: nodes whose values inputs receive, by the inputs' positions.
        inputs: tensors like those that it will be called with; shapes, types and strides must stay.
        robots: N, rows of every result.

    Raises:
        UnfusableError: the graph cannot be compiled.
    """

    def __init__(
        self,
        results: Sequence[Node],
        written: dict[int, Node],
        inputs: Sequence[torch.Tensor],
        robots: int,
        backend: Backend,
    ) -> None:
        order = in_order([*results, *written.values()])
        positions = {node.args[0] for node in order if node.name == "input"} | set(written)
        self.positions = sorted(positions)
        """Of the inputs that are used."""
        _check_overlap([inputs[i] for i in self.positions], [inputs[i] for i in written])
        slots = {position: slot for slot, position in enumerate(self.positions)}
        for node in order:
            if node.name == "input":
                node.args = (slots[node.args[0]],)
            node.check_keywords()
        used = [inputs[i] for i in self.positions]
        if any(tensor.device != backend.device for tensor in used):
            raise UnfusableError(f"a tensor that is not on {backend.device}")
        self._layouts = [_layout(tensor) for tensor in used]
        outputs = [Output(n, slots[i], inputs[i].stride()) for i, n in written.items()]
        outputs += [
            Output(node, len(used) + i, _contiguous(node.shape)) for i, node in enumerate(results)
        ]
        self._results = [(node.shape, node.dtype) for node in results]
        _check_sizes([*map(extent, used), *(math.prod(node.shape) for node in results)])
        self._bytes = [extent(tensor) * tensor.element_size() for tensor in used]
        self._written = [slots[i] for i in written]
        self._spanned: list[torch.Tensor] = []
        """Those that are written, whose first and last addresses are `_spans`"""
        self._spans: tuple[list[int], list[int]] = [], []
        strides = [tensor.stride() for tensor in used]
        self._pointers = (ctypes.c_void_p * (len(used) + len(results)))()
        self._present: list[torch.Tensor | None] = [None] * len(used)
        self._device = backend.device
        self._launch = backend.compile(outputs, strides, robots, self._pointers)

    def shares_memory(self, inputs: Sequence[torch.Tensor]) -> bool:
        """Whether one that the graph writes shares memory with another one, if any is not that of the last call.

        Args:
            inputs: the first of the used ones, in the order of `positions`.
        """
        moved = [i for i, tensor in enumerate(inputs) if tensor is not self._present[i]]
        if not moved:
            return False
        written = [i for i in self._written if i < len(inputs)]
        targets = [inputs[i] for i in written]
        if len(targets) != len(self._spanned) or any(map(is_not, targets, self._spanned)):
            moved = list(range(len(inputs)))
            spans = sorted(self._span(i, inputs[i]) for i in written)
            if any(end > start for (_, end), (start, _) in pairwise(spans)):
                return True
            self._spans = [low for low, _ in spans], [high for _, high in spans]
        lows, highs = self._spans
        self._spanned = []  # as long as it is not known that these are apart from all others
        for i in moved:
            if i not in written:
                low, high = self._span(i, inputs[i])
                following = bisect_right(highs, low)
                if following < len(lows) and lows[following] < high:
                    return True
        self._spanned = targets
        return False

    def _span(self, slot: int, tensor: torch.Tensor) -> tuple[int, int]:
        """First and last address."""
        start = tensor.data_ptr()
        return start, start + self._bytes[slot]

    def __call__(self, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """New tensors with the results; those inputs that the graph writes are changed.

        Args:
            inputs: the used ones, in the order of `positions`.

        Raises:
            ValueError: an input has another shape, type, stride or device than it had.
        """
        pointers, present = self._pointers, self._present
        for i, tensor in enumerate(inputs):
            if tensor is not present[i]:
                if _layout(tensor) != self._layouts[i]:
                    raise ValueError(f"an input {_layout(tensor)} instead of {self._layouts[i]}")
                pointers[i], present[i] = tensor.data_ptr(), tensor
        results = [torch.empty(s, dtype=dtype, device=self._device) for s, dtype in self._results]
        for i, tensor in enumerate(results, len(inputs)):
            pointers[i] = tensor.data_ptr()
        self._launch([*inputs, *results])
        return results


def _layout(tensor: torch.Tensor) -> tuple[Any, ...]:
    return tensor.dtype, tensor.shape, tensor.stride(), tensor.device


def _contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


def _check_overlap(used: Sequence[torch.Tensor], written: Sequence[torch.Tensor]) -> None:
    """No tensor that is written shares memory with another input."""
    spans = [_span(tensor) for tensor in used]
    for low, high in map(_span, written):
        if sum(start < high and low < end for start, end in spans) > 1:
            raise UnfusableError("a tensor that is written shares its memory with another input")


def _span(tensor: torch.Tensor) -> tuple[int, int]:
    """First and last address."""
    start = tensor.data_ptr()
    return start, start + extent(tensor) * tensor.element_size()


def extent(tensor: torch.Tensor) -> int:
    """Entries from the first to the last in memory."""
    if not tensor.numel():
        return 0
    return 1 + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))


def _check_sizes(sizes: Sequence[int]) -> None:
    if max(sizes, default=0) > _FARTHEST:
        raise UnfusableError(f"a tensor of {max(sizes)} entries")

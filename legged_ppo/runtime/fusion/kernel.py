"""Kernels: compiled graphs, called with tensors."""

from __future__ import annotations

import ctypes
import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise
from operator import is_not
from typing import Any

import torch

from legged_ppo.runtime.fusion.emission import Output, emit
from legged_ppo.runtime.fusion.graph import Node, UnfusableError, in_order
from legged_ppo.runtime.lanes.object_code import cached_object, load_object
from legged_ppo.runtime.lanes.target import Target
from legged_ppo.runtime.lanes.team import run_each

_FARTHEST = 2**30
"""Entries between a tensor's first and last one up to which the kernel's 32 bits can count halves of them."""
_FEWEST = 32
"""Groups of robots for which a thread is worth its waking."""


class Threads:
    """Threads among which kernels divide their robots; which of them computes a robot changes no bit."""

    def __init__(self, count: int) -> None:
        self._count = count

    def run(self, function: Callable[..., None], address: int, groups: int, last: int) -> None:
        """Call a kernel's function for all groups."""
        parts = max(1, min(self._count, groups // _FEWEST))
        bounds = [groups * i // parts for i in range(parts + 1)]
        run_each(function, [(address, first, end, last) for first, end in pairwise(bounds)])


class Kernel:
    """A graph as one function of tensors on the CPU.

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
        target: Target,
        threads: Threads,
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
        text = emit(outputs, strides, robots, target.lanes, target.triple)
        self._engine = load_object(cached_object((text,), [], lambda: text, target), target)
        kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, *[ctypes.c_int] * 3)
        self._function = kind(self._engine.get_function_address("kernel"))
        self._threads = threads
        self._groups, self._last = -(-robots // target.lanes), robots - 1
        self._pointers = (ctypes.c_void_p * (len(used) + len(results)))()
        self._present: list[torch.Tensor | None] = [None] * len(used)
        self._address = ctypes.addressof(self._pointers)

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
        results = [torch.empty(shape, dtype=dtype) for shape, dtype in self._results]
        for i, tensor in enumerate(results, len(inputs)):
            pointers[i] = tensor.data_ptr()
        self._threads.run(self._function, self._address, self._groups, self._last)
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

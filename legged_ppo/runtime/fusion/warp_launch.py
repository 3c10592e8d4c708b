"""Launches of Warp's kernels as operators of torch's, on its present stream."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from weakref import WeakValueDictionary

import torch
import warp as wp

from legged_ppo.runtime.fusion.warp_kernel import make_kernel

_numbers = itertools.count()
_launches: WeakValueDictionary[int, WarpLaunch] = WeakValueDictionary()
_library = torch.library.Library("legged_ppo", "DEF")
_library.define(
    "launch(int number, int[] arguments, Tensor[] read, Tensor(a!)[] written) -> ()",
)


class WarpLaunch:
    """A kernel of Warp's as an operator of torch's: dispatch modes, such as the one that records graphs in the
    tests, and profilers see its launches.

    Args:
        source: body of its function, see `make_kernel`.
        count: tensors.
        written: positions of those that it writes.
        size: threads on a GPU; a CPU calls the function as often, with 0, 1, ....
        block: threads of a block on a GPU.
        arguments: numbers that each launch passes after the addresses of the tensors.
        bounded: compile for blocks of that size, whose threads may then use all registers.
        name: of the kernel, as profilers show it.

    Raises:
        RuntimeError: it cannot be compiled.
    """

    def __init__(
        self,
        source: str,
        count: int,
        written: set[int],
        size: int,
        device: torch.device,
        block: int,
        arguments: int = 0,
        bounded: bool = False,
        name: str = "task_operators",
    ) -> None:
        bounds = block if bounded else None
        self._kernel, self._kind = make_kernel(source, count + arguments, name, bounds)
        self._size, self._device = size, wp.device_from_torch(device)
        self._block, self._count = block, count
        # Now: the first launch may be in the capture of a graph, which allows neither loading nor what Warp does
        # with a function at its first use.
        code = self._kernel.module.load(self._device, block if self._device.is_cuda else 1)
        if not code or code.get_kernel_hooks(self._kernel).forward is None:
            raise RuntimeError("its module has no code for this device")
        self._read, self._written = [i for i in range(count) if i not in written], sorted(written)
        self._number = next(_numbers)
        _launches[self._number] = self

    def __call__(self, tensors: Sequence[torch.Tensor], arguments: Sequence[int] = ()) -> None:
        """Launch the kernel on torch's present stream."""
        read, written = ([tensors[i] for i in part] for part in (self._read, self._written))
        torch.ops.legged_ppo.launch(self._number, arguments, read, written)

    def run(
        self,
        arguments: Sequence[int],
        read: Sequence[torch.Tensor],
        written: Sequence[torch.Tensor],
    ) -> None:
        """What the operator does."""
        addresses = self._kind()
        for slot, tensor in zip((*self._read, *self._written), (*read, *written), strict=True):
            addresses[slot] = tensor.data_ptr()
        for slot, number in enumerate(arguments, self._count):
            addresses[slot] = number
        stream = None
        if self._device.is_cuda:
            stream = _stream_of(torch.cuda.current_stream(wp.device_to_torch(self._device)))
        wp.launch(
            self._kernel,
            self._size,
            [addresses],
            device=self._device,
            stream=stream,
            block_dim=self._block,
        )


@functools.cache
def _stream_of(stream: torch.cuda.Stream) -> wp.Stream:
    """Warp's handle of a stream, kept: it must not be given up while a graph is captured."""
    return wp.stream_from_torch(stream)


def _run(
    number: int, arguments: list[int], read: list[torch.Tensor], written: list[torch.Tensor]
) -> None:
    _launches[number].run(arguments, read, written)


_library.impl("launch", _run, "CompositeExplicitAutograd")

"""Kernels for a GPU: NVIDIA Warp compiles them with a thread for each robot, and launches them on torch's stream.

On a CPU Warp compiles the same source, robots one after the other; the tests use that.
"""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Sequence
from weakref import WeakValueDictionary

import torch
import warp as wp

from legged_ppo.runtime.fusion.emission import Output, emit
from legged_ppo.runtime.fusion.graph import UnfusableError
from legged_ppo.runtime.fusion.kernel import Pointers
from legged_ppo.runtime.fusion.source_code import SourceCode, SourceMemory
from legged_ppo.runtime.fusion.warp_kernel import make_kernel

_log = logging.getLogger(__name__)

_BLOCK = 32
"""Threads of a block: few, so that some thousand robots occupy every multiprocessor."""
_MOST = 500
"""Addresses that a launch can pass: 4 KB of parameters."""
_numbers = itertools.count()
_launches: WeakValueDictionary[int, WarpLaunch] = WeakValueDictionary()
_library = torch.library.Library("legged_ppo", "DEF")
_library.define("launch(int number, Tensor[] read, Tensor(a!)[] written) -> ()")


class WarpBackend:
    """`Backend` of a device of Warp's.

    After one failure to compile, of which a warning tells, it compiles nothing.
    """

    def __init__(self, device: torch.device) -> None:
        wp.init()
        self.device = torch.empty(0, device=device).device  # with its number, as tensors have it
        self._broken = False

    def compile(
        self,
        outputs: Sequence[Output],
        strides: Sequence[tuple[int, ...]],
        robots: int,
        pointers: Pointers,
    ) -> WarpLaunch:
        """See `Backend`."""
        if self._broken or len(pointers) > _MOST:
            raise UnfusableError("no compiler" if self._broken else f"{len(pointers)} tensors")
        written = {output.slot for output in outputs}
        code = SourceCode()
        emit(code, SourceMemory(code, written), outputs, strides, robots)
        try:
            return WarpLaunch(code.finish(), len(pointers), written, robots, self.device)
        except Exception as error:  # whatever a compiler or a driver may raise
            self._broken = True
            _log.warning("the task's operators are not compiled and run in torch: %s", error)
            raise UnfusableError("no compiler") from error


class WarpLaunch:
    """A kernel of Warp's as an operator of torch's: dispatch modes, such as the one that records graphs in the
    tests, and profilers see its launches.

    Args:
        source: body of its function, see `SourceCode`.
        count: tensors.
        written: positions of those that it writes.

    Raises:
        RuntimeError: it cannot be compiled.
    """

    def __init__(
        self, source: str, count: int, written: set[int], robots: int, device: torch.device
    ) -> None:
        self._kernel, self._kind = make_kernel(source, count)
        self._robots, self._device = robots, wp.device_from_torch(device)
        # Now: the first launch may be in the capture of a graph, which allows neither loading nor what Warp does
        # with a function at its first use.
        code = self._kernel.module.load(self._device, _BLOCK if self._device.is_cuda else 1)
        if not code or code.get_kernel_hooks(self._kernel).forward is None:
            raise RuntimeError("its module has no code for this device")
        self._read, self._written = [i for i in range(count) if i not in written], sorted(written)
        self._number = next(_numbers)
        _launches[self._number] = self

    def __call__(self, tensors: Sequence[torch.Tensor]) -> None:
        """Launch the kernel on torch's present stream."""
        read, written = ([tensors[i] for i in part] for part in (self._read, self._written))
        torch.ops.legged_ppo.launch(self._number, read, written)

    def run(self, read: Sequence[torch.Tensor], written: Sequence[torch.Tensor]) -> None:
        """What the operator does."""
        addresses = self._kind()
        for slot, tensor in zip((*self._read, *self._written), (*read, *written), strict=True):
            addresses[slot] = tensor.data_ptr()
        stream = None
        if self._device.is_cuda:
            stream = _stream_of(torch.cuda.current_stream(wp.device_to_torch(self._device)))
        wp.launch(
            self._kernel,
            self._robots,
            [addresses],
            device=self._device,
            stream=stream,
            block_dim=_BLOCK,
        )


@functools.cache
def _stream_of(stream: torch.cuda.Stream) -> wp.Stream:
    """Warp's handle of a stream, kept: it must not be given up while a graph is captured."""
    return wp.stream_from_torch(stream)


def _run(number: int, read: list[torch.Tensor], written: list[torch.Tensor]) -> None:
    _launches[number].run(read, written)


_library.impl("launch", _run, "CompositeExplicitAutograd")

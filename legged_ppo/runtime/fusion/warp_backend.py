"""Kernels for a GPU: NVIDIA Warp compiles them with a thread for each robot, and launches them on torch's stream.

On a CPU Warp compiles the same source, robots one after the other; the tests use that.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
import warp as wp

from legged_ppo.runtime.fusion.emission import Output, emit
from legged_ppo.runtime.fusion.graph import UnfusableError
from legged_ppo.runtime.fusion.kernel import Pointers
from legged_ppo.runtime.fusion.source_code import SourceCode, SourceMemory
from legged_ppo.runtime.fusion.warp_launch import WarpLaunch

_log = logging.getLogger(__name__)

_BLOCK = 32
"""Threads of a block: few, so that some thousand robots occupy every multiprocessor."""
_MOST = 500
"""Addresses that a launch can pass: 4 KB of parameters."""


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
            return WarpLaunch(code.finish(), len(pointers), written, robots, self.device, _BLOCK)
        except Exception as error:  # whatever a compiler or a driver may raise
            self._broken = True
            _log.warning("the task's operators are not compiled and run in torch: %s", error)
            raise UnfusableError("no compiler") from error

"""The recurrence of `models/gru.py` as two kernels for a GPU, one for all steps forward and one for all backward.

NVIDIA Warp compiles them, as it does the task's operators: the tests run the same source on a CPU without a
further package, and the source says what stays in registers from step to step. Triton decides that itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import warp as wp

from legged_ppo.models.gru_plan import (
    Geometry,
    backward_geometry,
    backward_source,
    forward_geometry,
    forward_source,
)
from legged_ppo.runtime.fusion.warp_launch import WarpLaunch


class WarpGRU:
    """The recurrence of a layer of H hidden units; methods and tables are those of `CompiledGRU` with one part.

    Products are in float32, whatever `ppo.precision` permits to others.

    Args:
        hidden: H.
        parts: 2 for a layer that commutes with the mirror, which halves its products (`gru_source.py`), else 1.
        blocks: of a launch; each takes every so many sequences.
        descending: on a CPU, the order of a block's threads, which no number depends on.

    Raises:
        RuntimeError: they cannot be compiled.
    """

    def __init__(
        self,
        hidden: int,
        parts: int,
        device: torch.device,
        blocks: int,
        descending: bool = False,
    ) -> None:
        wp.init()
        self._hidden = hidden
        plan = forward_geometry(hidden, parts)

        def launch(source: str, tensors: int, written: int, own: Geometry) -> WarpLaunch:
            """Of a kernel whose last tensors are those that it writes."""
            size = blocks * (own.threads if device.type == "cuda" else 1)
            last = set(range(tensors - written, tensors))
            return WarpLaunch(source, tensors, last, size, device, own.threads, 3, bounded=True)

        self._blocks = blocks
        source = forward_source(hidden, parts, record=False, descending=descending)
        self._outputs = launch(source, 6, 1, plan)
        source = forward_source(hidden, parts, record=True, descending=descending)
        self._record = launch(source, 9, 4, plan)
        source = backward_source(hidden, parts, descending)
        self._gradients = launch(source, 8, 2, backward_geometry(hidden, parts))

    def outputs(
        self,
        projected: torch.Tensor,
        state: torch.Tensor,
        keep: torch.Tensor,
        weight_hh: torch.Tensor,
        bias_n: torch.Tensor,
    ) -> torch.Tensor:
        """See `CompiledGRU.outputs`."""
        steps, batch, _ = projected.shape
        outputs = projected.new_empty(steps, batch, self._hidden)
        weight_hh = _aligned(weight_hh)
        self._run(self._outputs, (projected, state, keep, weight_hh, bias_n), (outputs,))
        return outputs

    def record(
        self,
        projected: torch.Tensor,
        state: torch.Tensor,
        keep: torch.Tensor,
        weight_hh: torch.Tensor,
        bias_n: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """See `CompiledGRU.record`."""
        steps, batch, _ = projected.shape
        outputs, previous, n = projected.new_empty(3, steps, batch, self._hidden)
        gates = torch.empty_like(projected)
        results = outputs, previous, n, gates
        weight_hh = _aligned(weight_hh)
        self._run(self._record, (projected, state, keep, weight_hh, bias_n), results)
        return results

    def gradients(
        self,
        grad_outputs: torch.Tensor,
        keep: torch.Tensor,
        rolled: torch.Tensor,
        previous: torch.Tensor,
        n: torch.Tensor,
        gates: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `CompiledGRU.gradients`."""
        steps, batch, hidden = previous.shape
        grads = previous.new_empty(steps, batch, 4, hidden)
        d_state = previous.new_empty(batch, hidden)
        arguments = grad_outputs, keep, rolled, previous, n, gates
        self._run(self._gradients, arguments, (grads, d_state))
        return grads, d_state

    def _run(
        self, launch: WarpLaunch, read: Sequence[torch.Tensor], written: Sequence[torch.Tensor]
    ) -> None:
        steps, batch = written[0].shape[:2]
        tensors = [*(table.contiguous() for table in read), *written]
        launch(tensors, (steps, batch, self._blocks))


def _aligned(table: torch.Tensor) -> torch.Tensor:
    """The table where four of its numbers can be read at a time, as one in a view of others need not be."""
    table = table.contiguous()
    return table if table.data_ptr() % 16 == 0 else table.clone()

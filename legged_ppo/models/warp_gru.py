"""The recurrence of `models/gru.py` as two kernels for a GPU, one for all steps forward and one for all backward.

NVIDIA Warp compiles them, as it does the task's operators: the tests run the same source on a CPU without a
further package, and the source says what stays in registers from step to step. Triton decides that itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import warp as wp

from legged_ppo.models.gru_plan import NUMBERS, KernelPlan, kernels_of
from legged_ppo.runtime.fusion.warp_launch import WarpLaunch


class WarpGRU:
    """The recurrence of a layer of H hidden units; see `Recurrence`.

    Products are in float32, whatever `ppo.precision` permits to others.

    Args:
        hidden: H.
        parts: 2 for a layer that commutes with the mirror, which halves its products (`gru_source.py`), else 1.
        multiprocessors: of the device; each gets as many blocks of threads as its registers hold.
        descending: on a CPU, the order of a block's threads, which no number depends on.

    Raises:
        RuntimeError: they cannot be compiled.
    """

    def __init__(
        self,
        hidden: int,
        parts: int,
        device: torch.device,
        multiprocessors: int,
        descending: bool = False,
    ) -> None:
        wp.init()
        self._hidden = hidden
        compiled = (
            _compiled(plan, device, multiprocessors)
            for plan in kernels_of(hidden, parts, descending)
        )
        self._outputs, self._record, self._gradients = compiled

    def outputs(
        self,
        projected: torch.Tensor,
        state: torch.Tensor,
        keep: torch.Tensor,
        weight_hh: torch.Tensor,
        bias_n: torch.Tensor,
    ) -> torch.Tensor:
        """See `Recurrence.outputs`."""
        steps, batch, _ = projected.shape
        outputs = projected.new_empty(steps, batch, self._hidden)
        weight_hh = _aligned(weight_hh)
        self._outputs((projected, state, keep, weight_hh, bias_n), (outputs,))
        return outputs

    def record(
        self,
        projected: torch.Tensor,
        state: torch.Tensor,
        keep: torch.Tensor,
        weight_hh: torch.Tensor,
        bias_n: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """See `Recurrence.record`."""
        steps, batch, _ = projected.shape
        outputs, previous, n = projected.new_empty(3, steps, batch, self._hidden)
        gates = torch.empty_like(projected)
        results = outputs, previous, n, gates
        weight_hh = _aligned(weight_hh)
        self._record((projected, state, keep, weight_hh, bias_n), results)
        return results

    def gradients(
        self,
        grad_outputs: torch.Tensor,
        keep: torch.Tensor,
        weight_hh: torch.Tensor,
        previous: torch.Tensor,
        n: torch.Tensor,
        gates: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Recurrence.gradients`."""
        steps, batch, hidden = previous.shape
        grads = previous.new_empty(steps, batch, 4, hidden)
        d_state = previous.new_empty(batch, hidden)
        arguments = grad_outputs, keep, weight_hh, previous, n, gates
        self._gradients(arguments, (grads, d_state))
        return grads, d_state


def _compiled(
    plan: KernelPlan, device: torch.device, multiprocessors: int
) -> Callable[[Sequence[torch.Tensor], Sequence[torch.Tensor]], None]:
    """The launch of a kernel that reads and writes these tensors; the first one written begins with [T, B]."""
    blocks, threads = plan.blocks * multiprocessors, plan.geometry.threads
    launch = WarpLaunch(
        plan.source,
        plan.tensors,
        set(range(plan.tensors - plan.written, plan.tensors)),
        size=blocks * (threads if device.type == "cuda" else 1),
        device=device,
        block=threads,
        arguments=len(NUMBERS),
        bounded=True,
        name=plan.name,
    )

    def run(read: Sequence[torch.Tensor], written: Sequence[torch.Tensor]) -> None:
        steps, batch = written[0].shape[:2]
        launch([*(table.contiguous() for table in read), *written], (steps, batch, blocks))

    return run


def _aligned(table: torch.Tensor) -> torch.Tensor:
    """The table where four of its numbers can be read at a time, as one in a view of others need not be."""
    table = table.contiguous()
    return table if table.data_ptr() % 16 == 0 else table.clone()

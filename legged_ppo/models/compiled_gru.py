"""The recurrence of `models/gru.py` compiled for this CPU."""

from __future__ import annotations

import functools

import torch

from legged_ppo.models import gru_kernels
from legged_ppo.models.gru_kernels import BACKWARD, FORWARD, RECORD, block_sizes, block_width
from legged_ppo.runtime.lanes.functions import compiled_functions


class CompiledGRU:
    """The recurrence of a layer of H hidden units; see `Recurrence`.

    Args:
        hidden: a multiple of `parts` times `lanes`.
        lanes: float32 numbers in a register.
        parts: P, 2 for a layer that commutes with the mirror, with states, outputs and weights in even and odd
            parts; see `gru_kernels.py`.
    """

    def __init__(self, hidden: int, lanes: int, parts: int = 1) -> None:
        self._hidden, self._lanes, self._parts = hidden, lanes, parts
        emit = functools.partial(gru_kernels.emit_gru, hidden=hidden, parts=parts)
        names, source = (FORWARD, RECORD, BACKWARD), gru_kernels.__file__
        self._functions = compiled_functions(emit, names, source, lanes, hidden, parts)

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
        tables = (projected, state, keep, self._by_gate(weight_hh), bias_n, outputs)
        self._run(FORWARD, (*tables, torch.empty_like(state)), steps, batch)
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
        tables = (projected, state, keep, self._by_gate(weight_hh), bias_n, outputs)
        self._run(RECORD, (*tables, previous, n, gates), steps, batch)
        return outputs, previous, n, gates

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
        units = hidden // self._parts
        width = block_width(units, self._lanes)
        gates_hh = weight_hh.reshape(self._parts, 3 * units, units)
        rolled = torch.cat([gates_hh[:, 2 * units :], gates_hh[:, : 2 * units]], 1)  # n, r, z
        weights = rolled.view(self._parts, 3 * units, -1, width).transpose(1, 2)
        grads = previous.new_empty(steps, batch, self._parts * 4, units)
        d_state = previous.new_zeros(batch, hidden)
        tables = (grad_outputs, keep, weights, previous, n, gates, grads, d_state)
        self._run(BACKWARD, tables, steps, batch)
        return grads, d_state

    def _by_gate(self, weight_hh: torch.Tensor) -> torch.Tensor:
        """[H / P / lanes, P, H / P, 3, lanes]: beside each other what is multiplied by one number of the
        state."""
        units = self._hidden // self._parts
        blocks = weight_hh.reshape(self._parts, 3, -1, self._lanes, units)
        return blocks.permute(2, 0, 4, 1, 3)

    def _run(self, name: str, tables: tuple[torch.Tensor, ...], steps: int, batch: int) -> None:
        rows = [table.contiguous() for table in tables]
        self._functions.run(name, rows, batch, (steps,), block_sizes(self._lanes, self._parts)[0])

"""The recurrence of `models/gru.py` compiled for this CPU."""

from __future__ import annotations

import torch

from legged_ppo.models.gru_kernels import (
    BACKWARD,
    FORWARD,
    RECORD,
    block_sizes,
    block_width,
    gru_object,
)
from legged_ppo.runtime.lanes.functions import KernelFunctions
from legged_ppo.runtime.lanes.target import host


class CompiledGRU:
    """The recurrence of a layer of H hidden units.

    Args:
        hidden: a multiple of `lanes`.
        lanes: float32 numbers in a register.
    """

    def __init__(self, hidden: int, lanes: int) -> None:
        target = host()
        self._hidden, self._lanes = hidden, lanes
        code = gru_object(hidden, lanes, target)
        self._functions = KernelFunctions(code, target, (FORWARD, RECORD, BACKWARD))

    def outputs(
        self,
        projected: torch.Tensor,
        state: torch.Tensor,
        keep: torch.Tensor,
        weight_hh: torch.Tensor,
        bias_n: torch.Tensor,
    ) -> torch.Tensor:
        """Outputs [T, B, H].

        Args:
            projected: [T, B, 3H], W_i x + b.
            state: [B, H]; keep: [T, B, 1]; weight_hh: [3H, H]; bias_n: [H]; see `GRULayer`.
        """
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
        """`outputs`, and what `gradients` reads: the state that enters each step [T, B, H], n [T, B, H], and
        r, z and W_hn h + b_hn side by side [T, B, 3H]."""
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
        rolled: torch.Tensor,
        previous: torch.Tensor,
        n: torch.Tensor,
        gates: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Gradients [T, B, 4, H] of W_hn h + b_hn, of the pre-activations of r and z, and of W_in x + b_in, and
        the gradient of the state [B, H], from that of the outputs. `rolled` is the weight [3H, H] with the rows
        of n before those of r and z; the other arguments are `record`'s and its results."""
        steps, batch, hidden = previous.shape
        width = block_width(hidden, self._lanes)
        weights = rolled.view(3 * hidden, -1, width).transpose(0, 1).contiguous()
        grads = previous.new_empty(steps, batch, 4, hidden)
        d_state = previous.new_zeros(batch, hidden)
        tables = (grad_outputs, keep, weights, previous, n, gates, grads, d_state)
        self._run(BACKWARD, tables, steps, batch)
        return grads, d_state

    def _by_gate(self, weight_hh: torch.Tensor) -> torch.Tensor:
        """[H / lanes, H, 3, lanes]: beside each other what is multiplied by one number of the state."""
        blocks = weight_hh.view(3, -1, self._lanes, self._hidden)
        return blocks.permute(1, 3, 0, 2).contiguous()

    def _run(self, name: str, tables: tuple[torch.Tensor, ...], steps: int, batch: int) -> None:
        rows = [table.contiguous() for table in tables]
        self._functions.run(name, rows, batch, (steps,), block_sizes(self._lanes)[0])

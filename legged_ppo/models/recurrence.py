"""What computes a GRU's recurrence: code compiled for the CPU, kernels on a GPU, or torch's operators."""

from __future__ import annotations

import functools
import logging
from typing import Protocol

import torch

from legged_ppo.models import gru_operators
from legged_ppo.models.gru_plan import MOST_HIDDEN, MULTIPLE, suits
from legged_ppo.runtime.lanes.use import compiles_for, has_kernels_for

_log = logging.getLogger(__name__)

_TOLERANCE = 1e-4
"""Largest difference between kernels and float64, as a share of a result's largest number; float32 takes 3e-6."""
_STEPS, _BATCH = 3, 17
"""Of the sequences by which they are compared: three tiles, the last one with one sequence."""


class Recurrence(Protocol):
    """The steps of a `GRULayer` of H hidden units.

    `CompiledGRU` of P = 2 parts keeps the even and the odd part of a layer that commutes with the mirror apart:
    all rows hold the even part's numbers before the odd one's.
    """

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
            state: [B, H], the one before the first step.
            keep: [T, B, 1], 0 where a step begins an episode, else 1.
            weight_hh: [3H, H], in parts [P, 3H / P, H / P].
            bias_n: [H], in parts [H / P], b_hn.
        """
        ...

    def record(
        self,
        projected: torch.Tensor,
        state: torch.Tensor,
        keep: torch.Tensor,
        weight_hh: torch.Tensor,
        bias_n: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """`outputs`, and what `gradients` reads: the state that enters each step [T, B, H], n [T, B, H], and
        r, z and W_hn h + b_hn beside each other [T, B, 3H]."""
        ...

    def gradients(
        self,
        grad_outputs: torch.Tensor,
        keep: torch.Tensor,
        weight_hh: torch.Tensor,
        previous: torch.Tensor,
        n: torch.Tensor,
        gates: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Gradients [T, B, 4, H] of W_hn h + b_hn, of the pre-activations of r and z, and of W_in x + b_in, and
        the gradient of the state [B, H], from that of the outputs. The last three arguments are `record`'s
        results. In parts: [T, B, P, 4, H / P]."""
        ...


def recurrence_for(inputs: torch.Tensor, hidden: int, parts: int | None = 1) -> Recurrence | None:
    """What computes the recurrence of these inputs: code for the CPU or a GPU's kernels. None leaves it to
    torch's operators: in another precision than float32, for a number of hidden units that fills no registers
    or too many, while torch records a program.

    Args:
        parts: on a GPU, 2 for a layer that commutes with the mirror, else 1; None for torch's operators.
    """
    if compiles_for(inputs):
        return _on_cpu(hidden)
    if parts is None or not has_kernels_for(inputs):
        return None
    return _on_gpu(inputs.device, inputs.dtype, hidden, parts)


@functools.cache
def _on_cpu(hidden: int) -> Recurrence | None:
    # Here, because other devices need no LLVM.
    from legged_ppo.models.compiled_gru import CompiledGRU
    from legged_ppo.runtime.lanes.target import host

    lanes = host().lanes
    return None if hidden % lanes else CompiledGRU(hidden, lanes)


def multiprocessors(device: torch.device) -> int:
    """Of a GPU."""
    return torch.cuda.get_device_properties(device).multi_processor_count


@functools.cache
def _on_gpu(device: torch.device, dtype: torch.dtype, hidden: int, parts: int) -> Recurrence | None:
    if dtype != torch.float32 or not suits(hidden, 1):
        own = f"{hidden} hidden units in {str(dtype).removeprefix('torch.')}"
        limit = f"float32 and up to {MOST_HIDDEN} units, a multiple of {MULTIPLE}"
        _log.info("a GRU of %s is computed by torch's operators: its kernels need %s", own, limit)
        return None
    parts = parts if suits(hidden, parts) else 1
    try:
        # Here, because a CPU needs no Warp.
        from legged_ppo.models.warp_gru import WarpGRU

        kernels = WarpGRU(hidden, parts, device, multiprocessors(device))
        _check(kernels, hidden, parts, device)
        return kernels
    except Exception as error:  # whatever an import, a compiler or a driver may raise
        _log.warning("the GRU has no kernels and runs by torch's operators: %s", error)
        return None


@torch.no_grad()
def _check(kernels: Recurrence, hidden: int, parts: int, device: torch.device) -> None:
    """Compare kernels with torch's operators in float64, where they run.

    Raises:
        RuntimeError: they differ.
    """
    generator = torch.Generator().manual_seed(0)

    def randn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(device)

    def results(steps: Recurrence, dtype: torch.dtype) -> list[torch.Tensor]:
        read, d_outputs = [x.to(dtype) for x in tables], outer.to(dtype)
        outputs, *kept = steps.record(*read)
        return [outputs, *kept, *steps.gradients(d_outputs, read[2], read[3], *kept)]

    weight = randn(3 * hidden, hidden) / hidden**0.5
    if parts == 2:
        weight = gru_operators.commuting(weight)
    keep = (randn(_STEPS, _BATCH, 1) > -0.5).float()
    outer = randn(_STEPS, _BATCH, hidden)
    projected, state = randn(_STEPS, _BATCH, 3 * hidden), randn(_BATCH, hidden)
    tables = projected, state, keep, weight, randn(hidden)
    expected = results(gru_operators, torch.float64)
    found = results(kernels, torch.float32)
    pairs = [*zip(found, expected, strict=True), (kernels.outputs(*tables), expected[0])]
    error = float(torch.stack([(a - b).abs().max() / b.abs().max() for a, b in pairs]).max())
    if not error <= _TOLERANCE:  # or it is not a number
        raise RuntimeError(f"its kernels differ from torch's operators by {error:.1e}")

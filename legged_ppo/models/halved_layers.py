"""Layers of an equivariant policy on features in even and odd parts (`models/halves.py`), compiled for the
CPU."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from legged_ppo.models.compiled_gru import CompiledGRU
from legged_ppo.models.compiled_product import Shapes, gradient_of_parts, product_of_parts
from legged_ppo.runtime.lanes.target import host


class HalvedProduct(torch.autograd.Function):
    """A linear layer; the tables are those of `HalvedLinear`."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,  # [M, K' + K'']
        transposed: torch.Tensor,
        weights: torch.Tensor,
        bias: torch.Tensor,
        shapes: Shapes,
    ) -> torch.Tensor:
        """Parts of the outputs [M, N' + N'']."""
        ctx.save_for_backward(x, weights)
        ctx.shapes = shapes
        return product_of_parts(x, transposed, shapes, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradients of the arguments of `forward`."""
        x, weights = ctx.saved_tensors
        grad = grad.contiguous()
        d_x = None
        if ctx.needs_input_grad[0]:
            d_x = product_of_parts(grad, weights, _turned(ctx.shapes))
        return d_x, gradient_of_parts(x, grad, ctx.shapes), None, grad.sum(0), None


class HalvedGRU(torch.autograd.Function):
    """A GRU layer of H units over T steps of B robots; see `models/gru.py`'s `GRULayer`."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: torch.Tensor,  # [T, B, I]
        state: torch.Tensor,  # [B, H]
        keep: torch.Tensor,  # [T, B, 1]
        transposed_ih: torch.Tensor,
        weights_ih: torch.Tensor,
        bias_ih: torch.Tensor,  # [3H]
        transposed_hh: torch.Tensor,
        weights_hh: torch.Tensor,
        bias_hh: torch.Tensor,  # [3H]
        shapes: Shapes,  # of the input weights
    ) -> torch.Tensor:
        """Parts of the outputs [T, B, H]."""
        units = state.shape[1] // 2
        compiled = _compiled(2 * units)
        bias = bias_ih.clone()
        bias[: 2 * units] += bias_hh[: 2 * units]
        projected = product_of_parts(inputs.flatten(0, 1), transposed_ih, shapes, bias)
        projected = projected.view(*inputs.shape[:2], -1)
        bias_n = bias_hh[2 * units : 3 * units]
        outputs, *kept = compiled.record(projected, state, keep, weights_hh, bias_n)
        ctx.compiled, ctx.shapes = compiled, shapes
        ctx.save_for_backward(inputs, keep, weights_ih, weights_hh, *kept)
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradients of the arguments of `forward`."""
        inputs, keep, weights_ih, weights_hh, previous, n, gates = ctx.saved_tensors
        hidden = previous.shape[-1]
        units = hidden // 2
        grads, d_state = ctx.compiled.gradients(grad_outputs, keep, weights_hh, previous, n, gates)
        # The gradients of W_hn h + b_hn, of r, z and of W_in x + b_in: first of the even parts, then of the odd
        # ones.
        flat = grads.view(-1, 4 * hidden)
        inner, outer = flat[:, : 4 * hidden - units], flat[:, units:]
        x, d_inputs = inputs.flatten(0, 1), None
        if ctx.needs_input_grad[0]:
            d_inputs = product_of_parts(outer, weights_ih, _turned(ctx.shapes), odd=4 * units)
            d_inputs = d_inputs.view_as(inputs)
        d_ih = gradient_of_parts(x, outer, ctx.shapes, odd=4 * units)
        square = (units, 3 * units) * 2
        d_rolled = gradient_of_parts(previous.view(-1, hidden), inner, square, odd=4 * units)
        d_hh = _unrolled(d_rolled.view(-1, 3 * units), units).flatten()
        sums = flat[:, : 4 * units].sum(0)
        d_bias_ih, d_bias_hh = sums.new_zeros(2, 6 * units)
        d_bias_ih[: 3 * units] = sums[units:]
        d_bias_hh[: 3 * units] = _unrolled(sums[: 3 * units], units)
        return d_inputs, d_state, None, d_ih, None, d_bias_ih, d_hh, None, d_bias_hh, None


@functools.cache
def _compiled(hidden: int) -> CompiledGRU:
    return CompiledGRU(hidden, host().lanes, parts=2)


def _turned(shapes: Shapes) -> Shapes:
    """Of the transposed tables."""
    length, width, more_length, more_width = shapes
    return width, length, more_width, more_length


def _unrolled(x: torch.Tensor, units: int) -> torch.Tensor:
    """Entries [..., 3 units] of n, r and z as those of r, z and n."""
    return torch.cat([x[..., units:], x[..., :units]], -1)

"""The GRU's recurrence as one Triton kernel a step, product and gates fused: a candidate for benchmarks/gru.py.

Forward and backward are those of `legged_ppo.models.gru.GRULayer`, in float32; the hidden size must be a
multiple of 64. In Triton's interpreter (TRITON_INTERPRET=1) it agrees with torch's cells to 1e-6, and it
compiles for sm_80 to sm_120; it has not run on a GPU.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

ROWS, COLUMNS, DEPTH = 32, 64, 32
"""Of a tile of the step's matrix product."""


@triton.jit
def forward_step(
    projected, before, keep, weight, bias_n, after, saved, batch,
    hidden: tl.constexpr, height: tl.constexpr, width: tl.constexpr, depth: tl.constexpr,
):  # fmt: skip
    """A tile [height, width] of `after` [B, H], and what the backward pass needs, `saved` [4, B, H]: r, z, n
    and hn = W_hn h + b_hn."""
    rows = tl.program_id(0) * height + tl.arange(0, height)[:, None]
    columns = tl.program_id(1) * width + tl.arange(0, width)[None, :]
    inside = rows < batch
    kept = tl.load(keep + rows, inside, 0.0)
    r = tl.zeros((height, width), tl.float32)
    z = tl.zeros((height, width), tl.float32)
    hn = tl.zeros((height, width), tl.float32)
    for first in range(0, hidden, depth):
        h = kept * tl.load(
            before + rows * hidden + first + tl.arange(0, depth)[None, :], inside, 0.0
        )
        inner = first + tl.arange(0, depth)[:, None]
        w = weight + columns * hidden + inner  # a tile of W transposed
        r = tl.dot(h, tl.load(w), r, input_precision="ieee")
        z = tl.dot(h, tl.load(w + hidden * hidden), z, input_precision="ieee")
        hn = tl.dot(h, tl.load(w + 2 * hidden * hidden), hn, input_precision="ieee")
    inputs = projected + rows * 3 * hidden + columns
    r = tl.sigmoid(r + tl.load(inputs, inside, 0.0))
    z = tl.sigmoid(z + tl.load(inputs + hidden, inside, 0.0))
    hn += tl.load(bias_n + columns)
    n = 2.0 * tl.sigmoid(2.0 * (tl.load(inputs + 2 * hidden, inside, 0.0) + r * hn)) - 1.0
    at = rows * hidden + columns
    h = kept * tl.load(before + at, inside, 0.0)
    tl.store(after + at, n + z * (h - n), inside)
    tl.store(saved + at, r, inside)
    tl.store(saved + batch * hidden + at, z, inside)
    tl.store(saved + 2 * batch * hidden + at, n, inside)
    tl.store(saved + 3 * batch * hidden + at, hn, inside)


@triton.jit
def backward_step(
    d_after, before, keep, weight, saved, grads, d_before, batch,
    hidden: tl.constexpr, height: tl.constexpr, width: tl.constexpr, depth: tl.constexpr,
):  # fmt: skip
    """A tile [height, width] of `d_before` [B, H]; the first column of tiles also leaves the gradients of the
    gates' arguments and of hn, `grads` [4, B, H]: r, z, n, hn."""
    rows = tl.program_id(0) * height + tl.arange(0, height)[:, None]
    columns = tl.program_id(1) * width + tl.arange(0, width)[None, :]
    inside = rows < batch
    kept = tl.load(keep + rows, inside, 0.0)
    plane = batch * hidden
    total = tl.zeros((height, width), tl.float32)
    for first in range(0, hidden, depth):
        at = rows * hidden + first + tl.arange(0, depth)[None, :]
        dh = tl.load(d_after + at, inside, 0.0)
        r = tl.load(saved + at, inside, 0.0)
        z = tl.load(saved + plane + at, inside, 0.0)
        n = tl.load(saved + 2 * plane + at, inside, 0.0)
        hn = tl.load(saved + 3 * plane + at, inside, 0.0)
        h = kept * tl.load(before + at, inside, 0.0)
        d_n = dh * (1.0 - z) * (1.0 - n * n)
        d_hn = d_n * r
        d_r = d_hn * hn * (1.0 - r)
        d_z = dh * (h - n) * z * (1.0 - z)
        if tl.program_id(1) == 0:
            tl.store(grads + at, d_r, inside)
            tl.store(grads + plane + at, d_z, inside)
            tl.store(grads + 2 * plane + at, d_n, inside)
            tl.store(grads + 3 * plane + at, d_hn, inside)
        w = weight + (first + tl.arange(0, depth)[:, None]) * hidden + columns
        total = tl.dot(d_r, tl.load(w), total, input_precision="ieee")
        total = tl.dot(d_z, tl.load(w + hidden * hidden), total, input_precision="ieee")
        total = tl.dot(d_hn, tl.load(w + 2 * hidden * hidden), total, input_precision="ieee")
    at = rows * hidden + columns
    direct = tl.load(d_after + at, inside, 0.0) * tl.load(saved + plane + at, inside, 0.0)
    tl.store(d_before + at, kept * (direct + total), inside)


class TritonGRU(torch.autograd.Function):
    """The recurrence of `GRULayer` on float32 tensors; `keep` [T, B]."""

    @staticmethod
    def forward(
        ctx: Any,
        projected: torch.Tensor,
        state: torch.Tensor,
        keep: torch.Tensor,
        weight: torch.Tensor,
        bias_n: torch.Tensor,
    ) -> torch.Tensor:
        steps, batch, hidden = *projected.shape[:2], state.shape[1]
        states = torch.cat([state[None], state.new_empty(steps, batch, hidden)])
        saved = state.new_empty(steps, 4, batch, hidden)
        projected, weight, sizes = projected.contiguous(), weight.contiguous(), _sizes(hidden)
        for t in range(steps):
            forward_step[_grid(batch, hidden)](
                projected[t],
                states[t],
                keep[t],
                weight,
                bias_n,
                states[t + 1],
                saved[t],
                batch,
                **sizes,
            )
        ctx.save_for_backward(states, saved, keep, weight)
        return states[1:]

    @staticmethod
    def backward(ctx: Any, d_outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        states, saved, keep, weight = ctx.saved_tensors
        steps, _, batch, hidden = saved.shape
        grads, d_state = torch.empty_like(saved), torch.zeros_like(states[0])
        for t in reversed(range(steps)):
            d_after, d_state = (d_outputs[t] + d_state).contiguous(), torch.empty_like(d_state)
            backward_step[_grid(batch, hidden)](
                d_after,
                states[t],
                keep[t],
                weight,
                saved[t],
                grads[t],
                d_state,
                batch,
                **_sizes(hidden),
            )
        d_r, d_z, d_n, d_hn = grads.unbind(1)
        h = (states[:-1] * keep[..., None]).flatten(0, 1)
        d_weight = torch.cat([d.flatten(0, 1).t() @ h for d in (d_r, d_z, d_hn)])
        return torch.cat([d_r, d_z, d_n], dim=2), d_state, None, d_weight, d_hn.sum((0, 1))


def triton_gru(
    gru: torch.nn.GRU, x: torch.Tensor, h: torch.Tensor, starts: torch.Tensor
) -> torch.Tensor:
    """Outputs [T, B, H] of inputs [T, B, I], the state [1, B, H] and starts [T, B] bool."""
    gates = 2 * gru.hidden_size
    bias = gru.bias_ih_l0 + torch.nn.functional.pad(gru.bias_hh_l0[:gates], (0, gru.hidden_size))
    projected = torch.nn.functional.linear(x, gru.weight_ih_l0, bias)
    keep = (~starts).to(x.dtype)
    return TritonGRU.apply(projected, h[0], keep, gru.weight_hh_l0, gru.bias_hh_l0[gates:])


def _grid(batch: int, hidden: int) -> tuple[int, int]:
    return triton.cdiv(batch, ROWS), hidden // COLUMNS


def _sizes(hidden: int) -> dict[str, int]:
    # Two stages of loads, or the backward pass would not fit into the shared memory of smaller GPUs.
    return {"hidden": hidden, "height": ROWS, "width": COLUMNS, "depth": DEPTH, "num_stages": 2}

"""GRU over a sequence with resets at any step; the most expensive operator of the update.

PyTorch's equations (`torch.nn.GRU`), with the state multiplied by `1 - starts[t]` before step t:

    r = sigmoid(W_ir x + b_ir + W_hr h + b_hr)
    z = sigmoid(W_iz x + b_iz + W_hz h + b_hz)
    n = tanh(W_in x + b_in + r (W_hn h + b_hn))
    h' = (1 - z) n + z h

The input projection of all steps is one matrix product, and so is each weight gradient in the backward
pass; only `[B, H] x [H, 3H]` remains inside the time loop. On a CPU that loop is compiled code
(`compiled_gru.py`), on a GPU a kernel (`warp_gru.py`). `benchmarks/gru.py` compares the alternatives.
"""

from __future__ import annotations

import math
from typing import Any, overload

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from legged_ppo.models.halves import Features, HalvedLinear, Halves
from legged_ppo.models.linear import product, weight_gradient
from legged_ppo.models.recurrence import recurrence_for


class GRULayer(torch.autograd.Function):
    """Autograd function of one layer over a sequence."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: torch.Tensor,  # [T, B, I]
        state: torch.Tensor,  # [B, H]
        keep: torch.Tensor,  # [T, B, 1], 1 - starts
        weight_ih: torch.Tensor,  # [3H, I]
        weight_hh: torch.Tensor,  # [3H, H]
        bias: torch.Tensor,  # [3H], b_i (+ b_hr, b_hz)
        bias_n: torch.Tensor,  # [H], b_hn
        parts: int | None = 1,  # see `recurrence_for`
    ) -> torch.Tensor:
        """Outputs [T, B, H] of T steps."""
        projected = _projected(inputs, weight_ih, bias)
        compiled = recurrence_for(inputs, state.shape[1], parts)
        record = _record if compiled is None else compiled.record
        outputs, *kept = record(projected, state, keep, weight_hh, bias_n)
        ctx.compiled = compiled
        ctx.save_for_backward(inputs, keep, weight_ih, weight_hh, *kept)
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradients of the arguments of `forward`, from that of its outputs [T, B, H]."""
        inputs, keep, weight_ih, weight_hh, previous, n, gates = ctx.saved_tensors
        steps, batch, hidden = previous.shape
        differentiate = _gradients if ctx.compiled is None else ctx.compiled.gradients
        rolled = torch.cat([weight_hh[2 * hidden :], weight_hh[: 2 * hidden]])  # rows n, r, z
        grads, d_state = differentiate(grad_outputs, keep, rolled, previous, n, gates)
        flat = grads.view(steps * batch, 4 * hidden)
        d_inputs = None
        if ctx.needs_input_grad[0]:
            d_inputs = product(flat[:, hidden:], weight_ih.t()).view_as(inputs)
        d_rolled = weight_gradient(flat[:, : 3 * hidden], previous.view(-1, hidden))
        d_weight_hh = torch.cat([d_rolled[hidden:], d_rolled[:hidden]])
        d_weight_ih = weight_gradient(flat[:, hidden:], inputs.reshape(steps * batch, -1))
        d_bias_n, d_bias = flat.sum(0).split([hidden, 3 * hidden])
        return d_inputs, d_state, None, d_weight_ih, d_weight_hh, d_bias, d_bias_n, None


def _record(
    projected: torch.Tensor,
    state: torch.Tensor,
    keep: torch.Tensor,
    weight_hh: torch.Tensor,
    bias_n: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """`CompiledGRU.record` on any device."""
    steps, batch, _ = projected.shape
    hidden = state.shape[1]
    previous, candidates, outputs = projected.new_empty(3, steps, batch, hidden)
    # r, z and W_hn h + b_hn side by side, so that each step is one product added in place.
    gates = projected.clone()
    gates[..., 2 * hidden :] = bias_n
    for t in range(steps):
        h = torch.mul(state, keep[t], out=previous[t])
        gates[t].addmm_(h, weight_hh.t())
        gates[t, :, : 2 * hidden].sigmoid_()
        r, z, hn = gates[t].split(hidden, dim=1)
        n = torch.addcmul(projected[t, :, 2 * hidden :], r, hn, out=candidates[t])
        state = torch.lerp(_tanh_(n), h, z, out=outputs[t])
    return outputs, previous, candidates, gates


def _gradients(
    grad_outputs: torch.Tensor,
    keep: torch.Tensor,
    rolled: torch.Tensor,
    previous: torch.Tensor,
    n: torch.Tensor,
    gates: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """`CompiledGRU.gradients` on any device."""
    steps, batch, hidden = previous.shape
    r, z, recurrent_n = gates.split(hidden, dim=-1)
    factors = _gradient_factors(previous, n, r, z, recurrent_n)
    grads = torch.empty_like(factors)
    d_state = grad_outputs.new_zeros(batch, hidden)
    for t in range(steps - 1, -1, -1):
        dh = grad_outputs[t] + d_state
        torch.mul(factors[t], dh.unsqueeze(1), out=grads[t])
        products = grads[t].view(batch, 4 * hidden)[:, : 3 * hidden]
        d_state = dh.mul_(z[t]).addmm_(products, rolled).mul_(keep[t])
    return grads, d_state


def _gradient_factors(
    previous: torch.Tensor,
    n: torch.Tensor,
    r: torch.Tensor,
    z: torch.Tensor,
    recurrent_n: torch.Tensor,
) -> torch.Tensor:
    """Factors of the incoming gradient of h' for all steps at once, [T, B, 4, H]."""
    factors = n.new_empty(*n.shape[:2], 4, n.shape[2])
    d_hn, d_r, d_z, d_n = factors.unbind(2)
    torch.mul(1.0 - z, torch.addcmul(torch.ones_like(n), n, n, value=-1.0), out=d_n)
    torch.mul(d_n, r, out=d_hn)
    torch.mul(d_hn, (1.0 - r).mul_(recurrent_n), out=d_r)
    torch.mul(previous - n, torch.addcmul(z, z, z, value=-1.0), out=d_z)
    return factors


class GRU(nn.Module):
    """A stack of GRU layers as a pure function of input, state and episode starts.

    The parameters have the names and the layout of `torch.nn.GRU`, so weights load in both directions.

    Attributes:
        halved: each layer's input and recurrent weights between parts, where it takes features in parts.
        commutes: whether the recurrent weights equal themselves with the halves of state and gates exchanged.
        fused: on a GPU, whether kernels compute the recurrence where there are some.
    """

    halved: list[tuple[HalvedLinear, HalvedLinear]] | None = None
    commutes = False
    fused = True

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1) -> None:
        super().__init__()
        self.hidden_size, self.num_layers = hidden_size, num_layers
        for layer in range(num_layers):
            width = input_size if layer == 0 else hidden_size
            for name, shape in (
                ("weight_ih", (3 * hidden_size, width)),
                ("weight_hh", (3 * hidden_size, hidden_size)),
                ("bias_ih", (3 * hidden_size,)),
                ("bias_hh", (3 * hidden_size,)),
            ):
                self.register_parameter(f"{name}_l{layer}", nn.Parameter(torch.empty(shape)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Orthogonal recurrent blocks, scaled uniform input weights, biases zero."""
        for name, parameter in self.named_parameters():
            if name.startswith("weight_hh"):
                for block in parameter.data.split(self.hidden_size):
                    nn.init.orthogonal_(block)
            elif name.startswith("weight_ih"):
                nn.init.kaiming_uniform_(parameter, a=math.sqrt(5))
            else:
                nn.init.zeros_(parameter)

    @overload
    def forward(
        self, inputs: torch.Tensor, state: torch.Tensor, starts: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]: ...
    @overload
    def forward(
        self, inputs: Halves, state: torch.Tensor, starts: torch.Tensor
    ) -> tuple[Halves, torch.Tensor]: ...
    def forward(
        self, inputs: Features, state: torch.Tensor, starts: torch.Tensor
    ) -> tuple[Features, torch.Tensor]:
        """Run T steps.

        Args:
            inputs: [T, B, I]; of features in parts, the outputs are parts too.
            state: [layers, B, H], before the first step.
            starts: [T, B] bool, true where the input is the first of an episode; the state is
                zeroed there before the step.

        Returns:
            outputs [T, B, H] and the state [layers, B, H] after the last step.
        """
        keep = (~starts).unsqueeze(-1)
        if isinstance(inputs, Halves):
            return self._of_parts(inputs, state, keep)
        dtype, device = inputs.dtype, inputs.device.type
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
        kernel_parts = (2 if self.commutes else 1) if self.fused else None
        layer_: Any = GRULayer.apply if torch.is_grad_enabled() else _run
        outputs: torch.Tensor = inputs
        after = []
        for layer in range(self.num_layers):
            weight_ih, weight_hh, bias_ih, bias_hh = self.parameters_of(layer)
            bias_gates, bias_n = bias_hh.split([2 * self.hidden_size, self.hidden_size])
            bias = bias_ih + nn.functional.pad(bias_gates, (0, self.hidden_size))
            arguments = (outputs, state[layer], keep, weight_ih, weight_hh, bias, bias_n)
            outputs = layer_(*(x.to(dtype) for x in arguments), kernel_parts)
            after.append(outputs[-1].float())
        return outputs, torch.stack(after)

    def _of_parts(
        self, inputs: Halves, state: torch.Tensor, keep: torch.Tensor
    ) -> tuple[Halves, torch.Tensor]:
        # Here, because other devices need no LLVM.
        from legged_ppo.models.halved_layers import HalvedGRU

        assert self.halved is not None
        parts, after = inputs.parts, []
        keep = keep.to(parts.dtype)
        for (ih, hh), before in zip(self.halved, state, strict=True):
            memory = hh.inputs
            weights = (
                *(ih.transposed, ih.weights, ih.bias),
                *(hh.transposed, hh.weights, hh.bias),
            )
            parts = HalvedGRU.apply(parts, memory.split(before).parts, keep, *weights, ih.shapes)
            after.append(memory.whole(Halves(parts[-1], memory.even)))
        return Halves(parts, memory.even), torch.stack(after)

    def parameters_of(self, layer: int) -> list[nn.Parameter]:
        """weight_ih, weight_hh, bias_ih and bias_hh of a layer."""
        return [
            getattr(self, f"{name}_l{layer}")
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        ]


def _run(
    inputs: torch.Tensor,
    state: torch.Tensor,
    keep: torch.Tensor,
    weight_ih: torch.Tensor,
    weight_hh: torch.Tensor,
    bias: torch.Tensor,
    bias_n: torch.Tensor,
    parts: int | None,
) -> torch.Tensor:
    """`GRULayer.forward` without saving tensors for the backward pass."""
    whole = _projected(inputs, weight_ih, bias)
    compiled = recurrence_for(inputs, state.shape[1], parts)
    if compiled is not None:
        return compiled.outputs(whole, state, keep, weight_hh, bias_n)
    gates = 2 * state.shape[1]
    bias_products = nn.functional.pad(bias_n, (gates, 0))
    outputs = []
    for t, projected in enumerate(whole):
        h = state * keep[t]
        products = product(h, weight_hh, bias_products)
        r, z = (projected[:, :gates] + products[:, :gates]).sigmoid_().chunk(2, dim=1)
        n = torch.addcmul(projected[:, gates:], r, products[:, gates:])
        state = torch.lerp(_tanh_(n), h, z)
        outputs.append(state)
    return torch.stack(outputs)


def _projected(inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """W_i x + b of all steps at once, [T, B, 3H]."""
    return product(inputs.flatten(0, 1), weight, bias).view(*inputs.shape[:2], -1)


def _tanh_(x: torch.Tensor) -> torch.Tensor:
    """tanh in place; on a CPU as 2 sigmoid(2x) - 1, three times as fast as torch's and equal to 1e-7."""
    if x.device.type != "cpu":
        return x.tanh_()
    return x.mul_(2.0).sigmoid_().mul_(2.0).sub_(1.0)

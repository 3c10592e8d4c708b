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

from legged_ppo.models import gru_operators
from legged_ppo.models.halves import Features, HalvedLinear, Halves
from legged_ppo.models.linear import product, weight_gradient
from legged_ppo.models.recurrence import recurrence_for
from legged_ppo.runtime.lanes.use import is_recorded


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
        record = gru_operators.record if compiled is None else compiled.record
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
        compiled = ctx.compiled
        differentiate = gru_operators.gradients if compiled is None else compiled.gradients
        grads, d_state = differentiate(grad_outputs, keep, weight_hh, previous, n, gates)
        flat = grads.view(steps * batch, 4 * hidden)
        d_inputs = None
        if ctx.needs_input_grad[0]:
            d_inputs = product(flat[:, hidden:], weight_ih.t()).view_as(inputs)
        d_rolled = weight_gradient(flat[:, : 3 * hidden], previous.view(-1, hidden))
        d_weight_hh = torch.cat([d_rolled[hidden:], d_rolled[:hidden]])
        d_weight_ih = weight_gradient(flat[:, hidden:], inputs.reshape(steps * batch, -1))
        d_bias_n, d_bias = flat.sum(0).split([hidden, 3 * hidden])
        return d_inputs, d_state, None, d_weight_ih, d_weight_hh, d_bias, d_bias_n, None


class GRU(nn.Module):
    """A stack of GRU layers as a pure function of input, state and episode starts.

    The parameters have the names and the layout of `torch.nn.GRU`, so weights load in both directions.

    Attributes:
        halved: each layer's input and recurrent weights between parts, where it takes features in parts.
        commutes: whether the recurrent weights equal themselves with the halves of state and gates exchanged.
            Other weights (`load_state_dict`) need not: `Equivariance.project` says so anew.
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
        self.register_load_state_dict_post_hook(_forget_symmetry)

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

        Raises:
            ValueError: a shape or a device that is none of these.
        """
        if not is_recorded():
            self._check(inputs, state, starts)
        keep = (~starts).unsqueeze(-1)
        if isinstance(inputs, Halves):
            return self._of_parts(inputs, state, keep)
        dtype, device = inputs.dtype, inputs.device.type
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
        kernel_parts = (2 if self.commutes else 1) if self.fused else None
        outputs: torch.Tensor = inputs
        after = []
        for layer in range(self.num_layers):
            weight_ih, weight_hh, bias_ih, bias_hh = self.parameters_of(layer)
            bias_gates, bias_n = bias_hh.split([2 * self.hidden_size, self.hidden_size])
            bias = bias_ih + nn.functional.pad(bias_gates, (0, self.hidden_size))
            arguments = (outputs, state[layer], keep, weight_ih, weight_hh, bias, bias_n)
            learns = torch.is_grad_enabled() and any(x.requires_grad for x in arguments)
            layer_: Any = GRULayer.apply if learns else _run
            outputs = layer_(*(x.to(dtype) for x in arguments), kernel_parts)
            after.append(outputs[-1].float())
        return outputs, torch.stack(after)

    def _check(self, inputs: Features, state: torch.Tensor, starts: torch.Tensor) -> None:
        """Compiled code and kernels read memory by these sizes."""
        features = inputs.parts if isinstance(inputs, Halves) else inputs
        steps, batch, device = *features.shape[:2], features.device
        wanted = (self.num_layers, batch, self.hidden_size)
        for name, found, shape in (("state", state, wanted), ("starts", starts, (steps, batch))):
            if found.shape != shape or found.device != device:
                expected = f"{list(shape)} on {device}"
                raise ValueError(
                    f"a GRU of these inputs needs {name} {expected}, not {list(found.shape)} on {found.device}"
                )

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


def _forget_symmetry(gru: GRU, _: object) -> None:
    """Other weights need not commute with the mirror."""
    gru.commutes = False


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
    outputs = gru_operators.outputs if compiled is None else compiled.outputs
    return outputs(whole, state, keep, weight_hh, bias_n)


def _projected(inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """W_i x + b of all steps at once, [T, B, 3H]."""
    return product(inputs.flatten(0, 1), weight, bias).view(*inputs.shape[:2], -1)

"""Activations by the names of `policy.activation`."""

from __future__ import annotations

import torch
from torch import nn

from legged_ppo.runtime.lanes.use import compiles_for


class ELU(nn.ELU):
    """`torch.nn.ELU` with alpha 1; on a CPU compiled, equal to torch's to 2e-7."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of any shape."""
        if not compiles_for(x):
            return super().forward(x)
        # Here, because other devices need no LLVM.
        from legged_ppo.models.compiled_elu import compiled_elu

        y = compiled_elu(x)
        return super().forward(x) if y is None else y


ACTIVATIONS: dict[str, type[nn.Module]] = {
    "elu": ELU,
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
}

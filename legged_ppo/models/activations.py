"""Activations by the names of `policy.activation`, of features or of their even and odd parts."""

from __future__ import annotations

from typing import Any, overload

import torch
from torch import nn

from legged_ppo.models.halves import Features, Halves
from legged_ppo.runtime.lanes.use import compiles_for


class _OfSides:
    """An activation that is applied to the sides of parts."""

    @overload
    def forward(self, x: torch.Tensor) -> torch.Tensor: ...
    @overload
    def forward(self, x: Halves) -> Halves: ...
    def forward(self, x: Features) -> Features:
        """Of any shape."""
        function: Any = super()
        return x.by_sides(function.forward) if isinstance(x, Halves) else function.forward(x)


class ELU(_OfSides, nn.ELU):
    """`torch.nn.ELU` with alpha 1; on a CPU compiled, equal to torch's to 2e-7."""

    def forward(self, x: Any) -> Any:
        """Of any shape."""
        numbers, parts = (x.parts, 2) if isinstance(x, Halves) else (x, 1)
        if not compiles_for(numbers):
            return super().forward(x)
        # Here, because other devices need no LLVM.
        from legged_ppo.models.compiled_elu import compiled_elu

        y = compiled_elu(numbers, parts)
        if y is None:
            return super().forward(x)
        return y if parts == 1 else Halves(y, x.even)


class ReLU(_OfSides, nn.ReLU):
    """`torch.nn.ReLU`."""


class Tanh(_OfSides, nn.Tanh):
    """`torch.nn.Tanh`."""


class SiLU(_OfSides, nn.SiLU):
    """`torch.nn.SiLU`."""


ACTIVATIONS: dict[str, type[nn.Module]] = {"elu": ELU, "relu": ReLU, "tanh": Tanh, "silu": SiLU}

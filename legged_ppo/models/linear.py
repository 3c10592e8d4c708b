"""Matrix products of the networks and of their gradients.

On a CPU the large ones are compiled code (`compiled_product.py`), all others PyTorch's. `benchmarks/products.py`
compares them.
"""

from __future__ import annotations

from typing import Any, overload

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from legged_ppo.models.halves import Features, HalvedLinear, Halves
from legged_ppo.runtime.lanes.use import compiles_for

_CALL_COST = 2**22
"""Multiplications below which PyTorch's product, which is called at less cost, is as fast"""


def product(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """x [M, K] weight^T [K, N] + bias [N], outside autograd."""
    if not _is_compiled(x, len(weight)):
        return nn.functional.linear(x, weight, bias)
    # Here, because other devices need no LLVM.
    from legged_ppo.models.compiled_product import compiled_product

    return compiled_product(x, weight, bias)


def weight_gradient(gradients: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """gradients^T [N, M] x [M, K], outside autograd."""
    if not _is_compiled(x, gradients.shape[1]) or gradients.stride(-1) != 1:
        return nn.functional.linear(gradients.t(), x.t())
    from legged_ppo.models.compiled_product import compiled_weight_gradient

    return compiled_weight_gradient(gradients, x)


class Linear(nn.Linear):
    """`torch.nn.Linear` with these products in the forward and backward pass.

    Attributes:
        halved: the layer between even and odd parts, where it takes features in parts.
    """

    halved: HalvedLinear | None = None

    @overload
    def forward(self, x: torch.Tensor) -> torch.Tensor: ...
    @overload
    def forward(self, x: Halves) -> Halves: ...
    def forward(self, x: Features) -> Features:
        """[..., K] to [..., N]; of features in parts, parts of the outputs."""
        if isinstance(x, Halves):
            return self._of_parts(x)
        rows = x.reshape(-1, x.shape[-1])
        if torch.is_autocast_enabled(x.device.type) or not _is_compiled(rows, self.out_features):
            return super().forward(x)
        y: torch.Tensor = _Linear.apply(rows, self.weight, self.bias)
        return y.view(*x.shape[:-1], -1)

    def of(self, x: Features) -> torch.Tensor:
        """The outputs [..., N] themselves, of features in parts too."""
        y = self(x)
        if not isinstance(y, Halves):
            return y
        assert self.halved is not None
        return self.halved.outputs.whole(y)

    def _of_parts(self, x: Halves) -> Halves:
        # Here, because other devices need no LLVM.
        from legged_ppo.models.halved_layers import HalvedProduct

        assert self.halved is not None
        parts, layer = x.parts, self.halved
        y = HalvedProduct.apply(
            parts.flatten(0, -2), layer.transposed, layer.weights, layer.bias, layer.shapes
        )
        return Halves(y.view(*parts.shape[:-1], -1), layer.outputs.even)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        return product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        d_x = product(grad, weight.t()) if ctx.needs_input_grad[0] else None
        d_bias = grad.sum(0) if ctx.needs_input_grad[2] else None
        d_weight = weight_gradient(grad, x) if ctx.needs_input_grad[1] else None
        return d_x, d_weight, d_bias


def _is_compiled(x: torch.Tensor, columns: int) -> bool:
    """Whether compiled code multiplies x [M, K] by a table of so many columns."""
    return x.numel() * columns >= _CALL_COST and x.stride(-1) == 1 and compiles_for(x)

"""Matrix products of the networks, each by the faster of the libraries that PyTorch ships.

On CPUs PyTorch computes float32 products with MKL, which uses only AVX2 on AMD processors. oneDNN, in the same
package, uses AVX-512 where available and takes half the time (`benchmarks/products.py`). Therefore oneDNN
computes the larger products on AMD processors with AVX-512; all others use PyTorch's default.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from legged_ppo.runtime.cpu import has_avx512, is_amd
from legged_ppo.runtime.lanes.use import is_recorded

_CALL_COST = 2**20
"""Multiplications below which the call overhead of oneDNN outweighs its speed"""


def product(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """x [M, K] weight^T [K, N] + bias [N], outside autograd; rows of x are contiguous."""
    if _by_onednn(x, weight):
        return product_by_onednn(x, weight, bias)
    return nn.functional.linear(x, weight, bias)


def product_by_onednn(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """`product` by the oneDNN operator that torch.compile uses for linear layers; it has no public name."""
    result: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return result


def add_product_(total: torch.Tensor, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """total [M, N] += x [M, K] weight^T [K, N], in place, outside autograd."""
    return total.add_(product(x, weight)) if _by_onednn(x, weight) else total.addmm_(x, weight.t())


def transposed(x: torch.Tensor) -> torch.Tensor:
    """x^T in the memory layout that `product` requires of its first argument; x is contiguous."""
    return x.t().contiguous() if PREFER_ONEDNN and x.device.type == "cpu" else x.t()


class Linear(nn.Linear):
    """`torch.nn.Linear` with `product` in the forward and backward pass."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[..., K] to [..., N]."""
        rows = x.reshape(-1, x.shape[-1])
        if torch.is_autocast_enabled(x.device.type) or not _by_onednn(rows, self.weight):
            return super().forward(x)
        y: torch.Tensor = _Linear.apply(rows, self.weight, self.bias)
        return y.view(*x.shape[:-1], -1)


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
        grad = grad.contiguous()
        d_x = product(grad, weight.t()) if ctx.needs_input_grad[0] else None
        d_bias = grad.sum(0) if ctx.needs_input_grad[2] else None
        return d_x, product(transposed(grad), x.t()), d_bias


def _by_onednn(x: torch.Tensor, weight: torch.Tensor) -> bool:
    return (
        PREFER_ONEDNN
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.stride(-1) == 1
        and x.shape[0] * weight.numel() >= _CALL_COST
        and not is_recorded()
    )


PREFER_ONEDNN = (
    torch.backends.mkldnn.is_available()
    and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    and is_amd()
    and has_avx512()
)

"""The products of `models/product_kernels.py` on tensors."""

from __future__ import annotations

import functools

import torch

from legged_ppo.models.product_kernels import (
    PRODUCT,
    WEIGHT_GRADIENT,
    block_sizes,
    product_object,
)
from legged_ppo.runtime.lanes.functions import KernelFunctions
from legged_ppo.runtime.lanes.target import host


def compiled_product(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    """x [M, K] weight^T [K, N] + bias [N]; a row of x lies in one piece."""
    functions, block = _functions()
    width, length = weight.shape
    y = x.new_empty(len(x), width)
    if bias is None:
        bias = x.new_zeros(width)
    numbers = (length, width, x.stride(0))
    tables = (x, weight.t().contiguous(), bias, y)
    functions.run(PRODUCT, tables, len(x), numbers, block)
    return y


def compiled_weight_gradient(gradients: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """gradients^T [N, M] x [M, K]; a row of either lies in one piece."""
    functions, block = _functions()
    width = x.shape[1]
    sums = x.new_zeros(gradients.shape[1], width)
    numbers = (len(x), width, gradients.stride(0), x.stride(0))
    functions.run(WEIGHT_GRADIENT, (gradients, x, sums), len(sums), numbers, block)
    return sums


def _functions() -> tuple[KernelFunctions, int]:
    return functions_of(host().lanes)


@functools.cache
def functions_of(lanes: int) -> tuple[KernelFunctions, int]:
    """The functions for registers of so many numbers, and the rows that are best multiplied together."""
    target = host()
    code = product_object(lanes, target)
    return KernelFunctions(code, target, (PRODUCT, WEIGHT_GRADIENT)), block_sizes(lanes)[0]

"""The products of `models/product_kernels.py` on tensors."""

from __future__ import annotations

import functools

import torch

from legged_ppo.models import product_kernels
from legged_ppo.models.product_kernels import PRODUCT, WEIGHT_GRADIENT, block_sizes
from legged_ppo.runtime.lanes.functions import KernelFunctions, compiled_functions
from legged_ppo.runtime.lanes.target import host

Shapes = tuple[int, int, int, int]
"""Rows and columns of the table of the even parts, and of that of the odd ones."""


def compiled_product(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    """x [M, K] weight^T [K, N] + bias [N]; a row of x lies in one piece."""
    width, length = weight.shape
    return product_of_parts(x, weight.t().contiguous(), (length, width, 0, 0), bias)


def compiled_weight_gradient(gradients: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """gradients^T [N, M] x [M, K]; a row of either lies in one piece."""
    shape = gradients.shape[1], x.shape[1]
    return gradient_of_parts(gradients, x, (*shape, 0, 0)).view(shape)


def product_of_parts(
    x: torch.Tensor,
    tables: torch.Tensor,
    shapes: Shapes,
    bias: torch.Tensor | None = None,
    odd: int | None = None,
) -> torch.Tensor:
    """The even parts of x times their table and the odd ones times theirs, [M, N' + N''].

    Args:
        x: [M, K' + K''], a row in one piece.
        tables: [K' N' + K'' N''].
        bias: [N' + N''].
        odd: column of x where the odd parts begin; None: K'.
    """
    functions, block = _functions()
    length, width, _, more = shapes
    y = x.new_empty(len(x), width + more)
    added = x.new_zeros(width + more) if bias is None else bias.contiguous()
    numbers = (*shapes, x.stride(0), y.stride(0), length if odd is None else odd)
    functions.run(PRODUCT, (x, tables, added, y), len(x), numbers, block)
    return y


def gradient_of_parts(
    a: torch.Tensor, b: torch.Tensor, shapes: Shapes, odd: int | None = None
) -> torch.Tensor:
    """a^T b of the even parts and of the odd ones, [K' N' + K'' N''].

    Args:
        a: [M, K' + K''], a row in one piece; b: [M, N' + N''], the same.
        odd: column of b where the odd parts begin; None: N'.
    """
    functions, block = _functions()
    length, width, more_length, more_width = shapes
    sums = a.new_zeros(length * width + more_length * more_width)
    numbers = (
        *(len(a), length, width, more_width, a.stride(0), b.stride(0)),
        *(length, width if odd is None else odd),
    )
    functions.run(WEIGHT_GRADIENT, (a, b, sums), length + more_length, numbers, block)
    return sums


def _functions() -> tuple[KernelFunctions, int]:
    return functions_of(host().lanes)


@functools.cache
def functions_of(lanes: int) -> tuple[KernelFunctions, int]:
    """The functions for registers of so many numbers, and the rows that are best multiplied together."""
    emit, names = product_kernels.emit_products, (PRODUCT, WEIGHT_GRADIENT)
    functions = compiled_functions(emit, names, product_kernels.__file__, lanes)
    return functions, block_sizes(lanes)[0]

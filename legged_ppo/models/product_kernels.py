"""LLVM IR of the matrix products of an update: rows times weights, and the gradient of weights.

A block of rows meets a few vectors of columns whose sums stay in registers, so each number that is read from
the caches takes part in several products. Rows may be parts of longer ones, and no operand is transposed in
memory: a table [M, 512] read down its columns costs several times its product where 512 rows share a cache set.
A sum is in the same order whatever block its row is in, so bits do not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from legged_ppo.runtime.lanes.kernel import Floats, Kernel
from legged_ppo.runtime.lanes.object_code import cached_object
from legged_ppo.runtime.lanes.target import Target
from legged_ppo.runtime.lanes.values import I32, IndexValue, MaskValue

PRODUCT, WEIGHT_GRADIENT = "product", "weight_gradient"
_PANEL = 128
"""Samples whose columns stay in the first cache while all rows of a gradient meet them"""
VECTORS = 3
"""Vectors of columns that are summed together"""


def product_object(lanes: int, target: Target) -> bytes:
    """Object code of both functions."""

    def emit() -> str:
        m = Kernel(lanes, target.triple)
        _emit_product(m)
        _emit_weight_gradient(m)
        return str(m.module)

    return cached_object(("product", lanes), [Path(__file__)], emit, target)


def block_sizes(lanes: int) -> list[int]:
    """Rows that are multiplied together: their sums, three vectors each, fill the registers."""
    return [8, 4, 2, 1] if lanes == 16 else [4, 2, 1]


def _emit_product(m: Kernel) -> None:
    """The function of (x [M, K], weights [K, N], bias [N], y [M, N]) and of K, N and the stride of x's rows."""

    def body(
        tables: Sequence[Floats], numbers: Sequence[IndexValue], first: IndexValue, last: IndexValue
    ) -> None:
        x, weights, bias, y = tables
        length, width, x_stride, _ = numbers
        for column, count in _panels(m, width):
            masks = _masks(m, column, count, width)
            for row, size in m.blocks(first, last, block_sizes(m.lanes)):
                rows = [row + i for i in range(size)]
                initial = [bias.vector(column + i * m.lanes, mask) for i, mask in enumerate(masks)]
                sums = [[m.variable(value) for value in initial] for _ in rows]
                at = [r * x_stride for r in rows]
                for k in m.loop(length):
                    place = k * width + column
                    columns = [
                        weights.vector(place + i * m.lanes, mask) for i, mask in enumerate(masks)
                    ]
                    for a, own in zip(at, sums, strict=True):
                        number = x.number(a + k)
                        for total, each in zip(own, columns, strict=True):
                            total.value = number * each + total.value
                for r, own in zip(rows, sums, strict=True):
                    for i, (total, mask) in enumerate(zip(own, masks, strict=True)):
                        y.store(r * width + column + i * m.lanes, total.value, mask)

    m.function(PRODUCT, 4, 3, body)


def _emit_weight_gradient(m: Kernel) -> None:
    """The function of (gradients [M, N], x [M, K], sums [N, K], to which gradients^T x is added) and of M, K and
    the strides of the rows of gradients and x; its rows are those of the sums."""

    def body(
        tables: Sequence[Floats], numbers: Sequence[IndexValue], first: IndexValue, last: IndexValue
    ) -> None:
        gradients, x, sums = tables
        samples, width, g_stride, x_stride, _ = numbers
        for begin in m.loop(samples, step=_PANEL):
            end = m.smaller(begin + _PANEL, samples)
            for column, count in _panels(m, width):
                masks = _masks(m, column, count, width)
                for row, size in m.blocks(first, last, block_sizes(m.lanes)):
                    places = [
                        [(row + r) * width + column + i * m.lanes for i in range(count)]
                        for r in range(size)
                    ]
                    totals = [
                        [m.variable(sums.vector(p, k)) for p, k in zip(own, masks, strict=True)]
                        for own in places
                    ]
                    for sample in m.loop(end, begin):
                        own = sample * x_stride + column
                        values = [x.vector(own + i * m.lanes, k) for i, k in enumerate(masks)]
                        at = sample * g_stride + row
                        for r, some in enumerate(totals):
                            number = gradients.number(at + r)
                            for total, value in zip(some, values, strict=True):
                                total.value = number * value + total.value
                    for own_places, some in zip(places, totals, strict=True):
                        for p, total, k in zip(own_places, some, masks, strict=True):
                            sums.store(p, total.value, k)

    m.function(WEIGHT_GRADIENT, 3, 4, body)


def _panels(m: Kernel, width: IndexValue) -> Iterator[tuple[IndexValue, int]]:
    """Loops over columns, three vectors at a time, then two or one if no more are left; the last vector of all
    may be longer than what is left."""
    start = IndexValue(m, I32(0))
    for count in range(VECTORS, 0, -1):
        step = count * m.lanes
        left = m.builder.sub((width + (m.lanes - count * m.lanes)).code, start.code)
        steps = m.builder.sdiv(m.builder.add(left, I32(step - 1)), I32(step))
        stop = start + IndexValue(m, steps) * step
        for column in m.loop(stop, start, step):
            yield column, count
        start = stop


def _masks(m: Kernel, column: IndexValue, count: int, width: IndexValue) -> list[MaskValue | None]:
    """Of a panel's vectors: None but for the last, of which those lanes count that are columns."""
    last = column + (count - 1) * m.lanes
    return [None] * (count - 1) + [
        m.first_lanes(IndexValue(m, m.builder.sub(width.code, last.code)))
    ]

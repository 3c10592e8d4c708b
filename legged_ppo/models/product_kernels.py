"""LLVM IR of the matrix products of an update: rows times weights, and the gradient of weights.

A block of rows meets a few vectors of columns whose sums stay in registers, so each number that is read from
the caches takes part in several products. Rows may be parts of longer ones, and no operand is transposed in
memory: a table [M, 512] read down its columns costs several times its product where 512 rows share a cache set.
A sum is in the same order whatever block its row is in, so bits do not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from legged_ppo.runtime.lanes.kernel import Floats, Kernel
from legged_ppo.runtime.lanes.values import I32, IndexValue, MaskValue

PRODUCT, WEIGHT_GRADIENT = "product", "weight_gradient"
_PANEL = 128
"""Samples whose columns stay in the first cache while all rows of a gradient meet them"""
_VECTORS = 3
"""Vectors of columns that are summed together"""


def emit_products(m: Kernel) -> None:
    """Add both functions."""
    _emit_product(m)
    _emit_weight_gradient(m)


def block_sizes(lanes: int) -> list[int]:
    """Rows that are multiplied together: their sums, three vectors each, fill the registers."""
    return [8, 4, 2, 1] if lanes == 16 else [4, 2, 1]


def _emit_product(m: Kernel) -> None:
    """The function of (x [M, K], weights [K, N], bias [N], y [M, N]) and of K, N, the sizes K'' and N'' of a
    second product, the strides of the rows of x and y, and the column of x where the second begins. Its weights
    follow those of the first, its results those of the first in each row."""

    def body(
        tables: Sequence[Floats], numbers: Sequence[IndexValue], first: IndexValue, last: IndexValue
    ) -> None:
        length, width, more_length, more_width, x_stride, y_stride, skip, _ = numbers
        rows, strides = (first, last), (x_stride, y_stride)
        _multiply(m, tables, (length, width), rows, strides)
        starts = (skip, length * width, width, width)
        second = [table.following(start) for table, start in zip(tables, starts, strict=True)]
        _multiply(m, second, (more_length, more_width), rows, strides)

    m.function(PRODUCT, 4, 7, body)


def _multiply(
    m: Kernel,
    tables: Sequence[Floats],
    sizes: tuple[IndexValue, IndexValue],
    rows: tuple[IndexValue, IndexValue],
    strides: tuple[IndexValue, IndexValue],
) -> None:
    """One of the products, of these rows."""
    x, weights, bias, y = tables
    length, width = sizes
    for column, count in _panels(m, width):
        masks = _masks(m, column, count, width)
        for row, size in m.blocks(*rows, block_sizes(m.lanes)):
            at = [(row + i) * strides[0] for i in range(size)]
            initial = [bias.vector(column + i * m.lanes, k) for i, k in enumerate(masks)]
            sums = [[m.variable(value) for value in initial] for _ in at]
            for k in m.loop(length):
                place = k * width + column
                columns = [weights.vector(place + i * m.lanes, k) for i, k in enumerate(masks)]
                for a, own in zip(at, sums, strict=True):
                    number = x.number(a + k)
                    for total, each in zip(own, columns, strict=True):
                        total.value = number * each + total.value
            for i, own in enumerate(sums):
                start = (row + i) * strides[1] + column
                for v, (total, mask) in enumerate(zip(own, masks, strict=True)):
                    y.store(start + v * m.lanes, total.value, mask)


def _emit_weight_gradient(m: Kernel) -> None:
    """The function of (a [M, K], b [M, N], sums [K, N], to which a^T b is added) and of M, K, N, the sizes K''
    and N'' of a second product, the strides of the rows of a and b, and the columns of a and b where the second
    begins. Its sums follow those of the first. The rows are those of the sums, K + K''."""

    def body(
        tables: Sequence[Floats], numbers: Sequence[IndexValue], first: IndexValue, last: IndexValue
    ) -> None:
        samples, length, width, more_width, a_stride, b_stride, a_skip, b_skip, _ = numbers
        strides = (a_stride, b_stride)
        rows = (m.smaller(first, length), m.smaller(last, length))
        _add_outer(m, tables, (samples, width), rows, strides)
        rows = (m.larger(first, length) - length, m.larger(last, length) - length)
        starts = (a_skip, b_skip, length * width)
        second = [table.following(start) for table, start in zip(tables, starts, strict=True)]
        _add_outer(m, second, (samples, more_width), rows, strides)

    m.function(WEIGHT_GRADIENT, 3, 8, body)


def _add_outer(
    m: Kernel,
    tables: Sequence[Floats],
    sizes: tuple[IndexValue, IndexValue],
    rows: tuple[IndexValue, IndexValue],
    strides: tuple[IndexValue, IndexValue],
) -> None:
    """These rows of one of the products."""
    a, b, sums = tables
    samples, width = sizes
    for begin in m.loop(samples, step=_PANEL):
        end = m.smaller(begin + _PANEL, samples)
        for column, count in _panels(m, width):
            masks = _masks(m, column, count, width)
            for row, size in m.blocks(*rows, block_sizes(m.lanes)):
                at = [(row + r) * width + column for r in range(size)]
                totals = [
                    [m.variable(sums.vector(p + i * m.lanes, k)) for i, k in enumerate(masks)]
                    for p in at
                ]
                for sample in m.loop(end, begin):
                    own = sample * strides[1] + column
                    values = [b.vector(own + i * m.lanes, k) for i, k in enumerate(masks)]
                    start = sample * strides[0] + row
                    for r, some in enumerate(totals):
                        number = a.number(start + r)
                        for total, value in zip(some, values, strict=True):
                            total.value = number * value + total.value
                for p, some in zip(at, totals, strict=True):
                    for i, (total, k) in enumerate(zip(some, masks, strict=True)):
                        sums.store(p + i * m.lanes, total.value, k)


def _panels(m: Kernel, width: IndexValue) -> Iterator[tuple[IndexValue, int]]:
    """Loops over columns, three vectors at a time, then two or one if no more are left; the last vector of all
    may be longer than what is left."""
    start = IndexValue(m, I32(0))
    for count in range(_VECTORS, 0, -1):
        step = count * m.lanes
        left = width - start - (count - 1) * m.lanes  # beyond the vectors that must be whole
        steps = m.builder.sdiv((left + (step - 1)).code, I32(step))
        stop = start + IndexValue(m, steps) * step
        for column in m.loop(stop, start, step):
            yield column, count
        start = stop


def _masks(m: Kernel, column: IndexValue, count: int, width: IndexValue) -> list[MaskValue | None]:
    """Of a panel's vectors: None but for the last, of which those lanes count that are columns."""
    last = column + (count - 1) * m.lanes
    return [None] * (count - 1) + [m.first_lanes(width - last)]

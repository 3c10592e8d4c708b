"""Rows of four numbers, a row for each lane, as four vectors with a number of each lane, and back.

Loads and stores of four numbers with shuffles between them are several times as fast as a gather or scatter of
each number. Four numbers fill 128 bits, the part of a register within which shuffles are fastest.
"""

from __future__ import annotations

from typing import Any

import llvmlite.ir as ir

ROW = 4
"""Numbers of a row."""
_I32 = ir.IntType(32)


def columns(builder: Any, rows: list[Any]) -> list[Any]:
    """Four vectors, each with one entry of all rows; the rows are <4 x float>, one for each lane."""
    return _transposed(builder, [_joined(builder, rows[i::ROW]) for i in range(ROW)])


def rows(builder: Any, columns: list[Any]) -> list[Any]:
    """The reverse."""
    by_row = _transposed(builder, columns)
    lanes = range(columns[0].type.count)
    starts = [lane - lane % ROW for lane in lanes]
    return [
        _picked(builder, by_row[lane % ROW], by_row[lane % ROW], list(range(start, start + ROW)))
        for lane, start in zip(lanes, starts, strict=True)
    ]


def _transposed(builder: Any, four: list[Any]) -> list[Any]:
    """Each 128-bit part of four vectors, as a 4x4 matrix."""
    count = four[0].type.count

    def interleaved(a: Any, b: Any, entries: list[int]) -> Any:
        """Entries 0 to 3 of a part are those of a, 4 to 7 those of b."""
        lanes = [(i // ROW) * count + i % ROW for i in entries]
        return _picked(builder, a, b, [s + i for s in range(0, count, ROW) for i in lanes])

    a, b, c, d = four
    result = []
    for entries in ([0, 4, 1, 5], [2, 6, 3, 7]):
        ab, cd = interleaved(a, b, entries), interleaved(c, d, entries)
        result += [interleaved(ab, cd, [0, 1, 4, 5]), interleaved(ab, cd, [2, 3, 6, 7])]
    return result


def _picked(builder: Any, a: Any, b: Any, lanes: list[int]) -> Any:
    """Entries of two vectors side by side."""
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_I32, len(lanes)), lanes))


def _joined(builder: Any, parts: list[Any]) -> Any:
    while len(parts) > 1:
        both = list(range(2 * parts[0].type.count))
        pairs = zip(parts[::2], parts[1::2], strict=True)
        parts = [_picked(builder, a, b, both) for a, b in pairs]
    return parts[0]

"""Tensors with a row for each robot, between which and the lanes the compiled code transposes in registers."""

from __future__ import annotations

from typing import Any

import llvmlite.ir as ir

from legged_ppo.runtime.lanes.transposes import ROW, columns, rows
from legged_ppo.runtime.lanes.values import F32, I32, Emitter, MaskValue, Value
from legged_ppo.sim.simd.layout import Layout

_I8 = ir.IntType(8)


class TensorRows:
    """The rows of one group of robots in tensors that lie one after another, [robots, length] of each name.

    Args:
        capacity, first: IR, the rows of each tensor and which of them is the group's first.
    """

    def __init__(self, m: Emitter, pointer: Any, layout: Layout, capacity: Any, first: Any) -> None:
        self._m, self._pointer, self._layout = m, pointer, layout
        self._capacity, self._first = capacity, first

    def write(self, name: str, values: list[Any]) -> None:
        """Fill the rows of a tensor of float32 with a number for each column."""
        m, builder = self._m, self._m.builder
        own, length = self._own(name, F32)
        for start in range(0, length, ROW):
            width = min(ROW, length - start)
            four = [m.vector(value) for value in values[start : start + width]]
            four += [m.vector(0.0)] * (ROW - width)
            for lane, row in enumerate(rows(builder, four)):
                self._store(own, lane * length + start, row, width)

    def write_flags(self, name: str, masks: list[MaskValue]) -> None:
        """Fill the rows of a tensor of bool with a mask for each column."""
        m, builder = self._m, self._m.builder
        own, length = self._own(name, _I8)
        bytes_type = ir.VectorType(_I8, m.lanes)
        for column, mask in enumerate(masks):
            flags = builder.zext(mask.code, bytes_type)
            if length == 1:
                builder.store(flags, own, align=1)
                continue
            for lane in range(m.lanes):
                place = builder.gep(own, [I32(lane * length + column)], source_etype=_I8)
                builder.store(builder.extract_element(flags, I32(lane)), place, align=1)

    def _own(self, name: str, kind: Any) -> tuple[Any, int]:
        """Pointer to the group's first row of a name, and the rows' length."""
        builder = self._m.builder
        start, length = self._layout.spans[name]
        before = builder.mul(self._capacity, I32(start))
        place = builder.add(before, builder.mul(self._first, I32(length)))
        return builder.gep(self._pointer, [place], source_etype=kind), length

    def _store(self, own: Any, place: int, row: Any, width: int) -> None:
        """The first numbers of a row of four: two together, then one."""
        builder = self._m.builder
        at = 0
        for size in (ROW, 2, 1):
            if width - at < size:
                continue
            address = builder.gep(own, [I32(place + at)], source_etype=F32)
            if size == 1:
                builder.store(builder.extract_element(row, I32(at)), address, align=4)
            else:
                lanes = ir.Constant(ir.VectorType(I32, size), list(range(at, at + size)))
                builder.store(builder.shuffle_vector(row, row, lanes), address, align=4)
            at += size


def read_rows(m: Emitter, pointer: Any, length: int, first: Any, last: Any) -> list[Value]:
    """The columns of a tensor of float32, [robots, length], for the group whose first row is `first`; lanes
    beyond row `last` read that one."""
    builder = m.builder
    own = []
    for lane in range(m.lanes):
        row = builder.add(first, I32(lane))
        row = builder.select(builder.icmp_signed("<", row, last), row, last)
        own.append(builder.gep(pointer, [builder.mul(row, I32(length))], source_etype=F32))
    values: list[Value] = []
    for start in range(0, length, ROW):
        fours = [_load(builder, row, start, min(ROW, length - start)) for row in own]
        values += [Value(m, code) for code in columns(builder, fours)]
    return values[:length]


def _load(builder: Any, row: Any, start: int, width: int) -> Any:
    """<4 x float> from an entry of a row on, of which only the first `width` are read."""
    four = ir.VectorType(F32, ROW)
    if width == ROW:
        address = builder.gep(row, [I32(start)], source_etype=F32)
        return builder.load(address, typ=four, align=4)
    result = ir.Constant(four, ir.Undefined)
    for i in range(width):
        address = builder.gep(row, [I32(start + i)], source_etype=F32)
        number = builder.load(address, typ=F32, align=4)
        result = builder.insert_element(result, number, I32(i))
    return result

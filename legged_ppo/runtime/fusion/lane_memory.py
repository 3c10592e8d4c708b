"""Loads and stores of a kernel: entries of tensors, for the lanes' robots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import llvmlite.ir as ir

from legged_ppo.runtime.fusion.codegen import Number, Place
from legged_ppo.runtime.fusion.lane_code import I1, LaneCode, suffix
from legged_ppo.runtime.fusion.rows import (
    BYTES,
    F32,
    I8,
    I32,
    I64,
    IN_MEMORY,
    ON_STACK,
    POINTER,
    Copied,
    RowCopies,
)
from legged_ppo.runtime.lanes.transposes import ROW as RECORD
from legged_ppo.runtime.lanes.transposes import columns

_HALVES = {"f": 1, "i": 2, "b": 1}
"""Vectors' entries in one of memory: the lower half of an integer comes first."""
_LONGEST_ROW = 64
"""Entries up to which a row is copied as a whole."""


class LaneMemory:
    """`Memory` of a robot in each lane."""

    def __init__(self, code: LaneCode) -> None:
        self._code = code
        self._tables: dict[int, Any] = {}
        self._row_offsets: dict[int, Any] = {}
        self._records: dict[tuple[int, Number], list[Number]] = {}
        self._row_copies = RowCopies(code.module, code.lanes)
        self._read_rows: dict[int, Any] = {}
        self._stored_rows = code.on_stack(I32, 1)
        code.builder.store(code.rows, self._stored_rows)

    def load(self, slot: int, kind: str, place: Place, row: int) -> Number:
        """Entries of the tensor at this position among the pointers.

        Args:
            row: entries of a robot, or of a table's row, if they lie side by side, else 0.
        """
        builder, stored = self._code.builder, ON_STACK[kind]
        if place.robot and not place.loop and not place.computed and 1 < row <= _LONGEST_ROW:
            return self._of_row(slot, kind, place, row)
        if kind == "f" and self._code.lanes >= 4 and row == RECORD and _is_record(place):
            return self._of_record(slot, place)
        base = self._base(slot, place, IN_MEMORY[kind])
        offsets = self._offsets(place, _HALVES[kind])
        if offsets is None:
            code = self._code.splat(builder.load(base, typ=stored, align=BYTES[kind]), stored)
        else:
            addresses = self._addresses(base, offsets, stored)
            result = ir.VectorType(stored, self._code.lanes)
            mask_type = self._code.type("b")
            types = [addresses.type, I32, mask_type, result]
            function = self._code.named(
                f"llvm.masked.gather.{suffix(result)}.v{self._code.lanes}p0", result, types
            )
            everywhere = self._code.filled(I1, True)
            nothing = self._code.filled(stored, 0)
            arguments = [addresses, I32(BYTES[kind] // _HALVES[kind]), everywhere, nothing]
            code = builder.call(function, arguments)
        return self._read(code, kind)

    def _read(self, code: Any, kind: str) -> Number:
        """What was read from memory or from the stack."""
        if kind == "b":
            code = self._code.builder.icmp_signed("!=", code, self._code.filled(I8, 0))
        return Number(code, kind)

    def _of_row(self, slot: int, kind: str, place: Place, row: int) -> Number:
        """An entry of the lanes' rows, which are read at the first one."""
        element = ON_STACK[kind]
        if slot not in self._read_rows:
            vectors = self._read_rows[slot] = self._code.on_stack(element, row)
            base = self._base(slot, Place(0, place.robot, 0), IN_MEMORY[kind])
            copied = Copied(vectors, self._stored_rows, base, row, place.robot)
            self._row_copies.copy(self._code.builder, "read", kind, copied)
        vector = ir.VectorType(element, self._code.lanes)
        address = self._code.builder.gep(
            self._read_rows[slot], [I32(place.fixed)], source_etype=vector
        )
        return self._read(self._code.builder.load(address, typ=vector), kind)

    def _of_record(self, slot: int, place: Place) -> Number:
        """One of four entries side by side, which are all read at the first one."""
        ((index, _),) = place.computed
        key = slot, index
        if key not in self._records:
            rows = []
            base = self._base(slot, Place(0, 0, 0), F32)
            starts, four = self._code.times(index.code, RECORD), ir.VectorType(F32, RECORD)
            for lane in range(self._code.lanes):
                start = self._code.builder.extract_element(starts, I32(lane))
                address = self._code.builder.gep(base, [start], source_etype=F32)
                rows.append(self._code.builder.load(address, typ=four, align=4))
            self._records[key] = [Number(code, "f") for code in columns(self._code.builder, rows)]
        return self._records[key][place.fixed]

    def store_row(self, slot: int, first: Place, values: Sequence[Number]) -> None:
        """Entries of the lanes' rows that lie side by side from the first one on."""
        kind, builder = values[0].kind, self._code.builder
        vectors = self._code.on_stack(ON_STACK[kind], len(values))
        for i, value in enumerate(values):
            code = (
                builder.zext(value.code, ir.VectorType(I8, self._code.lanes))
                if kind == "b"
                else value.code
            )
            builder.store(code, builder.gep(vectors, [I32(i)], source_etype=code.type))
        base = self._base(slot, first, IN_MEMORY[kind])
        copied = Copied(vectors, self._stored_rows, base, len(values), first.robot)
        self._row_copies.copy(builder, "write", kind, copied)

    def store(self, slot: int, place: Place, value: Number) -> None:
        """The lanes' entries of the tensor at this position among the pointers."""
        stored = IN_MEMORY[value.kind]
        code = value.code
        if value.kind == "b":
            code = self._code.builder.zext(code, ir.VectorType(I8, self._code.lanes))
        elif value.kind == "i":
            code = self._code.builder.sext(code, ir.VectorType(I64, self._code.lanes))
        base = self._base(slot, place, stored)
        offsets = self._offsets(place)
        assert offsets is not None
        addresses = self._addresses(base, offsets, stored)
        mask_type = self._code.type("b")
        types = [code.type, addresses.type, I32, mask_type]
        name = f"llvm.masked.scatter.{suffix(code.type)}.v{self._code.lanes}p0"
        everywhere = self._code.filled(I1, True)
        arguments = [code, addresses, I32(BYTES[value.kind]), everywhere]
        self._code.builder.call(self._code.named(name, ir.VoidType(), types), arguments)

    def _base(self, slot: int, place: Place, stored: Any) -> Any:
        if slot not in self._tables:
            self._tables[slot] = self._code.pointer(slot)
        base = self._tables[slot]
        if place.loop:
            scaled = self._code.builder.mul(self._code.loop_index, I32(place.loop))
            base = self._code.builder.gep(base, [scaled], source_etype=stored)
        if place.fixed:
            base = self._code.builder.gep(base, [I32(place.fixed)], source_etype=stored)
        return base

    def _offsets(self, place: Place, factor: int = 1) -> Any:
        """Offsets of the lanes times a factor; None: all the same."""
        offsets = self._row_offset(place.robot * factor) if place.robot else None
        for index, stride in place.computed:
            own = self._code.times(index.code, stride * factor)
            offsets = own if offsets is None else self._code.builder.add(offsets, own)
        return offsets

    def _row_offset(self, stride: int) -> Any:
        """Of the lanes' rows, computed once."""
        if stride not in self._row_offsets:
            self._row_offsets[stride] = self._code.times(self._code.rows, stride)
        return self._row_offsets[stride]

    def _addresses(self, base: Any, offsets: Any, stored: Any) -> Any:
        addresses = self._code.builder.gep(base, [offsets], source_etype=stored)
        addresses.type = ir.VectorType(
            POINTER, self._code.lanes
        )  # llvmlite derives a scalar's type
        return addresses


def _is_record(place: Place) -> bool:
    """Whether it is an entry of a row of four that an index chooses."""
    chosen = [stride for _, stride in place.computed] == [RECORD] and place.fixed < RECORD
    return chosen and not place.robot and not place.loop

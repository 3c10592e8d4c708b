"""LLVM IR of a kernel: numbers with a robot in each lane, rows of memory, and one loop at a time.

No operation carries a fast-math flag: NaN, infinity, signed zeros and comparisons are IEEE's, as in torch.
Integers are int64 in memory and 32 bits wide in registers, where vectors of 64 bits would cost several times as
much: what counts steps and robots and indexes tables needs no more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import llvmlite.ir as ir

from legged_ppo.runtime.fusion.rows import (
    BYTES,
    F32,
    I8,
    I32,
    I64,
    IN_MEMORY,
    ON_STACK,
    POINTER,
    RECORD,
    RowCopies,
    transposed,
)

I1 = ir.IntType(1)
_SCALARS = {"f": F32, "i": I32, "b": I1}
_HALVES = {"f": 1, "i": 2, "b": 1}
"""Vectors' entries in one of memory: the lower half of an integer comes first."""
_LONGEST_ROW = 64
"""Entries up to which a row is copied as a whole."""


@dataclass(frozen=True, eq=False)
class Number:
    """A vector of float32 (`f`), integers (`i`) or booleans (`b`)."""

    code: Any
    kind: str
    robot: bool = False
    """The number of each lane's robot."""


class Codegen:
    """The function `kernel(pointers, first, end, last)`: groups `first` to `end` of as many robots as there are
    lanes. Lanes beyond the `last` robot repeat it."""

    def __init__(self, lanes: int, triple: str) -> None:
        self.lanes = lanes
        self.module = ir.Module("fusion")
        self.module.triple = triple
        kind = ir.FunctionType(ir.VoidType(), [POINTER, I32, I32, I32])
        self._function = ir.Function(self.module, kind, "kernel")
        pointers, first, self._end, last = self._function.args
        blocks = [self._function.append_basic_block(name) for name in ("entry", "group", "end")]
        entry, group, self._done = blocks
        self.builder = ir.IRBuilder(entry)
        self._pointers = pointers
        self._tables: dict[int, Any] = {}
        self._constants: dict[tuple[str, str], Any] = {}
        start = self.builder.icmp_signed("<", first, self._end)
        self._entry_branch = self.builder.cbranch(start, group, self._done)
        self.builder.position_at_end(group)
        self._group = self.builder.phi(I32)
        self._group.add_incoming(first, entry)
        lane = ir.Constant(self.type("i", I32), list(range(lanes)))
        base = self._splat(self.builder.mul(self._group, I32(lanes)), I32)
        row = self.builder.add(base, lane)
        top = self._splat(last, I32)
        self.rows = self.builder.select(self.builder.icmp_signed("<", row, top), row, top)
        self._row_offsets: dict[int, Any] = {}
        self._records: dict[tuple[int, Number], list[Number]] = {}
        self._row_copies = RowCopies(self.module, lanes)
        self._read_rows: dict[int, Any] = {}
        self._stored_rows = self._on_stack(I32, 1)
        self.builder.store(self.rows, self._stored_rows)
        self.loop_index: Any = None

    def finish(self) -> str:
        """The text of the module."""
        builder = self.builder
        following = builder.add(self._group, I32(1))
        self._group.add_incoming(following, builder.block)
        more = builder.icmp_signed("<", following, self._end)
        builder.cbranch(more, self._group.parent, self._done)
        builder.position_at_end(self._done)
        builder.ret_void()
        return str(self.module)

    # Numbers

    def type(self, kind: str, scalar: Any = None) -> Any:
        return ir.VectorType(scalar or _SCALARS[kind], self.lanes)

    def constant(self, value: Any, kind: str) -> Number:
        value = {"f": float, "i": int, "b": bool}[kind](value)
        return Number(self.filled(_SCALARS[kind], value), kind)

    def filled(self, scalar: Any, value: Any) -> Any:
        """IR of a vector of equal constants, made once: its text takes longer than that of an operation."""
        key = str(scalar), repr(value)
        if key not in self._constants:
            kind = ir.VectorType(scalar, self.lanes)
            self._constants[key] = ir.Constant(kind, [value] * self.lanes)
        return self._constants[key]

    def converted(self, a: Number, kind: str) -> Number:
        """A number as another kind, as torch converts."""
        if a.kind == kind:
            return a
        builder, zero = self.builder, self.constant(0, a.kind).code
        if kind == "b":
            compare = builder.fcmp_unordered if a.kind == "f" else builder.icmp_signed
            return Number(compare("!=", a.code, zero), "b")
        if a.kind == "b":
            one, none = self.constant(1, kind), self.constant(0, kind)
            return Number(builder.select(a.code, one.code, none.code), kind)
        if kind == "f":
            return Number(builder.sitofp(a.code, self.type("f")), "f")
        # Saturating: a plain conversion of NaN is undefined.
        return Number(self.intrinsic("fptosi.sat", self.type("i"), a.code), "i")

    def call(self, name: str, kind: str, *values: Number) -> Number:
        """An intrinsic of LLVM."""
        types = [value.code.type for value in values]
        function = self._named(f"llvm.{name}.{_suffix(types[0])}", self.type(kind), types)
        return Number(self.builder.call(function, [v.code for v in values]), kind)

    def intrinsic(self, name: str, result: Any, value: Any) -> Any:
        """IR of an intrinsic with another type than its argument's."""
        full = f"llvm.{name}.{_suffix(result)}.{_suffix(value.type)}"
        return self.builder.call(self._named(full, result, [value.type]), [value])

    def select(self, mask: Number, a: Number, b: Number) -> Number:
        return Number(self.builder.select(mask.code, a.code, b.code), a.kind)

    def robot(self) -> Number:
        """The number of each lane's robot."""
        return Number(self.rows, "i", robot=True)

    def loop_number(self, offset: int) -> Number:
        index = self.builder.add(self.loop_index, I32(offset))
        return Number(self._splat(index, I32), "i")

    def _splat(self, scalar: Any, kind: Any) -> Any:
        undefined = ir.Constant(ir.VectorType(kind, self.lanes), ir.Undefined)
        first = self.builder.insert_element(undefined, scalar, I32(0))
        zeros = self.filled(I32, 0)
        return self.builder.shuffle_vector(first, undefined, zeros)

    # Memory

    def load(self, slot: int, kind: str, place: Place, row: int) -> Number:
        """Entries of the tensor at this position among the pointers.

        Args:
            row: entries of a robot if they lie side by side, else 0.
        """
        builder, stored = self.builder, ON_STACK[kind]
        if place.robot and not place.loop and not place.computed and 1 < row <= _LONGEST_ROW:
            return self._of_row(slot, kind, place, row)
        if kind == "f" and self.lanes >= 4 and place.is_record:
            return self._of_record(slot, place)
        base = self._base(slot, place, IN_MEMORY[kind])
        offsets = self._offsets(place, _HALVES[kind])
        if offsets is None:
            code = self._splat(builder.load(base, typ=stored, align=BYTES[kind]), stored)
        else:
            addresses = self._addresses(base, offsets, stored)
            result = ir.VectorType(stored, self.lanes)
            mask_type = self.type("b")
            types = [addresses.type, I32, mask_type, result]
            function = self._named(
                f"llvm.masked.gather.{_suffix(result)}.v{self.lanes}p0", result, types
            )
            everywhere = self.filled(I1, True)
            nothing = self.filled(stored, 0)
            arguments = [addresses, I32(BYTES[kind] // _HALVES[kind]), everywhere, nothing]
            code = builder.call(function, arguments)
        return self._read(code, kind)

    def _read(self, code: Any, kind: str) -> Number:
        """What was read from memory or from the stack."""
        if kind == "b":
            code = self.builder.icmp_signed("!=", code, self.filled(I8, 0))
        return Number(code, kind)

    def _of_row(self, slot: int, kind: str, place: Place, row: int) -> Number:
        """An entry of the lanes' rows, which are read at the first one."""
        element = ON_STACK[kind]
        if slot not in self._read_rows:
            vectors = self._read_rows[slot] = self._on_stack(element, row)
            base = self._base(slot, Place(0, place.robot, 0), IN_MEMORY[kind])
            arguments = vectors, self._stored_rows, base, row, place.robot
            self._row_copies.read(self.builder, kind, *arguments)
        vector = ir.VectorType(element, self.lanes)
        address = self.builder.gep(self._read_rows[slot], [I32(place.fixed)], source_etype=vector)
        return self._read(self.builder.load(address, typ=vector), kind)

    def _of_record(self, slot: int, place: Place) -> Number:
        """One of four entries side by side, which are all read at the first one."""
        ((index, _),) = place.computed
        key = slot, index
        if key not in self._records:
            rows = []
            base = self._base(slot, Place(0, 0, 0), F32)
            starts, four = self._times(index.code, RECORD), ir.VectorType(F32, RECORD)
            for lane in range(self.lanes):
                start = self.builder.extract_element(starts, I32(lane))
                address = self.builder.gep(base, [start], source_etype=F32)
                rows.append(self.builder.load(address, typ=four, align=4))
            self._records[key] = [Number(code, "f") for code in transposed(self.builder, rows)]
        return self._records[key][place.fixed]

    def store_row(self, slot: int, first: Place, values: Sequence[Number]) -> None:
        """Entries of the lanes' rows that lie side by side from the first one on."""
        kind, builder = values[0].kind, self.builder
        vectors = self._on_stack(ON_STACK[kind], len(values))
        for i, value in enumerate(values):
            code = (
                builder.zext(value.code, ir.VectorType(I8, self.lanes))
                if kind == "b"
                else value.code
            )
            builder.store(code, builder.gep(vectors, [I32(i)], source_etype=code.type))
        base = self._base(slot, first, IN_MEMORY[kind])
        arguments = vectors, self._stored_rows, base, len(values), first.robot
        self._row_copies.write(builder, kind, *arguments)

    def _on_stack(self, element: Any, count: int) -> Any:
        """Room for vectors of these entries."""
        entry = ir.IRBuilder(self._entry_branch.parent)
        entry.position_before(self._entry_branch)
        vector = ir.VectorType(element, self.lanes)
        place = entry.alloca(vector, size=I32(count))
        place.align = 4 * self.lanes
        return place

    def store(self, slot: int, place: Place, value: Number) -> None:
        """The lanes' entries of the tensor at this position among the pointers."""
        stored = IN_MEMORY[value.kind]
        code = value.code
        if value.kind == "b":
            code = self.builder.zext(code, ir.VectorType(I8, self.lanes))
        elif value.kind == "i":
            code = self.builder.sext(code, ir.VectorType(I64, self.lanes))
        base = self._base(slot, place, stored)
        offsets = self._offsets(place)
        assert offsets is not None
        addresses = self._addresses(base, offsets, stored)
        mask_type = self.type("b")
        types = [code.type, addresses.type, I32, mask_type]
        name = f"llvm.masked.scatter.{_suffix(code.type)}.v{self.lanes}p0"
        everywhere = self.filled(I1, True)
        arguments = [code, addresses, I32(BYTES[value.kind]), everywhere]
        self.builder.call(self._named(name, ir.VoidType(), types), arguments)

    def _named(self, name: str, result: Any, types: list[Any]) -> Any:
        known = self.module.globals.get(name)
        return known or ir.Function(self.module, ir.FunctionType(result, types), name)

    def _base(self, slot: int, place: Place, stored: Any) -> Any:
        if slot not in self._tables:
            entry = ir.IRBuilder(self._entry_branch.parent)
            entry.position_before(self._entry_branch)
            address = entry.gep(self._pointers, [I32(slot)], source_etype=POINTER)
            self._tables[slot] = entry.load(address, typ=POINTER, align=8)
        base = self._tables[slot]
        if place.loop:
            scaled = self.builder.mul(self.loop_index, I32(place.loop))
            base = self.builder.gep(base, [scaled], source_etype=stored)
        if place.fixed:
            base = self.builder.gep(base, [I32(place.fixed)], source_etype=stored)
        return base

    def _offsets(self, place: Place, factor: int = 1) -> Any:
        """Offsets of the lanes times a factor; None: all the same."""
        offsets = self._row_offset(place.robot * factor) if place.robot else None
        for index, stride in place.computed:
            own = self._times(index.code, stride * factor)
            offsets = own if offsets is None else self.builder.add(offsets, own)
        return offsets

    def _row_offset(self, stride: int) -> Any:
        """Of the lanes' rows, computed once."""
        if stride not in self._row_offsets:
            self._row_offsets[stride] = self._times(self.rows, stride)
        return self._row_offsets[stride]

    def _times(self, vector: Any, factor: int) -> Any:
        return self.builder.mul(vector, self.filled(I32, factor))

    def _addresses(self, base: Any, offsets: Any, stored: Any) -> Any:
        addresses = self.builder.gep(base, [offsets], source_etype=stored)
        addresses.type = ir.VectorType(POINTER, self.lanes)  # llvmlite derives a scalar's type
        return addresses

    # The loop

    @contextmanager
    def loop(self, low: int, high: int) -> Iterator[None]:
        """The body runs with `loop_index` from `low` to `high`: at least once, so that its numbers can be used
        behind it."""
        builder = self.builder
        before = builder.block
        body, end = (builder.function.append_basic_block() for _ in range(2))
        builder.branch(body)
        builder.position_at_end(body)
        index = self.loop_index = builder.phi(I32)
        index.add_incoming(I32(low), before)
        yield
        following = builder.add(index, I32(1))
        index.add_incoming(following, builder.block)
        builder.cbranch(builder.icmp_signed("<", following, I32(high)), body, end)
        builder.position_at_end(end)
        self.loop_index = None

    def variable(self, value: Number) -> Variable:
        """A number that the iterations of a loop change."""
        return Variable(self, self._on_stack(_SCALARS[value.kind], 1), value)


@dataclass(frozen=True)
class Place:
    """Where the lanes' entries of a tensor lie, in entries from its first one."""

    fixed: int
    robot: int
    """Stride of the lanes' robots."""
    loop: int
    """Stride of the loop's index."""
    computed: tuple[tuple[Number, int], ...] = ()
    """Indices and their strides."""

    @property
    def is_record(self) -> bool:
        """Whether it is an entry of a row of four that an index chooses."""
        chosen = [stride for _, stride in self.computed] == [RECORD] and self.fixed < RECORD
        return chosen and not self.robot and not self.loop


class Variable:
    """A number on the stack."""

    def __init__(self, code: Codegen, place: Any, value: Number) -> None:
        self._code, self._place, self._kind = code, place, value.kind
        self.set(value)

    def get(self) -> Number:
        kind = self._code.type(self._kind)
        return Number(self._code.builder.load(self._place, typ=kind), self._kind)

    def set(self, value: Number) -> None:
        self._code.builder.store(value.code, self._place)


def _suffix(kind: Any) -> str:
    """Of an intrinsic's name for vectors of this type."""
    element = kind.element
    letter = "f32" if element == F32 else f"i{element.width}"
    return f"v{kind.count}{letter}"

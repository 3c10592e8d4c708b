"""Numbers, masks and indices of the machine that emits LLVM IR.

Arithmetic with the constants 0, 1 and -1 is folded when the code is emitted, so that the zeros of a robot's
model (axes, offsets, rotations) cost nothing. Floating-point flags allow fused products and estimates of
reciprocals, but neither assume that values are finite nor reorder sums: a NaN stays in its lane, and a
robot's bits do not depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import llvmlite.ir as ir

FLAGS = ("nsz", "arcp", "contract", "afn")
I1, I32, F32, POINTER = ir.IntType(1), ir.IntType(32), ir.FloatType(), ir.PointerType()


class Emitter:
    """A module under construction, the place in it, and what values need to write themselves there."""

    def __init__(self, lanes: int, triple: str) -> None:
        self.lanes, self.alignment = lanes, 4 * lanes
        self.module = ir.Module("robot")
        self.module.triple = triple
        self.float_type = ir.VectorType(F32, lanes)
        self.int_type = ir.VectorType(I32, lanes)
        self.mask_type = ir.VectorType(I1, lanes)
        self.builder = ir.IRBuilder()
        self.exits: list[ir.Block] = []
        """Where the loops around the present place end, from the outermost on"""
        self._tables: dict[tuple, ir.GlobalVariable] = {}

    def vector(self, value: Any) -> Any:
        """IR of a number."""
        if isinstance(value, Value):
            return value.code
        return ir.Constant(self.float_type, [float(value)] * self.lanes)

    def integer(self, value: IndexValue | int) -> Any:
        """IR of an index."""
        return value.code if isinstance(value, IndexValue) else I32(value)

    def splat(self, scalar: Any) -> Value:
        """A float for all lanes."""
        undefined = ir.Constant(self.float_type, ir.Undefined)
        first = self.builder.insert_element(undefined, scalar, I32(0))
        zeros = ir.Constant(self.int_type, [0] * self.lanes)
        return Value(self, self.builder.shuffle_vector(first, undefined, zeros))

    def ints(self, value: int) -> Any:
        """IR of an integer in all lanes."""
        return ir.Constant(self.int_type, [value] * self.lanes)

    def loop(
        self, stop: IndexValue | int, start: IndexValue | int = 0, step: int = 1
    ) -> Iterator[IndexValue]:
        """One pass of the caller's loop emits the body for all indices."""
        builder = self.builder
        head, body, end = (builder.function.append_basic_block() for _ in range(3))
        before = builder.block
        builder.branch(head)
        builder.position_at_end(head)
        index = builder.phi(I32)
        index.add_incoming(self.integer(start), before)
        builder.cbranch(builder.icmp_signed("<", index, self.integer(stop)), body, end)
        builder.position_at_end(body)
        self.exits.append(end)
        yield IndexValue(self, index)
        self.exits.pop()
        index.add_incoming(builder.add(index, I32(step)), builder.block)
        builder.branch(head)
        builder.position_at_end(end)

    def variable(self, value: Any) -> StackVariable:
        """A number or mask that code changes, with its first value."""
        return StackVariable(self, value)

    def load_pointer(self, table: Any, index: int) -> Any:
        """An entry of a table of pointers."""
        address = self.builder.gep(table, [I32(index)], source_etype=POINTER)
        return self.builder.load(address, typ=POINTER, align=8)

    def load_number(self, table: Any, index: int) -> Value:
        """An entry of a table of floats, for all lanes."""
        address = self.builder.gep(table, [I32(index)], source_etype=F32)
        return self.splat(self.builder.load(address, typ=F32, align=4))

    def load_index(self, table: Any, index: int) -> IndexValue:
        """An entry of a table of integers."""
        return IntegerMemory(self, table)[index]

    def intrinsic(self, name: str, kind: ir.FunctionType) -> Any:
        """A function of LLVM's own."""
        known = self.module.globals.get(name)
        return known or ir.Function(self.module, kind, name)

    def global_table(self, kind: Any, values: Sequence[Any]) -> Any:
        """A constant array of the module; equal ones are shared."""
        key = (str(kind), *values)
        if key not in self._tables:
            array = ir.ArrayType(kind, len(values))
            table = ir.GlobalVariable(self.module, array, f"table{len(self._tables)}")
            table.global_constant, table.linkage = True, "internal"
            table.initializer = ir.Constant(array, list(values))
            self._tables[key] = table
        return self._tables[key]


class Value:
    """A vector of float32, one lane per robot."""

    __slots__ = ("code", "m")
    __array_ufunc__ = None  # NumPy scalars on the left leave the operation to this class

    def __init__(self, m: Emitter, code: Any) -> None:
        self.m, self.code = m, code

    def _with(self, operation: str, other: Any, reverse: bool = False) -> Value:
        left, right = self.code, self.m.vector(other)
        if reverse:
            left, right = right, left
        return Value(self.m, getattr(self.m.builder, operation)(left, right, flags=FLAGS))

    def __add__(self, other: Any) -> Value:
        return self if is_constant(other, 0.0) else self._with("fadd", other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Value:
        return self if is_constant(other, 0.0) else self._with("fsub", other)

    def __rsub__(self, other: Any) -> Value:
        return -self if is_constant(other, 0.0) else self._with("fsub", other, reverse=True)

    def __neg__(self) -> Value:
        return Value(self.m, self.m.builder.fneg(self.code, flags=FLAGS))

    def __mul__(self, other: Any) -> Any:
        if is_constant(other, 0.0):
            return 0.0
        if is_constant(other, 1.0):
            return self
        if is_constant(other, -1.0):
            return -self
        return self._with("fmul", other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Value:
        return self._with("fdiv", other)

    def __rtruediv__(self, other: Any) -> Value:
        return self._with("fdiv", other, reverse=True)

    def _compared(self, operation: str, other: Any) -> MaskValue:
        code = self.m.builder.fcmp_ordered(operation, self.code, self.m.vector(other))
        return MaskValue(self.m, code)

    def __lt__(self, other: Any) -> MaskValue:
        return self._compared("<", other)

    def __gt__(self, other: Any) -> MaskValue:
        return self._compared(">", other)

    def __le__(self, other: Any) -> MaskValue:
        return self._compared("<=", other)

    def __ge__(self, other: Any) -> MaskValue:
        return self._compared(">=", other)


def is_constant(value: Any, number: float) -> bool:
    """Whether a number is this constant of the model."""
    return not isinstance(value, Value) and bool(value == number)


class MaskValue:
    """A vector of booleans, one lane per robot."""

    __slots__ = ("code", "m")

    def __init__(self, m: Emitter, code: Any) -> None:
        self.m, self.code = m, code

    def __and__(self, other: MaskValue) -> MaskValue:
        return MaskValue(self.m, self.m.builder.and_(self.code, other.code))

    def __or__(self, other: MaskValue) -> MaskValue:
        return MaskValue(self.m, self.m.builder.or_(self.code, other.code))

    def __xor__(self, other: MaskValue) -> MaskValue:
        return MaskValue(self.m, self.m.builder.xor(self.code, other.code))

    def __invert__(self) -> MaskValue:
        return MaskValue(self.m, self.m.builder.not_(self.code))


class IndexValue:
    """An integer that all robots share."""

    __slots__ = ("code", "m")

    def __init__(self, m: Emitter, code: Any) -> None:
        self.m, self.code = m, code

    def __add__(self, other: IndexValue | int) -> IndexValue:
        if isinstance(other, int) and other == 0:
            return self
        return IndexValue(self.m, self.m.builder.add(self.code, self.m.integer(other)))

    __radd__ = __add__

    def __sub__(self, other: IndexValue | int) -> IndexValue:
        return IndexValue(self.m, self.m.builder.sub(self.code, self.m.integer(other)))

    def __mul__(self, other: IndexValue | int) -> IndexValue:
        return IndexValue(self.m, self.m.builder.mul(self.code, self.m.integer(other)))

    __rmul__ = __mul__


class Condition:
    """One boolean that all robots share."""

    __slots__ = ("code",)

    def __init__(self, code: Any) -> None:
        self.code = code


class VectorMemory:
    """`Memory`: vectors at a pointer, from an offset (in vectors) on."""

    __slots__ = ("_m", "_pointer", "_start")

    def __init__(self, m: Emitter, pointer: Any, start: IndexValue | int = 0) -> None:
        self._m, self._pointer, self._start = m, pointer, start

    def _address(self, index: IndexValue | int) -> Any:
        place = [self._m.integer(self._start + index)]
        return self._m.builder.gep(self._pointer, place, source_etype=self._m.float_type)

    def __getitem__(self, index: IndexValue | int) -> Value:
        builder, m = self._m.builder, self._m
        return Value(m, builder.load(self._address(index), typ=m.float_type, align=m.alignment))

    def __setitem__(self, index: IndexValue | int, value: Any) -> None:
        code = self._m.vector(value)
        self._m.builder.store(code, self._address(index), align=self._m.alignment)

    def read(self, start: IndexValue | int, count: int) -> list[Any]:
        part = self.part(start)
        return [part[i] for i in range(count)]

    def write(self, start: IndexValue | int, values: Any) -> None:
        part = self.part(start)
        for i, value in enumerate(values):
            part[i] = value

    def add(self, start: IndexValue | int, values: Any) -> None:
        part = self.part(start)
        for i, value in enumerate(values):
            if not is_constant(value, 0.0):
                part[i] = part[i] + value

    def part(self, start: IndexValue | int) -> VectorMemory:
        return VectorMemory(self._m, self._pointer, self._start + start)


class IntegerMemory:
    """Integers at a pointer."""

    __slots__ = ("_m", "_pointer", "_start")

    def __init__(self, m: Emitter, pointer: Any, start: int = 0) -> None:
        self._m, self._pointer, self._start = m, pointer, start

    def address(self, index: IndexValue | int) -> Any:
        place = [self._m.integer(self._start + index)]
        return self._m.builder.gep(self._pointer, place, source_etype=I32)

    def __getitem__(self, index: IndexValue | int) -> IndexValue:
        return IndexValue(self._m, self._m.builder.load(self.address(index), typ=I32, align=4))

    def __setitem__(self, index: IndexValue | int, value: IndexValue | int) -> None:
        self._m.builder.store(self._m.integer(value), self.address(index), align=4)


class ConditionCell:
    """`Variable`: a condition in memory, which outlives a phase."""

    def __init__(self, m: Emitter, memory: IntegerMemory, index: int) -> None:
        self._m, self._memory, self._index = m, memory, index

    @property
    def value(self) -> Condition:
        code = self._memory[self._index].code
        return Condition(self._m.builder.icmp_signed("!=", code, I32(0)))

    @value.setter
    def value(self, value: Condition | bool) -> None:
        code = I32(value) if isinstance(value, bool) else self._m.builder.zext(value.code, I32)
        self._memory[self._index] = IndexValue(self._m, code)


class StackVariable:
    """`Variable`: a number or mask on the stack (in a register, once optimised)."""

    def __init__(self, m: Emitter, value: Any) -> None:
        self._m, self._mask = m, isinstance(value, MaskValue)
        self._type = m.mask_type if self._mask else m.float_type
        with m.builder.goto_entry_block():
            self._place = m.builder.alloca(self._type)
            self._place.align = m.alignment
        self.value = value

    @property
    def value(self) -> Any:
        code = self._m.builder.load(self._place, typ=self._type, align=self._m.alignment)
        return MaskValue(self._m, code) if self._mask else Value(self._m, code)

    @value.setter
    def value(self, value: Any) -> None:
        code = value.code if self._mask else self._m.vector(value)
        self._m.builder.store(code, self._place, align=self._m.alignment)


class ConstantTable:
    """Constants that an index can address; the same constant for every index stays one."""

    def __init__(self, m: Emitter, values: list[float]) -> None:
        self._m, self._values = m, values
        self._same = len(set(values)) == 1

    def __getitem__(self, index: IndexValue | int) -> Any:
        if self._same:
            return self._values[0]
        if isinstance(index, int):
            return self._values[index]
        pointer = self._m.global_table(F32, self._values)
        place = self._m.builder.gep(pointer, [index.code], source_etype=F32)
        return self._m.splat(self._m.builder.load(place, typ=F32, align=4))


class IndexTable:
    """Integers that an index can address."""

    def __init__(self, m: Emitter, values: list[int]) -> None:
        self._m, self._values = m, values

    def __getitem__(self, index: IndexValue | int) -> IndexValue | int:
        if isinstance(index, int):
            return self._values[index]
        return IntegerMemory(self._m, self._m.global_table(I32, self._values))[index]

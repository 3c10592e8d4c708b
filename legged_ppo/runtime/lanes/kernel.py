"""What kernels over tables of float32 are written with: loops, rows of memory, exponentials."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import llvmlite.ir as ir

from legged_ppo.runtime.lanes.values import F32, I32, POINTER, Emitter, IndexValue, MaskValue, Value

Index = IndexValue | int
_I64 = ir.IntType(64)
_LOG2_E = 1.4426950408889634
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4
_ROUND = 1.5 * 2.0**23
"""A float32 of this size has no fraction, and its lowest bits are the rounded summand."""
_EXPONENTIAL = (
    1.9875691500e-4,
    1.3981999507e-3,
    8.3334519073e-3,
    4.1665795894e-2,
    1.6666665459e-1,
    5.0000001201e-1,
)
"""Cephes' polynomial of exp in single precision"""
_MOST = 87.0
"""exp of this and of its negative are normal numbers."""


class Kernel(Emitter):
    """A module of functions whose threads take one part of the work after another."""

    def function(
        self,
        name: str,
        pointers: int,
        numbers: int,
        body: Callable[[Sequence[Floats], Sequence[IndexValue], IndexValue, IndexValue], None],
    ) -> None:
        """Add a function of a pointer to 64 bits each of: a table of pointers to float32, a pointer to the next
        part, the numbers, the rows, and the rows of a part.

        Args:
            pointers: entries of the table.
            numbers: count of further integers.
            body: emits the work on the rows from its third argument to before its fourth; its second are the
                numbers and the count of all rows.
        """
        function = ir.Function(self.module, ir.FunctionType(ir.VoidType(), [POINTER]), name)
        builder = self.builder = ir.IRBuilder(function.append_basic_block())
        (slots,) = function.args
        table, following = (self.load_pointer(slots, i) for i in range(2))
        integers = [self._slot(slots, 2 + i) for i in range(numbers + 2)]
        share = integers.pop()
        rows = integers[-1]
        own = [Floats(self, self.load_pointer(table, i)) for i in range(pointers)]
        take, run, end = (function.append_basic_block() for _ in range(3))
        builder.branch(take)
        builder.position_at_end(take)
        part = IndexValue(self, builder.atomic_rmw("add", following, I32(1), "monotonic"))
        first = part * share
        builder.cbranch(builder.icmp_signed("<", first.code, rows.code), run, end)
        builder.position_at_end(run)
        body(own, integers, first, self.smaller(first + share, rows))
        builder.branch(take)
        builder.position_at_end(end)
        builder.ret_void()

    def _slot(self, slots: Any, number: int) -> IndexValue:
        place = self.builder.gep(slots, [I32(number)], source_etype=_I64)
        whole = self.builder.load(place, typ=_I64, align=8)
        return IndexValue(self, self.builder.trunc(whole, I32))

    def blocks(
        self, start: IndexValue, stop: IndexValue, sizes: Sequence[int]
    ) -> Iterator[tuple[IndexValue, int]]:
        """Loops over rows in blocks of the first size, what remains in blocks of the next, and so on; the last
        size is 1."""
        builder = self.builder
        for size in sizes:
            count = builder.sdiv((stop - start).code, I32(size))
            whole = start + IndexValue(self, builder.mul(count, I32(size)))
            for row in self.loop(whole, start, size):
                yield row, size
            start = whole

    def smaller(self, a: IndexValue, b: IndexValue) -> IndexValue:
        """The minimum of two indices."""
        less = self.builder.icmp_signed("<", a.code, b.code)
        return IndexValue(self, self.builder.select(less, a.code, b.code))

    def larger(self, a: IndexValue, b: IndexValue) -> IndexValue:
        """The maximum of two indices."""
        less = self.builder.icmp_signed("<", a.code, b.code)
        return IndexValue(self, self.builder.select(less, b.code, a.code))

    def first_lanes(self, count: IndexValue) -> MaskValue:
        """A mask of the first lanes; of all where there are fewer."""
        limit = self.builder.insert_element(
            ir.Constant(self.int_type, ir.Undefined), count.code, I32(0)
        )
        zeros, order = self.ints(0), ir.Constant(self.int_type, list(range(self.lanes)))
        limits = self.builder.shuffle_vector(limit, limit, zeros)
        return MaskValue(self, self.builder.icmp_signed("<", order, limits))

    def select(self, mask: MaskValue, a: Value, b: Value) -> Value:
        """a where the mask holds, else b."""
        return Value(self, self.builder.select(mask.code, a.code, b.code))

    def exp(self, x: Value) -> Value:
        """e^x to 2e-7, for x limited to +-87; NaN stays NaN."""
        builder = self.builder
        for limit, beyond in ((_MOST, x > _MOST), (-_MOST, x < -_MOST)):
            x = Value(self, builder.select(beyond.code, self.vector(limit), x.code))
        rounded = x * _LOG2_E + _ROUND
        n = rounded - _ROUND
        rest = x - n * _LN2_HIGH - n * _LN2_LOW
        polynomial: Any = _EXPONENTIAL[0]
        for coefficient in _EXPONENTIAL[1:]:
            polynomial = polynomial * rest + coefficient
        shifted = builder.shl(builder.bitcast(rounded.code, self.int_type), self.ints(23))
        power = builder.bitcast(builder.add(shifted, self.ints(127 << 23)), self.float_type)
        return (polynomial * (rest * rest) + (rest + 1.0)) * Value(self, power)

    def sigmoid(self, x: Value) -> Value:
        """1 / (1 + e^-x)"""
        return 1.0 / (self.exp(-x) + 1.0)

    def tanh(self, x: Value) -> Value:
        """To 1e-7, not relative to small x."""
        return 1.0 - 2.0 / (self.exp(x * 2.0) + 1.0)


def mixed(parts: Sequence[Value]) -> list[Value]:
    """The sides a and b of what has the even part (a + b) / 2 and the odd part (a - b) / 2; also the gradients
    of the parts from those of the sides. What has one part stays as it is."""
    if len(parts) == 1:
        return list(parts)
    first, second = parts
    return [first + second, first - second]


def halved(sides: Sequence[Value]) -> list[Value]:
    """The even and odd part of two sides, the inverse of `mixed`; also the gradients of the sides from those of
    the parts."""
    return [each * 0.5 for each in mixed(sides)] if len(sides) == 2 else list(sides)


class Floats:
    """Numbers at a pointer, addressed one by one."""

    def __init__(self, m: Kernel, pointer: Any) -> None:
        self._m, self.pointer = m, pointer

    def _at(self, index: Index) -> Any:
        place = [self._m.integer(index)]
        return self._m.builder.gep(self.pointer, place, source_etype=F32)

    def following(self, index: Index) -> Floats:
        """The numbers from an index on."""
        return Floats(self._m, self._at(index))

    def vector(self, index: Index, mask: MaskValue | None = None) -> Value:
        """The numbers from an index on, one a lane; 0 and not read in lanes that a mask leaves out."""
        m = self._m
        if mask is None:
            return Value(m, m.builder.load(self._at(index), typ=m.float_type, align=4))
        kind = ir.FunctionType(m.float_type, [POINTER, I32, m.mask_type, m.float_type])
        function = m.intrinsic(f"llvm.masked.load.v{m.lanes}f32.p0", kind)
        zero = ir.Constant(m.float_type, [0.0] * m.lanes)
        return Value(m, m.builder.call(function, [self._at(index), I32(4), mask.code, zero]))

    def integers(self, index: Index) -> Any:
        """IR of the integers of 32 bits that lie from an index on."""
        return self._m.builder.load(self._at(index), typ=self._m.int_type, align=4)

    def gathered(self, indices: Any) -> Value:
        """The numbers at indices, one a lane; from `integers`."""
        m = self._m
        addresses = m.builder.gep(self.pointer, [indices], source_etype=F32)
        addresses.type = ir.VectorType(POINTER, m.lanes)  # llvmlite derives a scalar's type
        kind = ir.FunctionType(m.float_type, [addresses.type, I32, m.mask_type, m.float_type])
        function = m.intrinsic(f"llvm.masked.gather.v{m.lanes}f32.v{m.lanes}p0", kind)
        everywhere = ir.Constant(m.mask_type, [True] * m.lanes)
        zero = ir.Constant(m.float_type, [0.0] * m.lanes)
        return Value(m, m.builder.call(function, [addresses, I32(4), everywhere, zero]))

    def number(self, index: Index) -> Value:
        """One number, in all lanes."""
        return self._m.splat(self._m.builder.load(self._at(index), typ=F32, align=4))

    def store(self, index: Index, value: Value, mask: MaskValue | None = None) -> None:
        """Write a vector from an index on, or those of its lanes that a mask names."""
        m = self._m
        if mask is None:
            m.builder.store(value.code, self._at(index), align=4)
            return
        kind = ir.FunctionType(ir.VoidType(), [m.float_type, POINTER, I32, m.mask_type])
        function = m.intrinsic(f"llvm.masked.store.v{m.lanes}f32.p0", kind)
        m.builder.call(function, [value.code, self._at(index), I32(4), mask.code])

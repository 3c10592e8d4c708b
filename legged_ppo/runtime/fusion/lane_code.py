"""LLVM IR of a kernel: numbers with a robot in each lane, and one loop at a time.

No operation carries a fast-math flag.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import llvmlite.ir as ir

from legged_ppo.runtime.fusion.codegen import Codegen, Number
from legged_ppo.runtime.fusion.rows import F32, I32, POINTER

I1 = ir.IntType(1)
_SCALARS = {"f": F32, "i": I32, "b": I1}


class LaneCode(Codegen):
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
        self.pointers = pointers
        self._constants: dict[tuple[str, str], Any] = {}
        start = self.builder.icmp_signed("<", first, self._end)
        self._entry_branch = self.builder.cbranch(start, group, self._done)
        self.builder.position_at_end(group)
        self._group = self.builder.phi(I32)
        self._group.add_incoming(first, entry)
        lane = ir.Constant(self.type("i", I32), list(range(lanes)))
        base = self.splat(self.builder.mul(self._group, I32(lanes)), I32)
        row = self.builder.add(base, lane)
        top = self.splat(last, I32)
        self.rows = self.builder.select(self.builder.icmp_signed("<", row, top), row, top)
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

    def literal(self, value: Any, kind: str) -> Any:
        return self.filled(_SCALARS[kind], value)

    def filled(self, scalar: Any, value: Any) -> Any:
        """IR of a vector of equal constants, made once: its text takes longer than that of an operation."""
        key = str(scalar), repr(value)
        if key not in self._constants:
            kind = ir.VectorType(scalar, self.lanes)
            self._constants[key] = ir.Constant(kind, [value] * self.lanes)
        return self._constants[key]

    def call(self, name: str, kind: str, *values: Number) -> Number:
        """An intrinsic of LLVM."""
        types = [value.code.type for value in values]
        function = self.named(f"llvm.{name}.{suffix(types[0])}", self.type(kind), types)
        return Number(self.builder.call(function, [v.code for v in values]), kind)

    def robot(self) -> Number:
        """The number of each lane's robot."""
        return Number(self.rows, "i", robot=True)

    def loop_number(self, offset: int) -> Number:
        index = self.builder.add(self.loop_index, I32(offset))
        return Number(self.splat(index, I32), "i")

    def splat(self, scalar: Any, kind: Any) -> Any:
        """IR of a vector of equal numbers."""
        undefined = ir.Constant(ir.VectorType(kind, self.lanes), ir.Undefined)
        first = self.builder.insert_element(undefined, scalar, I32(0))
        zeros = self.filled(I32, 0)
        return self.builder.shuffle_vector(first, undefined, zeros)

    def named(self, name: str, result: Any, types: list[Any]) -> Any:
        known = self.module.globals.get(name)
        return known or ir.Function(self.module, ir.FunctionType(result, types), name)

    def pointer(self, slot: int) -> Any:
        """The pointer at this position, loaded once."""
        entry = ir.IRBuilder(self._entry_branch.parent)
        entry.position_before(self._entry_branch)
        address = entry.gep(self.pointers, [I32(slot)], source_etype=POINTER)
        return entry.load(address, typ=POINTER, align=8)

    def times(self, vector: Any, factor: int) -> Any:
        """Integers times a constant."""
        return self.builder.mul(vector, self.filled(I32, factor))

    def on_stack(self, element: Any, count: int) -> Any:
        """Room for vectors of these entries."""
        entry = ir.IRBuilder(self._entry_branch.parent)
        entry.position_before(self._entry_branch)
        vector = ir.VectorType(element, self.lanes)
        place = entry.alloca(vector, size=I32(count))
        place.align = 4 * self.lanes
        return place

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

    def variable(self, value: Number) -> LaneVariable:
        return LaneVariable(self, self.on_stack(_SCALARS[value.kind], 1), value)


class LaneVariable:
    """A number on the stack."""

    def __init__(self, code: LaneCode, place: Any, value: Number) -> None:
        self._code, self._place, self._kind = code, place, value.kind
        self.set(value)

    def get(self) -> Number:
        kind = self._code.type(self._kind)
        return Number(self._code.builder.load(self._place, typ=kind), self._kind)

    def set(self, value: Number) -> None:
        self._code.builder.store(value.code, self._place)


def suffix(kind: Any) -> str:
    """Of an intrinsic's name for vectors of this type."""
    element = kind.element
    letter = "f32" if element == F32 else f"i{element.width}"
    return f"v{kind.count}{letter}"

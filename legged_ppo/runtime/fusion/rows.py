"""Rows of memory, one a robot, as vectors with a robot in each lane, and back.

A gather or scatter for each entry would be written out lane by lane on CPUs without such an instruction, and the
compiler takes seconds for hundreds of them. So whole rows are copied to and from the stack by loops that the
module has once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import llvmlite.ir as ir

I8, I32, I64 = (ir.IntType(bits) for bits in (8, 32, 64))
F32, POINTER = ir.FloatType(), ir.PointerType()
IN_MEMORY = {"f": F32, "i": I64, "b": I8}
ON_STACK = {"f": F32, "i": I32, "b": I8}
"""Entries of vectors: of integers the lower half."""
BYTES = {"f": 4, "i": 8, "b": 1}


@dataclass(frozen=True)
class Copied:
    """Vectors on the stack, and the same entries of rows in memory."""

    vectors: Any
    rows: Any
    """Pointer to the numbers of the lanes' rows."""
    memory: Any
    count: int
    """Vectors, and entries of a row."""
    stride: int
    """Entries from row to row."""


class RowCopies:
    """The module's functions that copy rows."""

    def __init__(self, module: ir.Module, lanes: int) -> None:
        self._module, self._lanes = module, lanes
        self._functions: dict[str, ir.Function] = {}

    def copy(self, builder: Any, way: str, kind: str, place: Copied) -> None:
        """Fill vectors from each lane's row (`way` is `read`), or rows from vectors (`write`)."""
        name = f"{way}_{kind}"
        if name not in self._functions:
            self._functions[name] = self._define(name)
        numbers = I32(place.count), I32(place.stride)
        arguments = [place.vectors, place.rows, place.memory, *numbers]
        builder.call(self._functions[name], arguments)

    def _define(self, name: str) -> ir.Function:
        reading, kind = name.startswith("read"), name[-1]
        signature = ir.FunctionType(ir.VoidType(), [POINTER] * 3 + [I32] * 2)
        function = ir.Function(self._module, signature, name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        vectors, rows, memory, count, stride = function.args
        for argument in (vectors, rows, memory):
            argument.add_attribute("noalias")
        entry, lanes, entries, following, end = (function.append_basic_block() for _ in range(5))
        builder = ir.IRBuilder(entry)
        builder.branch(lanes)
        builder.position_at_end(lanes)
        lane = builder.phi(I32)
        lane.add_incoming(I32(0), entry)
        row = builder.load(builder.gep(rows, [lane], source_etype=I32), typ=I32, align=4)
        own = builder.gep(memory, [builder.mul(row, stride)], source_etype=IN_MEMORY[kind])
        builder.branch(entries)
        builder.position_at_end(entries)
        i = builder.phi(I32)
        i.add_incoming(I32(0), lanes)
        place = builder.add(builder.mul(i, I32(self._lanes)), lane)
        stacked = builder.gep(vectors, [place], source_etype=ON_STACK[kind])
        stored = builder.gep(own, [i], source_etype=IN_MEMORY[kind])
        if reading:
            value = builder.load(stored, typ=IN_MEMORY[kind], align=BYTES[kind])
            builder.store(builder.trunc(value, I32) if kind == "i" else value, stacked)
        else:
            value = builder.load(stacked, typ=ON_STACK[kind])
            builder.store(
                builder.sext(value, I64) if kind == "i" else value, stored, align=BYTES[kind]
            )
        after = builder.add(i, I32(1))
        i.add_incoming(after, entries)
        builder.cbranch(builder.icmp_signed("<", after, count), entries, following)
        builder.position_at_end(following)
        next_lane = builder.add(lane, I32(1))
        lane.add_incoming(next_lane, following)
        builder.cbranch(builder.icmp_signed("<", next_lane, I32(self._lanes)), lanes, end)
        builder.position_at_end(end)
        builder.ret_void()
        return function

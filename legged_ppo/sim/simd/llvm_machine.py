"""The machine that emits LLVM IR: physics runs once, on symbols, and leaves a module for one robot model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import llvmlite.ir as ir

from legged_ppo.runtime.lanes.transposes import columns
from legged_ppo.runtime.lanes.values import (
    F32,
    FLAGS,
    I1,
    I32,
    POINTER,
    Condition,
    ConditionCell,
    ConstantTable,
    Emitter,
    IndexTable,
    IndexValue,
    IntegerMemory,
    MaskValue,
    Value,
    VectorMemory,
)
from legged_ppo.sim.simd.ground import EmittedGround
from legged_ppo.sim.simd.layout import (
    Contacts,
    Fields,
    contact_layout,
    contact_room,
    state_layout,
    work_layout,
)
from legged_ppo.sim.simd.robot import Robot
from legged_ppo.sim.simd.workspace import Workspace

_QUADRANTS = 1e6
"""Angles beyond so many quarter turns lose their sine; the conversion to an integer must not overflow."""


class LlvmMachine(Emitter):
    """`Machine` that emits code for `lanes` robots at once."""

    def __init__(self, lanes: int, triple: str) -> None:
        super().__init__(lanes, triple)
        self._phases: dict[str, ir.Function] = {}

    # Numbers

    def select(self, mask: Any, a: Any, b: Any) -> Any:
        if isinstance(mask, bool):
            return a if mask else b
        return Value(self, self.builder.select(mask.code, self.vector(a), self.vector(b)))

    def mask(self, value: bool) -> MaskValue:
        return MaskValue(self, ir.Constant(self.mask_type, [value] * self.lanes))

    def is_mask(self, value: Any) -> bool:
        return isinstance(value, MaskValue)

    def minimum(self, a: Any, b: Any) -> Any:
        return self.select(a < b, a, b)

    def maximum(self, a: Any, b: Any) -> Any:
        return self.select(a > b, a, b)

    def absolute(self, a: Value) -> Value:
        return self._unary("fabs", a)

    def sqrt(self, a: Value) -> Value:
        return self._unary("sqrt", a)

    def reciprocal(self, a: Value) -> Value:
        return 1.0 / a

    def floor(self, a: Value) -> Value:
        return self._unary("floor", a)

    def sincos(self, a: Value) -> tuple[Value, Value]:
        """Cephes' single precision polynomials after reduction to a quarter turn either side of 0."""
        turns = self.minimum(self.maximum(a * 0.636619772, -_QUADRANTS), _QUADRANTS)
        k = self._unary("rint", turns)
        r = a - k * 1.5707963705062866 + k * 4.3711388286737929e-8
        z = r * r
        sine = r + r * z * (-1.6666654611e-1 + z * (8.3321608736e-3 + z * -1.9515295891e-4))
        high = 4.166664568298827e-2 + z * (-1.388731625493765e-3 + z * 2.443315711809948e-5)
        cosine = 1.0 - 0.5 * z + z * z * high
        quadrant = self.builder.fptosi(k.code, self.int_type)
        odd = self.builder.and_(quadrant, self.ints(1))
        swap = MaskValue(self, self.builder.icmp_signed("!=", odd, self.ints(0)))
        next_quadrant = self.builder.add(quadrant, self.ints(1))
        return (
            self._signed(self.select(swap, cosine, sine), quadrant),
            self._signed(self.select(swap, sine, cosine), next_quadrant),
        )

    def broadcast(self, index: IndexValue | int) -> Value:
        return self.splat(self.builder.sitofp(self.integer(index), F32))

    def _signed(self, a: Value, quadrant: Any) -> Value:
        """Minus `a` in the third and fourth quadrant."""
        builder = self.builder
        sign = builder.shl(builder.and_(quadrant, self.ints(2)), self.ints(30))
        bits = builder.xor(builder.bitcast(a.code, self.int_type), sign)
        return Value(self, builder.bitcast(bits, self.float_type))

    def _unary(self, name: str, a: Any) -> Value:
        kind = ir.FunctionType(self.float_type, [self.float_type])
        function = self.intrinsic(f"llvm.{name}.v{self.lanes}f32", kind)
        return Value(self, self.builder.call(function, [self.vector(a)], fastmath=FLAGS))

    # Tables and variables

    def gather(self, table: Any, position: Value) -> Value:
        """`table` is a pointer to floats."""
        builder, lanes = self.builder, self.lanes
        places = builder.fptosi(position.code, self.int_type)
        addresses = builder.gep(table, [places], source_etype=F32)
        addresses.type = ir.VectorType(POINTER, lanes)  # llvmlite derives a scalar's type
        kind = [addresses.type, I32, self.mask_type, self.float_type]
        function = self.intrinsic(
            f"llvm.masked.gather.v{lanes}f32.v{lanes}p0", ir.FunctionType(self.float_type, kind)
        )
        everywhere = self.mask(True).code
        nothing = ir.Constant(self.float_type, [0.0] * lanes)
        return Value(self, builder.call(function, [addresses, I32(4), everywhere, nothing]))

    def record(self, table: Any, position: Value, count: int) -> list[Any]:
        """Loads of four entries a lane, transposed: several times as fast as a gather of each entry."""
        builder = self.builder
        four, places = ir.VectorType(F32, 4), builder.fptosi(position.code, self.int_type)
        lanes = [builder.extract_element(places, I32(lane)) for lane in range(self.lanes)]
        entries: list[Any] = []
        for start in range(0, count, 4):
            rows = []
            for place in lanes:
                address = builder.gep(table, [builder.add(place, I32(start))], source_etype=F32)
                rows.append(builder.load(address, typ=four, align=4))
            entries += [Value(self, code) for code in columns(builder, rows)]
        return entries[:count]

    def constants(self, values: Sequence[float]) -> ConstantTable:
        return ConstantTable(self, list(values))

    def indices(self, values: Sequence[int]) -> IndexTable:
        return IndexTable(self, list(values))

    # Control flow

    def any(self, mask: MaskValue) -> Condition:
        kind = ir.FunctionType(I1, [self.mask_type])
        function = self.intrinsic(f"llvm.vector.reduce.or.v{self.lanes}i1", kind)
        return Condition(self.builder.call(function, [mask.code]))

    def none(self, mask: MaskValue) -> Condition:
        return Condition(self.builder.not_(self.any(mask).code))

    def less(self, a: IndexValue | int, b: IndexValue | int) -> Condition:
        return Condition(self.builder.icmp_signed("<", self.integer(a), self.integer(b)))

    def leave(self, condition: Condition) -> bool:
        onward = self.builder.function.append_basic_block()
        self.builder.cbranch(condition.code, self.exits[-1], onward)
        self.builder.position_at_end(onward)
        return False

    def when(self, condition: Condition) -> Iterator[None]:
        builder = self.builder
        body, end = (builder.function.append_basic_block() for _ in range(2))
        builder.cbranch(condition.code, body, end)
        builder.position_at_end(body)
        yield
        builder.branch(end)
        builder.position_at_end(end)

    # Functions

    def call(self, phase: Callable[..., None], w: Workspace) -> None:
        """A phase is a function of its own, emitted at its first call."""
        name = phase.__name__
        if name not in self._phases:
            outer = self.builder, self.exits
            kind = ir.FunctionType(ir.VoidType(), [POINTER] * 3)
            function = self._phases[name] = ir.Function(self.module, kind, name)
            function.linkage = "internal"
            function.attributes.add("noinline")
            function.attributes.alignstack = self.alignment
            for argument in function.args:
                argument.add_attribute("noalias")
            self.builder, self.exits = ir.IRBuilder(function.append_basic_block()), []
            phase(self, self.workspace(w.robot, *function.args))
            self.builder.ret_void()
            self.builder, self.exits = outer
        self.builder.call(self._phases[name], w.pointers)

    def workspace(self, robot: Robot, state: Any, work: Any, ground: Any) -> Workspace:
        """The workspace at these pointers; see `work_vectors` for the size of `work`."""
        work_fields, contacts_at = work_layout(robot), work_layout(robot).size
        legs, end = len(robot.legs) + 1, contacts_at + _contact_vectors(robot)
        integers = VectorMemory(self, work)._address(end)
        return Workspace(
            robot=robot,
            state=Fields(VectorMemory(self, state), state_layout(robot)),
            work=Fields(VectorMemory(self, work), work_fields),
            contacts=Contacts(
                VectorMemory(self, work, contacts_at),
                robot,
                IntegerMemory(self, integers, 1),
                IntegerMemory(self, integers, 1 + legs),
            ),
            limits=ConditionCell(self, IntegerMemory(self, integers), 0),
            ground=EmittedGround(self, ground),
            pointers=(state, work, ground),
        )


def _contact_vectors(robot: Robot) -> int:
    return contact_layout(robot).size * (len(robot.legs) + 1) * contact_room(robot)


def work_vectors(robot: Robot, lanes: int) -> int:
    """Vectors of a thread's scratch memory."""
    integers = 1 + (len(robot.legs) + 1) * (1 + contact_room(robot))
    return work_layout(robot).size + _contact_vectors(robot) - (-integers // lanes)

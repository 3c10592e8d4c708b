"""The program of one robot: emitted as LLVM IR, and its compiled functions."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import llvmlite.ir as ir

from legged_ppo.runtime.lanes.object_code import load_object
from legged_ppo.runtime.lanes.target import Target
from legged_ppo.runtime.lanes.values import I32, POINTER, IndexValue, Value
from legged_ppo.sim.simd.layout import state_layout
from legged_ppo.sim.simd.llvm_machine import LlvmMachine
from legged_ppo.sim.simd.readings import Wanted, flag_layout, number_layout, read_out
from legged_ppo.sim.simd.robot import Robot
from legged_ppo.sim.simd.rows import TensorRows, read_rows
from legged_ppo.sim.simd.substep import Collide, control_step, forward
from legged_ppo.sim.simd.workspace import Workspace

_ARGUMENTS = [POINTER, I32, I32, *[POINTER] * 6]


def emit(robot: Robot, wanted: Wanted, collide: Collide, lanes: int, triple: str) -> str:
    """LLVM IR of `control_step` and `forward`; for their arguments see `_export`."""
    m = LlvmMachine(lanes, triple)

    def whole_step(w: Workspace, substeps: IndexValue, targets: Callable[[], list[Value]]) -> None:
        for column, target in zip(wanted.columns, targets(), strict=True):
            w.state.target[column] = target
        control_step(m, w, collide, substeps)

    def measurement(w: Workspace, *_: Any) -> None:
        forward(m, w, collide)

    _export(m, robot, wanted, "control_step", whole_step)
    _export(m, robot, wanted, "forward", measurement)
    return str(m.module)


def _export(m: LlvmMachine, robot: Robot, wanted: Wanted, name: str, body: Any) -> None:
    """A function that takes one group of robots after another, until none is left for any thread.

    Its arguments: groups' memory, number of robots, substeps, number of the next group, targets, rows to fill
    with numbers and with flags, scratch memory, ground.
    """
    function = ir.Function(m.module, ir.FunctionType(ir.VoidType(), _ARGUMENTS), f"simd_{name}")
    function.attributes.alignstack = m.alignment
    state, robots, substeps, next_group, targets, numbers, flags, work, ground = function.args
    builder = m.builder = ir.IRBuilder(function.append_basic_block())
    take, run, end = (function.append_basic_block() for _ in range(3))
    groups = builder.sdiv(builder.add(robots, I32(m.lanes - 1)), I32(m.lanes))
    capacity, last = builder.mul(groups, I32(m.lanes)), builder.sub(robots, I32(1))
    builder.branch(take)
    builder.position_at_end(take)
    group = builder.atomic_rmw("add", next_group, I32(1), "monotonic")
    builder.cbranch(builder.icmp_signed("<", group, groups), run, end)
    builder.position_at_end(run)
    start = builder.mul(group, I32(state_layout(robot).size))
    own = builder.gep(state, [start], source_etype=m.float_type)
    first = builder.mul(group, I32(m.lanes))
    w = m.workspace(robot, own, work, ground)
    joints = len(wanted.columns)
    body(w, IndexValue(m, substeps), lambda: read_rows(m, targets, joints, first, last))
    number_rows = TensorRows(m, numbers, number_layout(robot, wanted), capacity, first)
    flag_rows = TensorRows(m, flags, flag_layout(wanted), capacity, first)
    read_out(m, w, wanted, number_rows, flag_rows)
    builder.branch(take)
    builder.position_at_end(end)
    builder.ret_void()


class Program:
    """Loaded object code."""

    def __init__(self, code: bytes, target: Target) -> None:
        self._engine = load_object(code, target)
        arguments = [ctypes.c_int if kind is I32 else ctypes.c_void_p for kind in _ARGUMENTS]
        kind = ctypes.CFUNCTYPE(None, *arguments)
        self.control_step = kind(self._engine.get_function_address("simd_control_step"))
        self.forward = kind(self._engine.get_function_address("simd_forward"))

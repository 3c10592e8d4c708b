"""The program of one robot: emitted as LLVM IR, and its compiled functions."""

from __future__ import annotations

import ctypes
from typing import Any

import llvmlite.ir as ir

from legged_ppo.runtime.lanes.object_code import load_object
from legged_ppo.runtime.lanes.target import Target
from legged_ppo.runtime.lanes.values import I32, POINTER, IndexValue, RowMemory
from legged_ppo.sim.simd.layout import state_layout
from legged_ppo.sim.simd.llvm_machine import LlvmMachine
from legged_ppo.sim.simd.readings import Wanted, read_out, reading_layout
from legged_ppo.sim.simd.robot import Robot
from legged_ppo.sim.simd.substep import Collide, control_step, forward


def emit(robot: Robot, wanted: Wanted, collide: Collide, lanes: int, triple: str) -> str:
    """LLVM IR of `control_step` and `forward`: (state, groups, substeps, next group, readings, work, ground)."""
    m = LlvmMachine(lanes, triple)
    _export(m, robot, wanted, "control_step", lambda w, n: control_step(m, w, collide, n))
    _export(m, robot, wanted, "forward", lambda w, n: forward(m, w, collide))
    return str(m.module)


def _export(m: LlvmMachine, robot: Robot, wanted: Wanted, name: str, body: Any) -> None:
    """A function that takes one group of robots after another, until none is left for any thread."""
    kind = ir.FunctionType(ir.VoidType(), [POINTER, I32, I32, *[POINTER] * 4])
    function = ir.Function(m.module, kind, f"simd_{name}")
    state, groups, substeps, next_group, readings, work, ground = function.args
    builder = m.builder = ir.IRBuilder(function.append_basic_block())
    take, run, end = (function.append_basic_block() for _ in range(3))
    builder.branch(take)
    builder.position_at_end(take)
    group = builder.atomic_rmw("add", next_group, I32(1), "monotonic")
    builder.cbranch(builder.icmp_signed("<", group, groups), run, end)
    builder.position_at_end(run)
    start = builder.mul(group, I32(state_layout(robot).size))
    own = builder.gep(state, [start], source_etype=m.float_type)
    w = m.workspace(robot, own, work, ground)
    body(w, IndexValue(m, substeps))
    rows = RowMemory(m, readings, reading_layout(robot, wanted).spans, groups, group)
    read_out(m, w, wanted, rows)
    builder.branch(take)
    builder.position_at_end(end)
    builder.ret_void()


class Program:
    """Loaded object code."""

    def __init__(self, code: bytes, target: Target) -> None:
        self._engine = load_object(code, target)
        kind = ctypes.CFUNCTYPE(
            None, *[ctypes.c_void_p, *[ctypes.c_int] * 2, *[ctypes.c_void_p] * 4]
        )
        self.control_step = kind(self._engine.get_function_address("simd_control_step"))
        self.forward = kind(self._engine.get_function_address("simd_forward"))

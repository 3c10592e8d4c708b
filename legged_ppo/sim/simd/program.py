"""The compiled program of one robot: emitted, optimised, kept on disk as object code, loaded."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import llvmlite.binding as llvm
import llvmlite.ir as ir

from legged_ppo.sim.simd.layout import state_layout
from legged_ppo.sim.simd.llvm_machine import LlvmMachine
from legged_ppo.sim.simd.llvm_values import I32, POINTER, IndexValue
from legged_ppo.sim.simd.robot import Robot
from legged_ppo.sim.simd.substep import Collide, control_step, forward


def emit(robot: Robot, collide: Collide, lanes: int, triple: str) -> str:
    """LLVM IR of `control_step` and `forward`: (state, groups, substeps, next group, work, ground)."""
    m = LlvmMachine(lanes, triple)
    _export(m, robot, "control_step", lambda w, n: control_step(m, w, collide, n))
    _export(m, robot, "forward", lambda w, n: forward(m, w, collide))
    return str(m.module)


def _export(m: LlvmMachine, robot: Robot, name: str, body: Any) -> None:
    """A function that takes one group of robots after another, until none is left for any thread."""
    kind = ir.FunctionType(ir.VoidType(), [POINTER, I32, I32, POINTER, POINTER, POINTER])
    function = ir.Function(m.module, kind, f"simd_{name}")
    state, groups, substeps, next_group, work, ground = function.args
    builder = m.builder = ir.IRBuilder(function.append_basic_block())
    take, run, end = (function.append_basic_block() for _ in range(3))
    builder.branch(take)
    builder.position_at_end(take)
    group = builder.atomic_rmw("add", next_group, I32(1), "monotonic")
    builder.cbranch(builder.icmp_signed("<", group, groups), run, end)
    builder.position_at_end(run)
    start = builder.mul(group, I32(state_layout(robot).size))
    own = builder.gep(state, [start], source_etype=m.float_type)
    body(m.workspace(robot, own, work, ground), IndexValue(m, substeps))
    builder.branch(take)
    builder.position_at_end(end)
    builder.ret_void()


@dataclass(frozen=True)
class Target:
    """The CPU that code is compiled for."""

    cpu: str
    features: str
    triple: str

    @property
    def lanes(self) -> int:
        """float32 numbers in a register: 16 with AVX-512, 8 with AVX, 4 (SSE, NEON)."""
        on = set(self.features.split(","))
        return 16 if "+avx512f" in on else 8 if "+avx" in on else 4


def host() -> Target:
    """This machine."""
    features = llvm.get_host_cpu_features().flatten()
    if "+avx512f" in features.split(","):
        features += (
            ",-prefer-256-bit"  # LLVM's default on CPUs whose clock once fell with wide registers
        )
    return Target(llvm.get_host_cpu_name(), features, llvm.get_default_triple())


def compile_object(text: str, target: Target) -> bytes:
    """Object code of LLVM IR."""
    module = llvm.parse_assembly(text)
    module.verify()
    machine = _target_machine(target)
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    return machine.emit_object(module)


def _target_machine(target: Target) -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    chosen = llvm.Target.from_triple(target.triple)
    return chosen.create_target_machine(cpu=target.cpu, features=target.features, opt=2)


def load_object(code: bytes, target: Target) -> Any:
    """Object code in memory: an engine that knows the addresses of its functions and must outlive them."""
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target_machine(target))
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return engine


class Program:
    """Loaded object code."""

    def __init__(self, code: bytes, target: Target) -> None:
        self._engine = load_object(code, target)
        kind = ctypes.CFUNCTYPE(
            None, *[ctypes.c_void_p, *[ctypes.c_int] * 2, *[ctypes.c_void_p] * 3]
        )
        self.control_step = kind(self._engine.get_function_address("simd_control_step"))
        self.forward = kind(self._engine.get_function_address("simd_forward"))

"""Rays on a CPU: `ray_march` compiled for SIMD lanes, each of which is a pixel."""

from __future__ import annotations

import ctypes
from typing import Any

import llvmlite.ir as ir
import torch

from legged_ppo.runtime.lanes.object_code import compile_object, load_object
from legged_ppo.runtime.lanes.target import host
from legged_ppo.runtime.lanes.team import run_each
from legged_ppo.runtime.lanes.values import I32, POINTER, IndexValue, Value, VectorMemory
from legged_ppo.sensors.ray_march import MOST_STEPS, Position, Ray, advance, ray_of, start
from legged_ppo.sim.simd.llvm_machine import LlvmMachine

_POSE = 12
"""Numbers of a camera: the origin and the rows of its rotation."""


class CompiledMarch:
    """Depths of the rays through pixels, computed by threads that take one camera after another.

    Args:
        planes: [tiles, planes, 4], of a `Surface`, with `cells` cells along an edge.
        directions: [3, P], see `pixel_directions`.
        far: depth [m] at which rays end.
    """

    def __init__(
        self, planes: torch.Tensor, cells: int, directions: torch.Tensor, far: float, threads: int
    ) -> None:
        target = host()
        self._planes, self._pixels = planes, directions.shape[1]
        self._groups = -(-self._pixels // target.lanes)
        padding = self._groups * target.lanes - self._pixels
        left_up = torch.nn.functional.pad(directions[1:], (0, padding))
        # [groups, 2, lanes], so that a group's numbers lie side by side
        self._rays = left_up.unflatten(1, (-1, target.lanes)).transpose(0, 1).contiguous()
        self._engine = load_object(
            compile_object(_emit(cells, far, target.lanes, target.triple), target), target
        )
        kind = ctypes.CFUNCTYPE(
            None, *[ctypes.c_void_p] * 2, ctypes.c_int, *[ctypes.c_void_p] * 3, ctypes.c_int
        )
        self._function = kind(self._engine.get_function_address("march"))
        self._threads = threads

    def __call__(
        self, origin: torch.Tensor, rotation: torch.Tensor, tile: torch.Tensor
    ) -> torch.Tensor:
        """Depths [n, P] m, at most `far`.

        Args:
            origin: [n, 3], cameras in cells from their tile's corner, and m.
            rotation: [n, 3, 3], columns: optical axis, left and up, in cells and m.
            tile: [n] int64.
        """
        count = len(tile)
        cameras = torch.cat([origin, rotation.flatten(1)], dim=1).contiguous()
        stride = self._planes[0].numel() * self._planes.element_size()
        tables = self._planes.data_ptr() + tile * stride
        depths = torch.empty(count, self._rays[:, 0].numel())
        following = ctypes.c_int(0)
        arguments = (
            cameras.data_ptr(),
            tables.data_ptr(),
            count,
            ctypes.addressof(following),
            self._rays.data_ptr(),
            depths.data_ptr(),
            self._groups,
        )
        run_each(self._function, [arguments] * min(self._threads, count))
        return depths[:, : self._pixels]


def _emit(cells: int, far: float, lanes: int, triple: str) -> str:
    """LLVM IR of `march`: (cameras, tables, count, next camera, pixels, depths, groups of pixels)."""
    m = LlvmMachine(lanes, triple)
    kind = ir.FunctionType(ir.VoidType(), [POINTER, POINTER, I32, POINTER, POINTER, POINTER, I32])
    function = ir.Function(m.module, kind, "march")
    cameras, tables, count, following, pixels, depths, groups = function.args
    builder = m.builder = ir.IRBuilder(function.append_basic_block())
    take, run, end = (function.append_basic_block() for _ in range(3))
    builder.branch(take)
    builder.position_at_end(take)
    camera = builder.atomic_rmw("add", following, I32(1), "monotonic")
    builder.cbranch(builder.icmp_signed("<", camera, count), run, end)
    builder.position_at_end(run)
    own = builder.gep(cameras, [builder.mul(camera, I32(_POSE))], source_etype=ir.FloatType())
    pose = [m.load_number(own, i) for i in range(_POSE)]
    table = builder.load(builder.gep(tables, [camera], source_etype=POINTER), typ=POINTER, align=8)
    number, rays = IndexValue(m, groups), VectorMemory(m, pixels)
    image = VectorMemory(m, depths, IndexValue(m, camera) * number)
    for group in m.loop(number):
        left, up = rays.read(group * 2, 2)
        image[group] = _marched(m, _ray(m, pose, left, up), table, cells, far)
    builder.branch(take)
    builder.position_at_end(end)
    builder.ret_void()
    return str(m.module)


def _ray(m: LlvmMachine, pose: list[Value], left: Value, up: Value) -> Ray:
    x, y, z = (pose[i] + pose[i + 1] * left + pose[i + 2] * up for i in (3, 6, 9))
    return ray_of(m, (pose[0], pose[1], pose[2]), (x, y, z))


def _marched(m: LlvmMachine, ray: Ray, table: Any, cells: int, far: float) -> Value:
    """Depths of a group of rays."""
    at = start(Value(m, m.vector(0.0)), m.mask(True))
    depth, cell = m.variable(at.depth), m.variable(at.cell)
    going: Any = m.variable(at.going)
    for _ in m.loop(MOST_STEPS):
        if m.leave(m.none(going.value)):
            break
        at = Position(depth.value, cell.value, going.value)
        at = advance(m, ray, at, table, cells, far)
        depth.value, cell.value, going.value = at.depth, at.cell, at.going
    found: Value = m.minimum(depth.value, far)
    return found

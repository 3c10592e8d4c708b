"""Where each quantity lies in the memory of a group of robots; every entry is one number a robot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from legged_ppo.sim.simd.machine import Index, Memory
from legged_ppo.sim.simd.robot import Robot

EDGES = 4
"""Edges of the friction pyramid of a contact with two tangents."""


def triangle(i: int, j: int) -> int:
    """Position of entry (i, j) of a symmetric matrix in its lower triangle, row by row."""
    return i * (i + 1) // 2 + j if i >= j else j * (j + 1) // 2 + i


@dataclass(frozen=True)
class Layout:
    """Named spans of a memory."""

    spans: dict[str, tuple[int, int]]
    """name: start, length"""

    @property
    def size(self) -> int:
        return sum(length for _, length in self.spans.values())

    def slice(self, name: str) -> slice:
        start, length = self.spans[name]
        return slice(start, start + length)


class Fields:
    """A memory whose spans are attributes: `fields.qvel[3]`."""

    def __init__(self, memory: Memory, layout: Layout) -> None:
        self.memory, self.layout = memory, layout

    def __getattr__(self, name: str) -> Memory:
        try:
            return self.memory.part(self.layout.spans[name][0])
        except KeyError:
            raise AttributeError(name) from None


def laid_out(sizes: dict[str, int]) -> Layout:
    """One span after another."""
    spans, start = {}, 0
    for name, length in sizes.items():
        spans[name] = (start, length)
        start += length
    return Layout(spans)


def state_layout(robot: Robot) -> Layout:
    """What lasts from step to step: state, targets, parameters, and what the last substep measured."""
    joints, feet, colliders = robot.num_joints, len(robot.feet), len(robot.colliders)
    return laid_out(
        {
            # The state and what the last substep measured.
            "qpos": 7 + joints,
            "qvel": 6 + joints,
            "torque": joints,
            "foot_pos": 3 * feet,
            "foot_vel": 3 * feet,
            "foot_force": 3 * feet,
            "touch": colliders,
            # (x, y) from which this robot's positions count: near it, so that float32 resolves them.
            "origin": 2,
            "warmstart": 6 + joints,
            "target": joints,
            "previous_target": joints,
            "latency": 1,
            # Parameters of each robot, which are written together: the base's inertia (as `Inertia`), motors,
            # friction, inverse weights.
            "mass": 1,
            "moment": 3,
            "tensor": 6,
            "kp": joints,
            "kd": joints,
            "armature": joints,
            "friction": feet,
            "collider_invweight": colliders,
            "joint_invweight": joints,
        }
    )


def work_layout(robot: Robot) -> Layout:
    """Scratch memory of one substep, but for the contacts, which follow it."""
    nv, joints, legs = 6 + robot.num_joints, robot.num_joints, len(robot.legs)
    colliders, most = len(robot.colliders), robot.joints_per_leg
    # One leg more than there are: the rows in which contacts of the base put their zeros.
    arrow = {"base": 21, "leg": (legs + 1) * triangle(most, 0), "coupling": (legs + 1) * most * 6}
    mass = {f"mass_{name}": size for name, size in arrow.items()}
    hessian = {f"hessian_{name}": size for name, size in arrow.items()}
    vectors = dict.fromkeys(("force", "velocity", "x", "gradient", "direction"), nv + most)
    return laid_out(
        {
            **mass,
            **hessian,
            **vectors,
            "command": joints,
            "mass_x": nv,
            "mass_direction": nv,
            "inertia_trace": 1,
            "rotation": 9,
            "anchor": 3 * (joints + most),
            "axis": 3 * (joints + most),
            "collider_centre": 3 * colliders,
            "collider_axis": 3 * colliders,
            "implicit_damping": joints,
            "limit_residual": joints,
            "limit_step": joints,
            "limit_reference": joints,
            "limit_weight": joints,
            "limit_sign": joints,
        }
    )


def contact_layout(robot: Robot) -> Layout:
    """One contact; vectors are in the base's axes, `point` is from the base's origin."""
    return laid_out(
        {
            "point": 3,
            "joint_columns": 3 * robot.joints_per_leg,
            "normal": 3,
            "tangent": 3,
            "bitangent": 3,
            "friction": 1,
            "weight": 1,
            "reference": 3,
            "residual": EDGES,
            "step": EDGES,
        }
    )


class Contacts:
    """The contacts of a substep: `contacts[k]` is the k-th; `leg`, `collider`: shared integers of each."""

    def __init__(self, memory: Memory, layout: Layout, leg: Any, collider: Any) -> None:
        self._memory, self._layout = memory, layout
        self.leg, self.collider = leg, collider

    def __getitem__(self, index: Index) -> Fields:
        return Fields(self._memory.part(index * self._layout.size), self._layout)

"""What the task reads after a control step: one row a robot, in the task's order of joints and bodies.

The compiled code writes these rows itself, because two dozen small tensor operations cost as much as the
physics of a few hundred robots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from legged_ppo.sim.simd.layout import Layout, laid_out
from legged_ppo.sim.simd.machine import Machine, Mask, Vector
from legged_ppo.sim.simd.robot import Robot
from legged_ppo.sim.simd.spatial import add, dot, quaternion_matrix, times, transposed
from legged_ppo.sim.simd.workspace import Workspace
from legged_ppo.sim.simulator import SimState

if TYPE_CHECKING:
    from legged_ppo.sim.simd.rows import TensorRows

_LARGEST = 3.4e38
"""Above every finite number that a state has."""
_UPRIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
"""Rotation matrix of a failed robot"""
_OF_VECTORS = ("base_rotation", "foot_pos", "foot_vel")
"""Fields whose rows are vectors of three"""
_OF_ROBOTS = ("termination_contact", "failed")
"""Fields of one entry a robot"""


@dataclass(frozen=True)
class Wanted:
    """Which of the robot's joints and colliders the task reads."""

    columns: tuple[int, ...]
    """Of the joints, in the task's order."""
    penalized: tuple[int, ...]
    """Colliders of the penalised bodies."""
    termination: tuple[int, ...]
    """Colliders of the termination bodies."""
    max_velocity: float
    """m/s, rad/s; a robot with a faster coordinate has failed."""
    rest: tuple[float, ...]
    """[7 + J] m and rad, the pose that is read of a failed robot"""


def number_layout(robot: Robot, wanted: Wanted) -> Layout:
    """The fields of `SimState` that are numbers, and the lengths of their rows."""
    joints, feet = len(wanted.columns), len(robot.feet)
    return laid_out(
        {
            "base_pos": 3,
            "base_quat": 4,
            "base_rotation": 9,
            "base_lin_vel": 3,
            "base_ang_vel": 3,
            "joint_pos": joints,
            "joint_vel": joints,
            "joint_torque": joints,
            "foot_pos": 3 * feet,
            "foot_vel": 3 * feet,
            "foot_force": feet,
        }
    )


def flag_layout(wanted: Wanted) -> Layout:
    """Those that are bool."""
    return laid_out(
        {
            "penalized_contact": len(wanted.penalized),
            "termination_contact": 1,
            "failed": 1,
        }
    )


def read_out(
    m: Machine, w: Workspace, wanted: Wanted, numbers: TensorRows, flags: TensorRows
) -> None:
    """Fill the rows from the state and from what the last substep measured; of a failed robot, at rest."""
    state, columns, rest = w.state, wanted.columns, wanted.rest
    qvel = state.qvel.read(0, 6 + w.robot.num_joints)
    qpos = state.qpos.read(0, 7 + w.robot.num_joints)
    origin = [*state.origin.read(0, 2), 0.0]
    rotation = quaternion_matrix(qpos[3:7])
    sound = _sound(m, qpos, qvel, wanted.max_velocity)

    def write(name: str, values: Vector, at_rest: Sequence[float] = ()) -> None:
        others = at_rest or [0.0] * len(values)
        numbers.write(name, [m.select(sound, x, y) for x, y in zip(values, others, strict=True)])

    write("base_pos", add(qpos[:3], origin), rest[:3])
    write("base_quat", qpos[3:7], rest[3:7])
    write("base_rotation", [x for row in rotation for x in row], _UPRIGHT)
    write("base_lin_vel", times(transposed(rotation), qvel[:3]))
    write("base_ang_vel", qvel[3:6])
    write("joint_pos", [qpos[7 + c] for c in columns], rest[7:])
    write("joint_vel", [qvel[6 + c] for c in columns])
    write("joint_torque", [state.torque[c] for c in columns])
    feet = range(0, 3 * len(w.robot.feet), 3)
    force = [state.foot_force.read(i, 3) for i in feet]
    write("foot_pos", [x for i in feet for x in add(state.foot_pos.read(i, 3), origin)])
    write("foot_vel", state.foot_vel.read(0, len(feet) * 3))
    write("foot_force", [m.sqrt(dot(f, f)) for f in force])

    def touching(collider: int) -> Mask:
        return sound & (state.touch[collider] > 0.0)

    ended = m.mask(False)
    for i in wanted.termination:
        ended = ended | touching(i)
    flags.write_flags("penalized_contact", [touching(i) for i in wanted.penalized])
    flags.write_flags("termination_contact", [ended])
    flags.write_flags("failed", [~sound])


def _sound(m: Machine, qpos: Vector, qvel: Vector, max_velocity: float) -> Mask:
    """Finite and not too fast; a NaN fails every comparison."""
    sound = m.mask(True)
    for limit, values in ((_LARGEST, qpos), (max_velocity, qvel)):
        for x in values:
            sound = sound & (m.absolute(x) < limit)
    return sound


class Readings:
    """Where the rows of some robots lie: float32 and bool, [capacity, length] of one name after another."""

    def __init__(self, layouts: tuple[Layout, Layout], num_envs: int, capacity: int) -> None:
        self._sizes = [layout.size * capacity for layout in layouts]
        self._views = [
            [_view(name, start * capacity, length, num_envs) for name, (start, length) in spans]
            for spans in (layout.spans.items() for layout in layouts)
        ]

    def memory(self) -> tuple[torch.Tensor, torch.Tensor]:
        """New memory for the numbers and for the flags."""
        numbers, flags = self._sizes
        return torch.empty(numbers), torch.empty(flags, dtype=torch.bool)

    def state(self, numbers: torch.Tensor, flags: torch.Tensor) -> SimState:
        """Views of the rows in such memory; the layouts' names are `SimState`'s, in this order."""
        of_numbers, of_flags = self._views
        return SimState(
            *[numbers.as_strided(*view) for view in of_numbers],
            *[flags.as_strided(*view) for view in of_flags],
        )


def _view(name: str, offset: int, length: int, num_envs: int) -> tuple[Any, Any, int]:
    """Shape, strides and offset of a field."""
    if name in _OF_VECTORS:
        return (num_envs, length // 3, 3), (length, 3, 1), offset
    if name in _OF_ROBOTS:
        return (num_envs,), (1,), offset
    return (num_envs, length), (length, 1), offset

"""What the task reads after a control step: one row a robot, in the task's order of joints and bodies.

The compiled code writes these rows itself, because a dozen small tensor operations cost as much as the
physics of a few hundred robots.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch

from legged_ppo.sim.simd.layout import Layout, laid_out
from legged_ppo.sim.simd.machine import Machine, Mask, Number, Vector
from legged_ppo.sim.simd.robot import Robot
from legged_ppo.sim.simd.spatial import add, dot, quaternion_matrix, times, transposed
from legged_ppo.sim.simd.workspace import Workspace
from legged_ppo.sim.simulator import SimState

_LARGEST = 3.4e38
"""Above every finite number that a state has."""
_FLAGS = ("penalized_contact", "termination_contact", "failed")


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


class Rows(Protocol):
    """Memory of one row a robot for each name."""

    def write(self, name: str, values: Vector) -> None:
        """Fill the robots' rows of this name."""
        ...


def reading_layout(robot: Robot, wanted: Wanted) -> Layout:
    """The fields of `SimState` and the lengths of their rows; the flags are last."""
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
            "penalized_contact": len(wanted.penalized),
            "termination_contact": 1,
            "failed": 1,
        }
    )


def read_out(m: Machine, w: Workspace, wanted: Wanted, rows: Rows) -> None:
    """Fill the rows from the state and from what the last substep measured."""
    state, columns = w.state, wanted.columns
    qvel = state.qvel.read(0, 6 + w.robot.num_joints)
    qpos = state.qpos.read(0, 7 + w.robot.num_joints)
    origin = [*state.origin.read(0, 2), 0.0]
    rotation = quaternion_matrix(qpos[3:7])
    rows.write("base_pos", add(qpos[:3], origin))
    rows.write("base_quat", qpos[3:7])
    rows.write("base_rotation", [x for row in rotation for x in row])
    rows.write("base_lin_vel", times(transposed(rotation), qvel[:3]))
    rows.write("base_ang_vel", qvel[3:6])
    rows.write("joint_pos", [qpos[7 + c] for c in columns])
    rows.write("joint_vel", [qvel[6 + c] for c in columns])
    rows.write("joint_torque", [state.torque[c] for c in columns])
    feet = range(0, 3 * len(w.robot.feet), 3)
    force = [state.foot_force.read(i, 3) for i in feet]
    rows.write("foot_pos", [x for i in feet for x in add(state.foot_pos.read(i, 3), origin)])
    rows.write("foot_vel", state.foot_vel.read(0, len(feet) * 3))
    rows.write("foot_force", [m.sqrt(dot(f, f)) for f in force])
    touching = {i: state.touch[i] > 0.0 for i in (*wanted.penalized, *wanted.termination)}
    rows.write("penalized_contact", [_flag(m, touching[i]) for i in wanted.penalized])
    ended = m.mask(False)
    for i in wanted.termination:
        ended = ended | touching[i]
    rows.write("termination_contact", [_flag(m, ended)])
    rows.write("failed", [_flag(m, ~_sound(m, qpos, qvel, wanted.max_velocity))])


def _flag(m: Machine, mask: Mask) -> Number:
    return m.select(mask, 1.0, 0.0)


def _sound(m: Machine, qpos: Vector, qvel: Vector, max_velocity: float) -> Mask:
    """Finite and not too fast; a NaN fails every comparison."""
    sound = m.mask(True)
    for limit, values in ((_LARGEST, qpos), (max_velocity, qvel)):
        for x in values:
            sound = sound & (m.absolute(x) < limit)
    return sound


class Readings:
    """Memory for the rows of some robots, [capacity, length] float32 of one name after another."""

    def __init__(self, layout: Layout, num_envs: int, capacity: int) -> None:
        self._layout, self._num_envs, self.capacity = layout, num_envs, capacity
        self._block = torch.empty(layout.size * capacity)

    @property
    def address(self) -> int:
        return self._block.data_ptr()

    def state(self, rest: torch.Tensor) -> SimState:
        """Views of the rows; those of failed robots become the default pose, [7 + J] m and rad, at rest."""
        read = self._views(self._block, self._layout.spans)
        flags = self._block[self._layout.spans[_FLAGS[0]][0] * self.capacity :] > 0.0
        read |= self._views(flags, {name: self._layout.spans[name] for name in _FLAGS})
        for name in ("termination_contact", "failed"):
            read[name] = read[name][:, 0]
        if bool(read["failed"].any()):
            _put_to_rest(read, rest)
        for name in ("base_rotation", "foot_pos", "foot_vel"):
            read[name] = read[name].unflatten(1, (-1, 3))
        return SimState(**read)

    def _views(
        self, block: torch.Tensor, spans: dict[str, tuple[int, int]]
    ) -> dict[str, torch.Tensor]:
        begin = next(iter(spans.values()))[0]
        return {
            name: block.as_strided(
                (self._num_envs, length), (length, 1), (start - begin) * self.capacity
            )
            for name, (start, length) in spans.items()
        }


def _put_to_rest(read: dict[str, Any], rest: torch.Tensor) -> None:
    failed = read["failed"]
    for name, rows in read.items():
        if name != "failed":
            rows[failed] = 0
    read["base_pos"][failed], read["base_quat"][failed] = rest[:3], rest[3:7]
    read["base_rotation"][failed] = torch.eye(3).flatten()
    read["joint_pos"][failed] = rest[7:]

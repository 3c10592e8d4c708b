"""Where each quantity lies in the memory of a group of robots; every entry is one number a robot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from legged_ppo.sim.simd.machine import Index, Machine, Memory
from legged_ppo.sim.simd.robot import Robot

EDGES = 4
"""Edges of the friction pyramid of a contact with two tangents."""
ROOM = 6
"""Touches of one collider of a robot that become contacts."""


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


def eliminated_size(joints: int) -> int:
    """Numbers that an eliminated leg of so many joints leaves: see `arrow.Elimination`."""
    return joints + 6 * joints + joints * (joints - 1) // 2


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
    # Of one leg more than there are: the zeros that contacts of the base read.
    vectors = dict.fromkeys(("velocity", "x", "direction"), nv + most)
    return laid_out(
        {
            "mass_base": 21,
            "mass_leg": legs * triangle(most, 0),
            "mass_coupling": legs * most * 6,
            "eliminated": legs * eliminated_size(most),
            **vectors,
            "force": nv,
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


def contact_room(robot: Robot) -> int:
    """Contacts of a leg, or of the base, that a group of robots has room for."""
    legs = [collider.leg for collider in robot.colliders]
    return ROOM * max(map(legs.count, legs), default=0)


class Contacts:
    """The contacts of a substep by leg; those of the base count as one leg more.

    Attributes:
        count: shared integers, the contacts of each leg.
        collider: shared integers, the collider of the contact at each place.
    """

    def __init__(self, memory: Memory, robot: Robot, count: Any, collider: Any) -> None:
        self._memory, self._layout, self._room = memory, contact_layout(robot), contact_room(robot)
        self._legs = len(robot.legs)
        self.count, self.collider = count, collider

    def first(self, leg: Index) -> Index:
        """The place of a leg's first contact, which the others follow."""
        return leg * self._room

    def __getitem__(self, place: Index) -> Fields:
        return Fields(self._memory.part(place * self._layout.size), self._layout)

    def of_leg(self, m: Machine, leg: Index) -> Iterator[Index]:
        """A loop over the places of a leg's contacts."""
        for k in m.loop(self.count[leg]):
            yield self.first(leg) + k

    def all(self, m: Machine) -> Iterator[tuple[Index, Index]]:
        """A loop over the legs and places of all contacts."""
        for leg in m.loop(self._legs + 1):
            for place in self.of_leg(m, leg):
                yield leg, place

"""Places where a collider touches the ground, collected lane by lane before they become contacts.

Robots of a group touch different boxes or triangles. A robot's first touch takes place 0 whatever it touches,
so a group has as many contacts of a collider as its busiest robot, not as many as all of its robots together.
"""

from __future__ import annotations

from dataclasses import dataclass

from legged_ppo.sim.simd.contacts import TINY, Colliders, add_contact, rotation_of
from legged_ppo.sim.simd.machine import Index, Machine, Mask, Number, Vector
from legged_ppo.sim.simd.spatial import add, dot, scale, subtract, times, transposed
from legged_ppo.sim.simd.workspace import Workspace

_FREE = 1.0
"""A distance that no touch has."""


@dataclass
class Geom:
    """A sphere, or a capsule, in the world's axes."""

    centre: Vector
    half: Vector | None
    """from the centre to an end; None for a sphere"""
    radius: Number

    def extent(self, m: Machine, axis: int) -> Number:
        """Half of its size along an axis."""
        return self.radius if self.half is None else m.absolute(self.half[axis]) + self.radius

    def point(self, along: Number) -> Vector:
        """Of the segment: -1 and 1 are its ends."""
        return self.centre if self.half is None else add(self.centre, scale(self.half, along))


class Touches:
    """Room for some touches of one geom in each robot; a robot's further touches are left out."""

    def __init__(self, m: Machine, geom: Geom, room: int) -> None:
        self._m, self._geom = m, geom
        # Distance and normal; of a capsule also the position along it, and whether its axis is the tangent.
        numbers = 4 if geom.half is None else 6
        self._places = [
            [m.variable(_FREE if i == 0 else 0.0) for i in range(numbers)] for _ in range(room)
        ]

    def add(
        self,
        touch: Mask,
        distance: Number,
        normal: Vector,
        along: Number = 0.0,
        tangent_is_axis: bool = False,
    ) -> None:
        """The sphere about a point of the geom's segment touches, where `touch` holds.

        Args:
            distance: m, negative, of the sphere's surface.
            normal: [3] out of the ground.
        """
        m = self._m
        touching = m.variable(touch)
        for place in self._places:
            for _ in m.when(m.any(touching.value)):
                take = touching.value & (place[0].value > 0.0)
                new = [distance, *normal, along, float(tangent_is_axis)]
                for variable, number in zip(place, new, strict=False):
                    variable.value = m.select(take, number, variable.value)
                touching.value = touching.value & ~take

    def add_contacts(self, w: Workspace, table: Colliders, collider: Index) -> None:
        """Make contacts of all touches."""
        m = self._m
        to_base = transposed(rotation_of(w))
        base = w.state.qpos.read(0, 3)
        for place in self._places:
            touch = place[0].value < 0.0
            for _ in m.when(m.any(touch)):
                distance, *rest = [variable.value for variable in place]
                normal, along = rest[:3], rest[3:]
                centre = self._geom.point(*along[:1]) if along else self._geom.centre
                depth = table.radius[collider] + distance * 0.5
                point = subtract(subtract(centre, scale(normal, depth)), base)
                vectors = [times(to_base, v) for v in (point, normal, self._tangent(normal, along))]
                add_contact(m, w, table, collider, touch, distance, *vectors)

    def _tangent(self, normal: Vector, along: Vector) -> Vector:
        """The unit vector across the normal that MuJoCo takes (mju_makeFrame)."""
        m, half = self._m, self._geom.half
        upright = m.absolute(normal[1]) < 0.5
        tangent = [0.0, m.select(upright, 1.0, 0.0), m.select(upright, 0.0, 1.0)]
        if half is not None:
            by_axis = along[1] > 0.5
            tangent = [m.select(by_axis, a, b) for a, b in zip(half, tangent, strict=True)]
        across = subtract(tangent, scale(normal, dot(normal, tangent)))
        return scale(across, m.reciprocal(m.sqrt(m.maximum(dot(across, across), TINY))))

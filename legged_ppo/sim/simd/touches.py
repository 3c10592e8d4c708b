"""Places where a collider touches the ground, collected lane by lane before they become contacts.

Robots of a group touch different boxes or triangles. A robot's first touch takes place 0 whatever it touches,
so a group has as many contacts of a collider as its busiest robot, not as many as all of its robots together.
"""

from __future__ import annotations

from legged_ppo.sim.simd.contacts import TINY, Colliders, add_contact, rotation_of
from legged_ppo.sim.simd.machine import Index, Machine, Mask, Number, Vector
from legged_ppo.sim.simd.spatial import dot, scale, subtract, times, transposed
from legged_ppo.sim.simd.workspace import Workspace

_DISTANCE = 0
_FREE = 1.0
"""A distance that no touch has."""


class Touches:
    """Room for some touches of one collider in each robot; a robot's further touches are left out."""

    def __init__(self, m: Machine, room: int) -> None:
        self._m = m
        empty = [_FREE] + [0.0] * 9
        self._places = [[m.variable(number) for number in empty] for _ in range(room)]

    def add(
        self, touch: Mask, distance: Number, normal: Vector, centre: Vector, tangent: Vector | None
    ) -> None:
        """A sphere at `centre` touches, where `touch` holds; all in the world.

        Args:
            distance: m, negative, of the sphere's surface.
            normal: [3] out of the ground.
            tangent: [3] the preferred direction across it; None for MuJoCo's choice.
        """
        if tangent is None:
            upright = self._m.absolute(normal[1]) < 0.5
            tangent = [0.0, self._m.select(upright, 1.0, 0.0), self._m.select(upright, 0.0, 1.0)]
        touching = touch
        for place in self._places:
            take = touching & (place[_DISTANCE].value > 0.0)
            for variable, new in zip(place, [distance, *normal, *tangent, *centre], strict=True):
                variable.value = self._m.select(take, new, variable.value)
            touching = touching & ~take

    def add_contacts(self, w: Workspace, table: Colliders, collider: Index) -> None:
        """Make contacts of all touches."""
        m = self._m
        to_base = transposed(rotation_of(w))
        base = w.state.qpos.read(0, 3)
        for place in self._places:
            touch = place[_DISTANCE].value < 0.0
            for _ in m.when(m.any(touch)):
                distance, *rest = [variable.value for variable in place]
                normal, tangent, centre = rest[0:3], rest[3:6], rest[6:9]
                depth = table.radius[collider] + distance * 0.5
                point = subtract(subtract(centre, scale(normal, depth)), base)
                across = subtract(tangent, scale(normal, dot(normal, tangent)))
                size = m.sqrt(m.maximum(dot(across, across), TINY))
                across = scale(across, m.reciprocal(size))
                vectors = [times(to_base, v) for v in (point, normal, across)]
                add_contact(m, w, table, collider, touch, distance, *vectors)

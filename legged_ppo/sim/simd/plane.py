"""Contacts with a horizontal plane (engine_collision_primitive.c: mjc_PlaneSphere, mjc_PlaneCapsule)."""

from __future__ import annotations

from legged_ppo.sim.simd.contacts import TINY, Colliders, add_contact, rotation_of
from legged_ppo.sim.simd.machine import Index, Machine, Number, Vector
from legged_ppo.sim.simd.spatial import add, dot, scale, subtract
from legged_ppo.sim.simd.workspace import Workspace


def plane_contacts(m: Machine, w: Workspace) -> None:
    """Contacts of spheres and of both ends of capsules."""
    table = Colliders(m, w)
    spheres = sum(c.half_length == 0.0 for c in w.robot.colliders)
    up = rotation_of(w)[2]  # the plane's normal in the base's axes
    for i in m.loop(spheres):
        centre = w.work.collider_centre.read(3 * i, 3)
        _end(m, w, table, i, centre, None, up)
    for k in m.loop(len(w.robot.colliders) - spheres):
        i = k + spheres
        axis = w.work.collider_axis.read(3 * i, 3)
        half = scale(axis, table.half_length[i])
        for end in (add, subtract):
            _end(m, w, table, i, end(w.work.collider_centre.read(3 * i, 3), half), axis, up)


def _end(
    m: Machine,
    w: Workspace,
    table: Colliders,
    collider: Index,
    centre: Vector,
    axis: Vector | None,
    up: Vector,
) -> None:
    height: Number = w.state.qpos[2] + dot(up, centre) - w.ground.plane
    radius = table.radius[collider]
    distance = height - radius
    touch = distance < 0.0
    for _ in m.when(m.any(touch)):
        point = subtract(centre, scale(up, radius + distance * 0.5))
        tangent = plane_tangent(m, w, up) if axis is None else across(m, up, axis)
        add_contact(m, w, table, collider, touch, distance, point, up, tangent)


def plane_tangent(m: Machine, w: Workspace, up: Vector) -> Vector:
    """World y in the base's axes: MuJoCo's choice for a vertical normal."""
    return rotation_of(w)[1]


def across(m: Machine, normal: Vector, v: Vector) -> Vector:
    """The unit vector across `normal` that is nearest to `v`."""
    rest = subtract(v, scale(normal, dot(normal, v)))
    return scale(rest, m.reciprocal(m.sqrt(m.maximum(dot(rest, rest), TINY))))

"""Contacts of all colliders with the plane, boxes and height field of the cell that each collider is in.

Positions count from the robot's origin (`layout.state_layout`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from legged_ppo.sim.simd.boxes import Box, capsule_box, sphere_box
from legged_ppo.sim.simd.contacts import Colliders, rotation_of
from legged_ppo.sim.simd.height_fields import Field, field_touches
from legged_ppo.sim.simd.layout import ROOM
from legged_ppo.sim.simd.machine import Index, Machine, Mask, Number
from legged_ppo.sim.simd.spatial import add, scale, times
from legged_ppo.sim.simd.touches import Geom, Touches
from legged_ppo.sim.simd.workspace import Workspace


@dataclass(frozen=True)
class Kind:
    """What a terrain is made of, besides planes."""

    boxes: bool
    fields: bool


def box_contacts(m: Machine, w: Workspace) -> None:
    """Contacts with planes and boxes."""
    _contacts(m, w, Kind(boxes=True, fields=False))


def field_contacts(m: Machine, w: Workspace) -> None:
    """Contacts with planes and height fields."""
    _contacts(m, w, Kind(boxes=False, fields=True))


def mixed_contacts(m: Machine, w: Workspace) -> None:
    """Contacts with planes, boxes and height fields."""
    _contacts(m, w, Kind(boxes=True, fields=True))


def _contacts(m: Machine, w: Workspace, kind: Kind) -> None:
    table = Colliders(m, w)
    spheres = sum(c.half_length == 0.0 for c in w.robot.colliders)
    rotation, base = rotation_of(w), w.state.qpos.read(0, 3)
    for i in m.loop(spheres):
        centre = add(base, times(rotation, w.work.collider_centre.read(3 * i, 3)))
        _collider(m, w, kind, table, i, Geom(centre, None, table.radius[i]))
    for k in m.loop(len(w.robot.colliders) - spheres):
        i = k + spheres
        centre = add(base, times(rotation, w.work.collider_centre.read(3 * i, 3)))
        axis = times(rotation, w.work.collider_axis.read(3 * i, 3))
        geom = Geom(centre, scale(axis, table.half_length[i]), table.radius[i])
        _collider(m, w, kind, table, i, geom)


def _collider(m: Machine, w: Workspace, kind: Kind, table: Colliders, i: Index, geom: Geom) -> None:
    cell, clearance = _cell(m, w, geom)
    for _ in m.when(m.any(clearance < geom.radius)):
        touches = Touches(m, geom, ROOM)
        _plane(m, w, geom, cell, touches)
        if kind.boxes:
            _boxes(m, w, geom, cell, touches)
        if kind.fields:
            _field(m, w, geom, cell, touches)
        touches.add_contacts(w, table, i)


def _cell(m: Machine, w: Workspace, geom: Geom) -> tuple[Number, Number]:
    """Number of the cell at a geom's centre (the nearest one outside); a lower bound of its distance there."""
    ground, position, half = w.ground, geom.centre, geom.half
    from_x, from_y = (
        position[k] + w.state.origin[k] - low for k, low in enumerate((ground.x, ground.y))
    )
    i, j = m.floor(from_x / ground.cell), m.floor(from_y / ground.cell)
    # In this order a NaN becomes a cell too.
    i = m.minimum(m.maximum(i, 0.0), ground.last_x)
    j = m.minimum(m.maximum(j, 0.0), ground.last_y)
    cell = i * (ground.last_y + 1.0) + j
    top, slope_x, slope_y = m.record(ground.cell_bound, cell * 4.0, 3)
    x, y = from_x - (i + 0.5) * ground.cell, from_y - (j + 0.5) * ground.cell
    above = position[2] - top - slope_x * x - slope_y * y
    if half is not None:
        above = above - m.absolute(half[2] - slope_x * half[0] - slope_y * half[1])
    # Of a height over a plane, the distance is the share cos(slope) = 1 / sqrt(1 + tan(slope)^2).
    return cell, above * m.reciprocal(m.sqrt(slope_x * slope_x + slope_y * slope_y + 1.0))


def _plane(m: Machine, w: Workspace, geom: Geom, cell: Number, touches: Touches) -> None:
    height = m.gather(w.ground.cell_plane, cell) + geom.radius
    for along in (0.0,) if geom.half is None else (1.0, -1.0):
        distance = geom.point(along)[2] - height
        touch = distance < 0.0
        for _ in m.when(m.any(touch)):
            touches.add(touch, distance, [0.0, 0.0, 1.0], along, tangent_is_axis=True)


def _boxes(m: Machine, w: Workspace, geom: Geom, cell: Number, touches: Touches) -> None:
    ground = w.ground
    near = geom.half is None
    room, lists = (
        (ground.near_room, ground.near_boxes) if near else (ground.far_room, ground.far_boxes)
    )
    for k in m.loop(room):
        box = _box(m, w, lists, cell * m.broadcast(room) + m.broadcast(k))
        if m.leave(m.none(box.exists)):
            break
        if geom.half is None:
            sphere_box(m, box, geom, 0.0, box.exists, touches)
        else:
            capsule_box(m, box, geom, geom.half, touches)


def _box(m: Machine, w: Workspace, lists: Any, place: Number) -> Box:
    """The box at a place of the cells' lists."""
    number = m.gather(lists, place)
    exists: Mask = number >= 0.0
    record = m.record(w.ground.boxes, m.maximum(number, 0.0) * 8.0, 8)
    metres_x, metres_y, x, y, z, *size = record
    # In this order the whole metres cancel before anything is rounded.
    x, y = metres_x - w.state.origin[0] + x, metres_y - w.state.origin[1] + y
    return Box(exists, [x, y, z], size)


def _field(m: Machine, w: Workspace, geom: Geom, cell: Number, touches: Touches) -> None:
    span = w.ground.sphere_span if geom.half is None else w.ground.capsule_span
    number = m.gather(w.ground.cell_field, cell)
    exists: Mask = number >= 0.0
    for _ in m.when(m.any(exists)):
        x, y, *others = m.record(w.ground.fields, m.maximum(number, 0.0) * 8.0, 6)
        field = Field(exists, x - w.state.origin[0], y - w.state.origin[1], *others)
        field_touches(m, field, w.ground.cell_heights, span, geom, touches)

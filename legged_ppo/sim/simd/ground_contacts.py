"""Contacts of all colliders with boxes, height fields and the plane of the cell that each robot's collider is
in."""

from __future__ import annotations

from dataclasses import dataclass

from legged_ppo.sim.simd.boxes import Box, capsule_box, sphere_box
from legged_ppo.sim.simd.contacts import Colliders, rotation_of
from legged_ppo.sim.simd.height_fields import Field, Segment, field_touches
from legged_ppo.sim.simd.machine import Index, Machine, Mask, Number, Vector
from legged_ppo.sim.simd.spatial import add, scale, subtract, times
from legged_ppo.sim.simd.touches import Touches
from legged_ppo.sim.simd.workspace import Workspace

ROOM = 6
"""Touches of one collider of a robot that become contacts."""


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
        cell, clearance = _cell(m, w, centre, None)
        for _ in m.when(m.any(clearance < table.radius[i])):
            touches = Touches(m, ROOM)
            _sphere(m, w, kind, table, i, centre, cell, touches)
            touches.add_contacts(w, table, i)
    for k in m.loop(len(w.robot.colliders) - spheres):
        i = k + spheres
        centre = add(base, times(rotation, w.work.collider_centre.read(3 * i, 3)))
        axis = times(rotation, w.work.collider_axis.read(3 * i, 3))
        half = scale(axis, table.half_length[i])
        cell, clearance = _cell(m, w, centre, half)
        for _ in m.when(m.any(clearance < table.radius[i])):
            touches = Touches(m, ROOM)
            _capsule(m, w, kind, table, i, centre, axis, half, cell, touches)
            touches.add_contacts(w, table, i)


def _cell(m: Machine, w: Workspace, position: Vector, half: Vector | None) -> tuple[Number, Number]:
    """Number of the cell at a position (the nearest one outside), and a bound of a segment's distance there."""
    ground = w.ground
    from_x, from_y = (
        position[k] + w.state.origin[k] - low for k, low in enumerate((ground.x, ground.y))
    )
    i, j = m.floor(from_x / ground.cell), m.floor(from_y / ground.cell)
    # In this order a NaN becomes a cell too.
    i = m.minimum(m.maximum(i, 0.0), ground.last_x)
    j = m.minimum(m.maximum(j, 0.0), ground.last_y)
    cell = i * (ground.last_y + 1.0) + j
    top, slope_x, slope_y = (m.gather(ground.cell_bound, cell * 3.0 + float(k)) for k in range(3))
    x, y = from_x - (i + 0.5) * ground.cell, from_y - (j + 0.5) * ground.cell
    above = position[2] - top - slope_x * x - slope_y * y
    if half is not None:
        above = above - m.absolute(half[2] - slope_x * half[0] - slope_y * half[1])
    # Of a height over a plane, the distance is the share cos(slope) = 1 / sqrt(1 + tan(slope)^2).
    return cell, above * m.reciprocal(m.sqrt(slope_x * slope_x + slope_y * slope_y + 1.0))


def _sphere(
    m: Machine,
    w: Workspace,
    kind: Kind,
    table: Colliders,
    i: Index,
    centre: Vector,
    cell: Number,
    touches: Touches,
) -> None:
    radius = table.radius[i]
    _plane(m, w, centre, radius, None, cell, touches)
    if kind.boxes:
        room = w.ground.near_room
        for k in m.loop(room):
            box = _box(m, w, w.ground.near_boxes, cell * m.broadcast(room) + m.broadcast(k))
            if m.leave(m.none(box.exists)):
                break
            sphere_box(m, box, centre, radius, m.mask(True), touches)
    if kind.fields:
        _field(m, w, Segment(centre, None, radius), cell, w.ground.sphere_span, touches)


def _capsule(
    m: Machine,
    w: Workspace,
    kind: Kind,
    table: Colliders,
    i: Index,
    centre: Vector,
    axis: Vector,
    half: Vector,
    cell: Number,
    touches: Touches,
) -> None:
    radius = table.radius[i]
    ends = [add(centre, half), subtract(centre, half)]
    for end in ends:
        _plane(m, w, end, radius, axis, cell, touches)
    if kind.boxes:
        room = w.ground.far_room
        for k in m.loop(room):
            box = _box(m, w, w.ground.far_boxes, cell * m.broadcast(room) + m.broadcast(k))
            if m.leave(m.none(box.exists)):
                break
            capsule_box(m, box, centre, half, radius, m.mask(True), touches)
    if kind.fields:
        _field(m, w, Segment(centre, half, radius), cell, w.ground.capsule_span, touches)


def _plane(
    m: Machine,
    w: Workspace,
    centre: Vector,
    radius: Number,
    axis: Vector | None,
    cell: Number,
    touches: Touches,
) -> None:
    distance = centre[2] - m.gather(w.ground.cell_plane, cell) - radius
    touch = distance < 0.0
    for _ in m.when(m.any(touch)):
        touches.add(touch, distance, [0.0, 0.0, 1.0], centre, axis)


def _box(m: Machine, w: Workspace, lists: object, place: Number) -> Box:
    """The box at a place of the cells' lists."""
    number = m.gather(lists, place)
    exists: Mask = number >= 0.0
    start = m.maximum(number, 0.0) * 8.0
    metres_x, metres_y, x, y, z, *size = (
        m.gather(w.ground.boxes, start + float(i)) for i in range(8)
    )
    # In this order nothing is rounded: origins are near, and whole numbers or halves.
    x, y = metres_x - w.state.origin[0] + x, metres_y - w.state.origin[1] + y
    return Box(exists, [x, y, z], size)


def _field(
    m: Machine, w: Workspace, geom: Segment, cell: Number, span: Index, touches: Touches
) -> None:
    number = m.gather(w.ground.cell_field, cell)
    exists: Mask = number >= 0.0
    for _ in m.when(m.any(exists)):
        start = m.maximum(number, 0.0) * 6.0
        x, y, *others = (m.gather(w.ground.fields, start + float(i)) for i in range(6))
        field = Field(exists, x - w.state.origin[0], y - w.state.origin[1], *others)
        field_touches(m, field, w.ground.heights, span, geom, touches)

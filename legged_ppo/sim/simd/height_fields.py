"""Spheres against height fields, as MuJoCo has them (engine_collision_convex.c: mjc_ConvexHField).

MuJoCo makes a prism of every triangle, down to the field's base, and gives a sphere a contact with each prism
that it touches: on a face's plane, on an edge, or on the wall under an edge where the sphere's centre is
lower.
"""

from __future__ import annotations

from dataclasses import dataclass

from legged_ppo.sim.simd.contacts import TINY
from legged_ppo.sim.simd.machine import Index, Machine, Mask, Number, Vector
from legged_ppo.sim.simd.spatial import dot, scale, subtract
from legged_ppo.sim.simd.touches import Touches


@dataclass
class Field:
    """The height field in each robot's reach."""

    exists: Mask
    x: Number
    """m, of its first vertex in the world"""
    y: Number
    spacing: Number
    """m, between vertices"""
    columns: Number
    """vertices along x"""
    rows: Number
    """vertices along y"""
    start: Number
    """of its heights in the table of all, row by row"""


def sphere_field(
    m: Machine,
    field: Field,
    heights: object,
    span: Index,
    centre: Vector,
    radius: Number,
    touches: Touches,
) -> None:
    """Add the touches of a sphere that reaches over `span` cells along each axis."""
    spacing = field.spacing
    first_x = _first_cell(m, centre[0] - radius - field.x, spacing, field.columns, span)
    first_y = _first_cell(m, centre[1] - radius - field.y, spacing, field.rows, span)
    for i in m.loop(span):
        for j in m.loop(span):
            column, row = first_x + m.broadcast(i), first_y + m.broadcast(j)
            low = [field.x - centre[0] + column * spacing, field.y - centre[1] + row * spacing]
            place = field.start + row * field.columns + column
            _sphere_cell(m, field, heights, place, low, centre, radius, touches)


def _first_cell(m: Machine, low: Number, spacing: Number, vertices: Number, span: Index) -> Number:
    """The first of `span` cells from a distance into the field on; all are cells of the field."""
    most = vertices - 1.0 - m.broadcast(span)
    return m.minimum(m.maximum(m.floor(low / spacing), 0.0), most)


def _sphere_cell(
    m: Machine,
    field: Field,
    heights: object,
    place: Number,
    low: Vector,
    centre: Vector,
    radius: Number,
    touches: Touches,
) -> None:
    """Both triangles of a cell, which its diagonal from the low corner on separates."""
    high = [low[0] + field.spacing, low[1] + field.spacing]

    def vertex(x: Number, y: Number, offset: Number) -> Vector:
        return [x, y, m.gather(heights, place + offset) - centre[2]]

    corner = vertex(low[0], low[1], 0.0)
    opposite = vertex(high[0], high[1], field.columns + 1.0)
    between = [vertex(high[0], low[1], 1.0), vertex(low[0], high[1], field.columns)]
    top = m.maximum(m.maximum(corner[2], opposite[2]), m.maximum(between[0][2], between[1][2]))
    near = field.exists & (top > -radius)
    for i in range(2):
        near = near & (low[i] < radius) & (high[i] > -radius)
    for _ in m.when(m.any(near)):
        for third in between:
            _sphere_prism(m, near, [corner, third, opposite], centre, radius, touches)


def _sphere_prism(
    m: Machine,
    where: Mask,
    triangle: list[Vector],
    centre: Vector,
    radius: Number,
    touches: Touches,
) -> None:
    """A prism under a triangle whose corners are relative to the sphere's centre."""
    a, b, c = triangle
    normal, plane, inside = _face(m, a, b, c)
    nearest, square = _wall(m, a, b)
    for start, end in ((b, c), (c, a)):
        other, other_square = _wall(m, start, end)
        nearer = other_square < square
        nearest = [m.select(nearer, p, q) for p, q in zip(other, nearest, strict=True)]
        square = m.select(nearer, other_square, square)
    inverse = m.reciprocal(m.sqrt(m.maximum(square, TINY)))
    distance = m.select(inside, plane, square * inverse) - radius
    touch = where & (distance < 0.0)
    for _ in m.when(m.any(touch)):
        out = [m.select(inside, n, -p * inverse) for n, p in zip(normal, nearest, strict=True)]
        touches.add(touch, distance, out, centre, None)


def _face(m: Machine, a: Vector, b: Vector, c: Vector) -> tuple[Vector, Number, Mask]:
    """Upward normal of a triangle, height of the centre over its plane, and whether it is over the face."""
    u, v = subtract(b, a), subtract(c, a)
    n = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]]
    down = n[2] < 0.0  # the second triangle of a cell runs the other way round
    n = [m.select(down, -x, x) for x in n]
    n = scale(n, m.reciprocal(m.sqrt(dot(n, n))))
    plane = -dot(n, a)
    foot = scale(n, -plane)  # of the perpendicular
    sides = [_left_of(foot, a, b), _left_of(foot, b, c), _left_of(foot, c, a)]
    left = (sides[0] >= 0.0) & (sides[1] >= 0.0) & (sides[2] >= 0.0)
    right = (sides[0] <= 0.0) & (sides[1] <= 0.0) & (sides[2] <= 0.0)
    return n, plane, left | right


def _left_of(point: Vector, start: Vector, end: Vector) -> Number:
    """Seen from above, positive on the left of a line."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    return dx * (point[1] - start[1]) - dy * (point[0] - start[0])


def _wall(m: Machine, start: Vector, end: Vector) -> tuple[Vector, Number]:
    """The point nearest to the origin of the vertical wall under an edge, and its distance's square."""
    along = subtract(end, start)
    flat = along[0] * along[0] + along[1] * along[1]
    below = -(start[0] * along[0] + start[1] * along[1]) / flat
    t = m.maximum(m.minimum(below, 1.0), 0.0)
    height = start[2] + along[2] * t
    on_edge = m.maximum(m.minimum(-dot(start, along) / dot(along, along), 1.0), 0.0)
    lower = height > 0.0  # the centre is beside the wall
    t = m.select(lower, t, on_edge)
    point = [start[0] + along[0] * t, start[1] + along[1] * t]
    point.append(m.select(lower, 0.0, start[2] + along[2] * t))
    return point, dot(point, point)

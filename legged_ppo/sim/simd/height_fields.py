"""Spheres and capsules against height fields, as MuJoCo has them (engine_collision_convex.c: mjc_ConvexHField).

MuJoCo makes a prism of every triangle, down to the field's base, and gives a sphere a contact with each prism
that it touches: on a face's plane, on an edge, or on the wall under an edge where the sphere's centre is
lower. A capsule touches at the point of its segment that is nearest to the prism, or, where the segment is
inside, leaves it by the shortest way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from legged_ppo.sim.simd.contacts import TINY
from legged_ppo.sim.simd.machine import Index, Machine, Mask, Number, Vector
from legged_ppo.sim.simd.spatial import add, cross, dot, scale, subtract
from legged_ppo.sim.simd.touches import Geom, Touches

_FAR = 1e6
_PARALLEL = 1e-7
"""sin^2 of the angle below which an edge and a segment are parallel."""


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
    """cells along x"""
    rows: Number
    """cells along y"""
    start: Number
    """its first cell in the table of all"""


def field_touches(
    m: Machine, field: Field, heights: Any, span: Index, geom: Geom, touches: Touches
) -> None:
    """Add the touches of a geom that reaches over at most `span` cells along each axis."""
    spacing, reach = field.spacing, [geom.extent(m, axis) for axis in range(3)]
    offset = [field.x - geom.centre[0], field.y - geom.centre[1]]
    first_x = _first_cell(m, -offset[0] - reach[0], spacing, field.columns, span)
    first_y = _first_cell(m, -offset[1] - reach[1], spacing, field.rows, span)
    for i in m.loop(span):
        column = first_x + m.broadcast(i)
        x = offset[0] + column * spacing
        if m.leave(m.none(field.exists & (x < reach[0]))):
            break
        for j in m.loop(span):
            row = first_y + m.broadcast(j)
            y = offset[1] + row * spacing
            if m.leave(m.none(field.exists & (y < reach[1]))):
                break
            place = field.start + row * field.columns + column
            _cell_touches(m, field, heights, place, [x, y], reach, geom, touches)


def _first_cell(m: Machine, low: Number, spacing: Number, cells: Number, span: Index) -> Number:
    """The first of `span` cells from a distance into the field on; all are cells of the field."""
    most = cells - m.broadcast(span)
    return m.minimum(m.maximum(m.floor(low / spacing), 0.0), most)


def _cell_touches(
    m: Machine,
    field: Field,
    heights: Any,
    place: Number,
    low: Vector,
    reach: Vector,
    geom: Geom,
    touches: Touches,
) -> None:
    """Both triangles of a cell, either side of the diagonal from its low corner; corners are from the centre."""
    high = [low[0] + field.spacing, low[1] + field.spacing]

    z = [height - geom.centre[2] for height in m.record(heights, place * 4.0, 4)]
    corner, opposite = [low[0], low[1], z[0]], [high[0], high[1], z[3]]
    between = [[high[0], low[1], z[1]], [low[0], high[1], z[2]]]
    top = m.maximum(m.maximum(corner[2], opposite[2]), m.maximum(between[0][2], between[1][2]))
    near = field.exists & (top > -reach[2])
    for i in range(2):
        near = near & (low[i] < reach[i]) & (high[i] > -reach[i])
    for _ in m.when(m.any(near)):
        for third in between:
            _prism_touch(m, near, [corner, third, opposite], geom, touches)


@dataclass
class _Nearest:
    """The nearest points of a geom's segment and a prism, so far."""

    distance: Number
    normal: Vector
    along: Number
    """-1 to 1, on the segment"""

    def take(
        self, m: Machine, where: Mask, distance: Number, normal: Vector, along: Number
    ) -> None:
        """Replace what is nearer."""
        self._replace(m, where & (distance < self.distance), distance, normal, along)

    def take_further(
        self, m: Machine, where: Mask, distance: Number, normal: Vector, along: Number
    ) -> None:
        """Replace what is less far beyond."""
        self._replace(m, where & (distance > self.distance), distance, normal, along)

    def _replace(
        self, m: Machine, where: Mask, distance: Number, normal: Vector, along: Number
    ) -> None:
        self.distance = m.select(where, distance, self.distance)
        self.normal = [m.select(where, a, b) for a, b in zip(normal, self.normal, strict=True)]
        self.along = m.select(where, along, self.along)


def _prism_touch(
    m: Machine, where: Mask, triangle: list[Vector], geom: Geom, touches: Touches
) -> None:
    """The touch of a prism under a triangle whose corners are from the geom's centre."""
    normal = _normal(m, *triangle)
    height = -dot(normal, triangle[0])  # of the centre over the plane
    slant = 0.0 if geom.half is None else m.absolute(dot(normal, geom.half))
    near = where & (height - slant < geom.radius)  # a prism lies below its plane
    for _ in m.when(m.any(near)):
        nearest = _Nearest(_FAR, [0.0, 0.0, 0.0], 0.0)
        if geom.half is None:
            _try_point(m, nearest, triangle, normal, 0.0)
        else:
            for end in (1.0, -1.0):
                moved = [subtract(corner, scale(geom.half, end)) for corner in triangle]
                _try_point(m, nearest, moved, normal, end)
            for k in range(3):
                _try_edge(m, nearest, triangle[k], triangle[(k + 1) % 3], geom.half)
                _try_corner(m, nearest, triangle[k], geom.half)
            below = near & (height - slant < 0.0)
            nearest = _or_way_out(m, below, nearest, triangle, normal, geom.half)
        distance = nearest.distance - geom.radius
        touch = near & (distance < 0.0)
        for _ in m.when(m.any(touch)):
            touches.add(touch, distance, nearest.normal, nearest.along)


def _or_way_out(
    m: Machine,
    below: Mask,
    nearest: _Nearest,
    triangle: list[Vector],
    normal: Vector,
    half: Vector,
) -> _Nearest:
    """The nearest points, or where segment and prism overlap the shortest way out, which MuJoCo finds by EPA.

    Args:
        below: some of the segment is below the triangle's plane.
    """
    found = [m.variable(n) for n in (nearest.distance, *nearest.normal, nearest.along)]
    for _ in m.when(m.any(below)):
        inside = below
        for out, corner in _walls(m, triangle):  # of any length: only the sign counts
            inside = inside & (-dot(out, corner) < m.absolute(dot(out, half)))
        for _ in m.when(m.any(inside)):
            way = _way_out(m, triangle, normal, half)
            overlap = inside & (way.distance < 0.0)
            numbers = way.distance, *way.normal, way.along
            for variable, number in zip(found, numbers, strict=True):
                variable.value = m.select(overlap, number, variable.value)
    distance, *out, along = (variable.value for variable in found)
    return _Nearest(distance, out, along)


def _way_out(m: Machine, triangle: list[Vector], normal: Vector, half: Vector) -> _Nearest:
    """The direction along which a segment is furthest beyond a prism (separating axes), which has no bottom."""
    way = _Nearest(-_FAR, [0.0, 0.0, 0.0], 0.0)
    sides = [(normal, triangle[0])]
    for out, corner in _walls(m, triangle):
        sides.append((scale(out, m.reciprocal(m.sqrt(dot(out, out)))), corner))
    for out, corner in sides:  # the segment's nearest point is an end
        reach = dot(out, half)
        end = m.select(reach > 0.0, -1.0, 1.0)
        way.take_further(m, m.mask(True), -dot(out, corner) - m.absolute(reach), out, end)
    for k in range(3):
        start, end, third = (triangle[(k + i) % 3] for i in range(3))
        _beyond_edge(m, way, start, end, third, half)
    _beyond_corner(m, way, triangle, half)
    return way


def _walls(m: Machine, triangle: list[Vector]) -> list[tuple[Vector, Vector]]:
    """Outward horizontal normals of the walls under the edges, as long as these seen from above, and a corner of
    each."""
    found = []
    for k in range(3):
        start, end, third = (triangle[(k + i) % 3] for i in range(3))
        out = [end[1] - start[1], start[0] - end[0], 0.0]
        inward = dot(out, subtract(third, start)) > 0.0
        found.append(
            ([m.select(inward, -out[0], out[0]), m.select(inward, -out[1], out[1]), 0.0], start)
        )
    return found


def _beyond_edge(
    m: Machine, way: _Nearest, start: Vector, end: Vector, third: Vector, half: Vector
) -> None:
    """Along the normal of an upper edge and the segment, whose nearest point lies between its ends."""
    edge = subtract(end, start)
    across = cross(edge, half)
    aa, square = dot(edge, edge), dot(across, across)
    inverse = m.reciprocal(m.sqrt(m.maximum(square, TINY)))
    inverse = m.select(across[2] < 0.0, -inverse, inverse)
    out = scale(across, inverse)
    distance = -m.maximum(dot(out, start), dot(out, third))
    t = aa * dot(half, start) - dot(edge, half) * dot(edge, start)
    t = m.maximum(m.minimum(t / m.maximum(square, TINY), 1.0), -1.0)
    way.take_further(m, square >= aa * dot(half, half) * _PARALLEL, distance, out, t)


def _beyond_corner(m: Machine, way: _Nearest, triangle: list[Vector], half: Vector) -> None:
    """Along the horizontal normal of the segment, which is beside the vertical edge under a corner."""
    flat = half[0] * half[0] + half[1] * half[1]
    inverse = m.reciprocal(m.sqrt(m.maximum(flat, TINY)))
    out = [half[1] * inverse, -half[0] * inverse]
    places = [out[0] * corner[0] + out[1] * corner[1] for corner in triangle]
    least = m.minimum(m.minimum(places[0], places[1]), places[2])
    most = m.maximum(m.maximum(places[0], places[1]), places[2])
    turned = least > -most  # the segment is nearer to the other side
    out = [m.select(turned, -n, n) for n in out]
    furthest, x, y = -_FAR, 0.0, 0.0
    for corner, place in zip(triangle, places, strict=True):
        there = m.select(turned, -place, place)
        further = there > furthest
        furthest, x, y = (
            m.select(further, a, b) for a, b in ((there, furthest), (corner[0], x), (corner[1], y))
        )
    t = (x * half[0] + y * half[1]) / m.maximum(flat, TINY)
    t = m.maximum(m.minimum(t, 1.0), -1.0)
    way.take_further(m, flat >= dot(half, half) * _PARALLEL, -furthest, [*out, 0.0], t)


def _try_point(
    m: Machine, nearest: _Nearest, triangle: list[Vector], normal: Vector, along: float
) -> None:
    """A point of the segment against a prism whose corners are from that point."""
    a, b, c = triangle
    height, inside = _over_face(normal, a, b, c)
    points = [_wall(m, start, end) for start, end in ((a, b), (b, c), (c, a))]
    best, square = points[0]
    for other, other_square in points[1:]:
        nearer = other_square < square
        best = [m.select(nearer, p, q) for p, q in zip(other, best, strict=True)]
        square = m.select(nearer, other_square, square)
    inverse = m.reciprocal(m.sqrt(m.maximum(square, TINY)))
    wall = square * inverse
    buried = _within(_sides([0.0, 0.0, 0.0], a, b, c)) & (height < 0.0)
    by_wall = buried & (wall < -height)  # out through the nearest face, as MuJoCo has it
    by_face = (buried & ~by_wall) | (inside & (height > 0.0))
    distance = m.select(by_face, height, m.select(by_wall, -wall, wall))
    inverse = m.select(by_wall, inverse, -inverse)
    out = [m.select(by_face, n, p * inverse) for n, p in zip(normal, best, strict=True)]
    nearest.take(m, m.mask(True), distance, out, along)


def _try_edge(m: Machine, nearest: _Nearest, start: Vector, end: Vector, half: Vector) -> None:
    """The segment against an upper edge of the prism."""
    along = subtract(end, start)
    aa, bb, ab = dot(along, along), dot(half, half), dot(along, half)
    u, v = dot(along, start), dot(half, start)
    determinant = aa * bb - ab * ab
    t = (aa * v - ab * u) / m.maximum(determinant, aa * bb * _PARALLEL)
    t = m.maximum(m.minimum(t, 1.0), -1.0)
    s = m.maximum(m.minimum((t * ab - u) / aa, 1.0), 0.0)
    t = m.maximum(m.minimum((v + s * ab) / bb, 1.0), -1.0)
    gap = subtract(scale(half, t), add(start, scale(along, s)))
    _try_gap(m, nearest, m.mask(True), gap, t)


def _try_corner(m: Machine, nearest: _Nearest, corner: Vector, half: Vector) -> None:
    """The segment against the vertical line under a corner."""
    flat = half[0] * half[0] + half[1] * half[1]
    t = (corner[0] * half[0] + corner[1] * half[1]) / m.maximum(flat, TINY)
    t = m.maximum(m.minimum(t, 1.0), -1.0)
    gap = [half[0] * t - corner[0], half[1] * t - corner[1], 0.0]
    _try_gap(m, nearest, half[2] * t < corner[2], gap, t)


def _try_gap(m: Machine, nearest: _Nearest, where: Mask, gap: Vector, along: Number) -> None:
    """Points of prism and segment this far apart."""
    square = dot(gap, gap)
    inverse = m.reciprocal(m.sqrt(m.maximum(square, TINY)))
    nearest.take(m, where, square * inverse, scale(gap, inverse), along)


def _normal(m: Machine, a: Vector, b: Vector, c: Vector) -> Vector:
    """Upward normal of a triangle."""
    n = cross(subtract(b, a), subtract(c, a))
    down = n[2] < 0.0  # the second triangle of a cell runs the other way round
    n = [m.select(down, -x, x) for x in n]
    return scale(n, m.reciprocal(m.sqrt(dot(n, n))))


def _over_face(normal: Vector, a: Vector, b: Vector, c: Vector) -> tuple[Number, Mask]:
    """Height of the origin over a triangle's plane, and whether it is over the face."""
    height = -dot(normal, a)
    return height, _within(_sides(scale(normal, -height), a, b, c))


def _sides(point: Vector, a: Vector, b: Vector, c: Vector) -> Vector:
    """Seen from above, positive on the left of each edge of a triangle."""
    return [_left_of(point, start, end) for start, end in ((a, b), (b, c), (c, a))]


def _within(sides: Vector) -> Mask:
    """On the same side of all edges."""
    left = (sides[0] >= 0.0) & (sides[1] >= 0.0) & (sides[2] >= 0.0)
    right = (sides[0] <= 0.0) & (sides[1] <= 0.0) & (sides[2] <= 0.0)
    return left | right


def _left_of(point: Vector, start: Vector, end: Vector) -> Number:
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

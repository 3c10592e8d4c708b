"""Spheres and capsules against axis-aligned boxes, as MuJoCo has them (engine_collision_box.c).

A capsule touches a box with one or two spheres on its segment: at the point nearest to the box, and at a
second one that MuJoCo chooses so that a capsule along a face or an edge rests on both of its ends. All that
is a search over 2 ends and 12 edges, done with masks, since each robot finds another case.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from legged_ppo.sim.simd.contacts import TINY
from legged_ppo.sim.simd.machine import Machine, Mask, Number, Vector
from legged_ppo.sim.simd.spatial import add, dot, scale, subtract
from legged_ppo.sim.simd.touches import Geom, Touches

_NEARER = 1e-15
"""m^2 by which an edge must be nearer than what was found before (mjMINVAL)."""
_PARALLEL = 1e-7
"""sin^2 of the angle below which an edge and a segment are parallel."""
_FAR = 1e6


@dataclass
class Box:
    """One box in each robot's reach, in the world."""

    exists: Mask
    centre: Vector
    size: Vector
    """half the edges"""


def sphere_box(
    m: Machine, box: Box, geom: Geom, along: Number, where: Mask, touches: Touches
) -> None:
    """Add the touch of a sphere about a point of the geom's segment, if there is one (mjraw_SphereBox)."""
    at = subtract(geom.point(along), box.centre)
    nearest = [m.maximum(m.minimum(x, s), -s) for x, s in zip(at, box.size, strict=True)]
    away = subtract(at, nearest)
    square = dot(away, away)
    outside = square > TINY
    inverse = m.reciprocal(m.sqrt(m.maximum(square, TINY)))
    depth, face = _nearest_face(m, at, box.size)
    distance = m.select(outside, square * inverse, -depth) - geom.radius
    touch = where & box.exists & (distance < 0.0)
    for _ in m.when(m.any(touch)):
        normal = [m.select(outside, a * inverse, f) for a, f in zip(away, face, strict=True)]
        touches.add(touch, distance, normal, along)


def _nearest_face(m: Machine, at: Vector, size: Vector) -> tuple[Number, Vector]:
    """Depth of a point inside the box under its nearest face, and that face's normal."""
    best: Number = _FAR
    normal: Vector = [0.0, 0.0, 0.0]
    for axis in range(3):
        for side in (-1.0, 1.0):
            depth = m.absolute(at[axis] - size[axis] * side)
            nearer = depth < best
            best = m.select(nearer, depth, best)
            here = [side if axis == i else 0.0 for i in range(3)]
            normal = [m.select(nearer, a, b) for a, b in zip(here, normal, strict=True)]
    return best, normal


def capsule_box(m: Machine, box: Box, geom: Geom, half: Vector, touches: Touches) -> None:
    """Add the touches of a capsule with this half axis (mjraw_CapsuleBox)."""
    at = subtract(geom.centre, box.centre)
    near = box.exists
    for axis in range(3):
        near = near & (m.absolute(at[axis]) < geom.extent(m, axis) + box.size[axis])
    for _ in m.when(m.any(near)):
        nearest = _nearest_end(m, at, half, box.size)
        for axis in range(3):
            for corner in range(8):
                if not corner & (1 << axis):
                    _try_edge(m, nearest, at, half, box.size, axis, corner)
        second, exists = _second_point(m, nearest, at, half, box.size)
        sphere_box(m, box, geom, nearest.along, near, touches)
        sphere_box(m, box, geom, nearest.along + second, near & exists, touches)


@dataclass
class _Nearest:
    """The point of the segment that is nearest to the box, so far."""

    square: Number
    """of its distance"""
    along: Number
    """-1 to 1, on the segment"""
    on_face: Mask
    """an end that is over a face, or inside"""
    face: list[Mask]
    """[3], the axis of that face; none if inside"""
    at_corner: Mask
    """of the box; otherwise between the corners of an edge"""
    corner: list[Mask]
    """[3], on the upper side of each axis"""
    edge: list[Mask]
    """[3], the axis of the edge"""
    along_edge: Number
    """-1 to 1"""

    def take(self, m: Machine, better: Mask, other: _Nearest) -> None:
        """Replace what is better in the other one."""
        for name, new in vars(other).items():
            setattr(self, name, _chosen(m, better, new, getattr(self, name)))


def _chosen(m: Machine, where: Mask, new: Any, old: Any) -> Any:
    """`new` where the mask holds, of numbers, masks or lists of masks."""
    if isinstance(new, list):
        return [_chosen(m, where, a, b) for a, b in zip(new, old, strict=True)]
    if m.is_mask(new):
        return (where & new) | (~where & old)
    return m.select(where, new, old)


def _nearest_end(m: Machine, at: Vector, half: Vector, size: Vector) -> _Nearest:
    """The nearer end among those over a face or inside."""
    never, always = m.mask(False), m.mask(True)
    start = _Nearest(
        square=_FAR,
        along=0.0,
        on_face=never,
        face=[never] * 3,
        at_corner=never,
        corner=[never] * 3,
        edge=[never] * 3,
        along_edge=0.0,
    )
    for side in (-1.0, 1.0):
        tip = add(at, scale(half, side))
        beyond = [m.absolute(x) > s for x, s in zip(tip, size, strict=True)]
        away = [m.maximum(m.absolute(x) - s, 0.0) for x, s in zip(tip, size, strict=True)]
        square = dot(away, away)
        several = (beyond[0] & beyond[1]) | (beyond[1] & beyond[2]) | (beyond[0] & beyond[2])
        end = _Nearest(
            square=square,
            along=side,
            on_face=always,
            face=beyond,
            at_corner=never,
            corner=[never] * 3,
            edge=[never] * 3,
            along_edge=0.0,
        )
        start.take(m, ~several & (square < start.square), end)
    return start


def _try_edge(
    m: Machine,
    nearest: _Nearest,
    at: Vector,
    half: Vector,
    size: Vector,
    axis: int,
    corner: int,
) -> None:
    """The nearest points of the segment and one edge, if they are nearer."""
    never, always = m.mask(False), m.mask(True)
    middle = [size[i] * (1.0 if corner & (1 << i) else -1.0) for i in range(3)]
    middle[axis] = 0.0
    apart = subtract(middle, at)
    s = size[axis]
    aa, ab, bb = s * s, -s * half[axis], dot(half, half)
    u, v = -s * apart[axis], dot(half, apart)
    determinant = aa * bb - ab * ab
    crossing = determinant > aa * bb * _PARALLEL
    inverse = m.reciprocal(m.maximum(determinant, TINY))
    x = (bb * u - ab * v) * inverse
    y = (aa * v - ab * u) * inverse
    over, under = x > 1.0, x < -1.0
    y = m.select(over, (v - ab) / bb, m.select(under, (v + ab) / bb, y))
    high, low = y > 1.0, y < -1.0
    again = m.select(high, (u - ab) / aa, (u + ab) / aa)
    x = m.select(high | low, again, x)
    over = over & ~(high | low) | ((high | low) & ((x > 1.0) | (over & ~(x < -1.0))))
    under = under & ~(high | low) | ((high | low) & ((x < -1.0) | (under & ~(x > 1.0))))
    x = m.maximum(m.minimum(x, 1.0), -1.0)
    y = m.maximum(m.minimum(y, 1.0), -1.0)
    gap = subtract(apart, scale(half, y))
    gap[axis] = gap[axis] + s * x
    square = dot(gap, gap)
    corners = [always if corner & (1 << i) else never for i in range(3)]
    corners[axis] = over
    candidate = _Nearest(
        square=square,
        along=y,
        on_face=never,
        face=[never] * 3,
        at_corner=over | under,
        corner=corners,
        edge=[always if i == axis else never for i in range(3)],
        along_edge=x,
    )
    nearest.take(m, crossing & (square < nearest.square - _NEARER), candidate)


def _second_point(
    m: Machine, nearest: _Nearest, at: Vector, half: Vector, size: Vector
) -> tuple[Number, Mask]:
    """Where the second sphere is, on the segment from the first, and whether there is one."""
    reach = [2.0 * s / m.maximum(m.absolute(h), TINY) for s, h in zip(size, half, strict=True)]
    # On each axis: does the segment's direction lead away from the corner's side?
    differs = [(h > 0.0) ^ c for h, c in zip(half, nearest.corner, strict=True)]
    corner, at_corner = _from_corner(m, nearest, half, reach, differs)
    edge, at_edge = _from_edge(m, nearest, half, size, reach, differs)
    face, at_face = _from_face(m, nearest, at, half, size)
    by_corner = ~nearest.on_face & nearest.at_corner
    second = m.select(nearest.on_face, face, m.select(by_corner, corner, edge))
    exists = (nearest.on_face & at_face) | (by_corner & at_corner)
    exists = exists | (~nearest.on_face & ~nearest.at_corner & at_edge)
    return second, exists & (nearest.square < 0.5 * _FAR)


def _from_corner(
    m: Machine, nearest: _Nearest, half: Vector, reach: Vector, differs: list[Mask]
) -> tuple[Number, Mask]:
    """From a corner of the box, along the edge or face that the segment lies over."""
    a, b, c = differs
    one = (a ^ b ^ c) & ~(a & b & c)
    two = (a & b & ~c) | (a & ~b & c) | (~a & b & c)
    single = [(one & d) | (two & ~d) for d in differs]  # the axis that is unlike the other two
    ahead = m.select(one, 1.0 - nearest.along, 1.0 + nearest.along)
    behind = m.select(one, 1.0 + nearest.along, 1.0 - nearest.along)
    square = dot(half, half)
    steep = single[0] & (half[0] * half[0] > 0.5 * square)
    for i in (1, 2):
        steep = steep | (single[i] & (half[i] * half[i] > 0.5 * square))
    along, across = ahead, behind
    for i in range(3):
        along = m.select(single[i], m.minimum(reach[i], along), along)
        across = m.select(single[i], across, m.minimum(reach[i], across))
    length = m.select(steep, along, -across)
    return m.select(one, length, -length), one | two


def _from_edge(
    m: Machine, nearest: _Nearest, half: Vector, size: Vector, reach: Vector, differs: list[Mask]
) -> tuple[Number, Mask]:
    """From between the corners of an edge, over the face that the segment is more parallel to."""
    length: Number = 0.0
    exists = m.mask(False)
    for axis in range(3):
        first, last = (axis + 1) % 3, (axis + 2) % 3
        here = nearest.edge[axis]
        one = differs[first] ^ differs[last]
        larger = m.absolute(half[first]) > m.absolute(half[last])
        toward = (larger & differs[first]) | (~larger & differs[last])
        free = m.select(toward, 1.0 - nearest.along, 1.0 + nearest.along)
        free = m.minimum(m.select(larger, reach[first], reach[last]), free)
        same = ~((half[axis] > 0.0) ^ toward)
        rest = m.select(same, 1.0 - nearest.along_edge, 1.0 + nearest.along_edge)
        free = m.minimum(size[axis] * rest / m.maximum(m.absolute(half[axis]), TINY), free)
        length = m.select(here, m.select(toward, free, -free), length)
        exists = exists | (here & one)
    return length, exists


def _from_face(
    m: Machine, nearest: _Nearest, at: Vector, half: Vector, size: Vector
) -> tuple[Number, Mask]:
    """From an end over a face to the farthest point over that face."""
    sign = -nearest.along
    tip = add(at, scale(half, nearest.along))
    length: Number = 2.0
    for i in range(3):
        for side in (1.0, -1.0):
            reach = (size[i] * side - tip[i]) * sign / half[i]
            shorter = (reach > 0.0) & (reach < length) & ~nearest.face[i]
            length = m.select(shorter, reach, length)
    over = nearest.face[0] | nearest.face[1] | nearest.face[2]
    return length * sign, over

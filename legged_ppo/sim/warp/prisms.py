# mypy: ignore-errors
"""The nearest points of a sphere or capsule and a prism of a height field, in closed form, as Warp functions.

MuJoCo makes a prism of every triangle of a field, down to its base, and finds the nearest points of a prism and a
geom's segment (a sphere's is a point) by GJK, or by EPA the shortest way out where they overlap
(engine_collision_gjk.c: mjc_ccd). A prism here has the triangle `a`, `b`, `c` of either orientation as its top,
relative to the geom's centre, and no bottom. `half` leads from the centre of a capsule to one end; it is zero for
a sphere.
"""

import warp as wp

wp.set_module_options({"enable_backward": False})

FAR = wp.constant(1e6)
"""A distance [m] beyond any."""
_PARALLEL = wp.constant(1e-7)
"""sin^2 of the angle below which an edge and a segment are parallel."""
_TOUCHING = wp.constant(1e-6)
"""m, distance of prism and segment below which MuJoCo takes them to overlap (ccd_tolerance)."""
_TINY = wp.constant(1e-20)
"""Guards a division whose result is not used."""


@wp.struct
class Nearest:
    """The nearest points of a prism and a segment, so far."""

    distance: float
    """m, below 0 where they overlap"""
    normal: wp.vec3
    """from the prism to the segment"""
    along: float
    """-1 to 1, on the segment"""


@wp.func
def nearest_to_prism(
    a: wp.vec3, b: wp.vec3, c: wp.vec3, half: wp.vec3, is_capsule: bool, radius: float
) -> Nearest:
    """The nearest points of a geom's segment and a prism; a lower bound of at least `radius` if they are further
    apart."""
    up = wp.normalize(wp.cross(b - a, c - a))
    if up[2] < 0.0:
        up = -up
    furthest = _furthest(a, b, c, up, half, is_capsule, radius)
    if furthest.distance < _TOUCHING or furthest.distance >= radius:
        return furthest
    nearest = Nearest(FAR, up, 0.0)
    if not is_capsule:
        return _with_point(nearest, a, b, c, up, 0.0)
    nearest = _with_point(nearest, a - half, b - half, c - half, up, 1.0)
    nearest = _with_point(nearest, a + half, b + half, c + half, up, -1.0)
    nearest = _with_edge(nearest, a, b, half)
    nearest = _with_edge(nearest, b, c, half)
    nearest = _with_edge(nearest, c, a, half)
    nearest = _with_corner(nearest, a, half)
    nearest = _with_corner(nearest, b, half)
    return _with_corner(nearest, c, half)


@wp.func
def _furthest(
    a: wp.vec3,
    b: wp.vec3,
    c: wp.vec3,
    up: wp.vec3,
    half: wp.vec3,
    is_capsule: bool,
    radius: float,
) -> Nearest:
    """The direction along which a segment is furthest beyond a prism (separating axes).

    That is a lower bound of their distance, and the shortest way out where they overlap. No direction is tried
    after one that exceeds the `radius`.
    """
    furthest = _beyond_face(Nearest(-FAR, up, 0.0), up, a, half)
    if furthest.distance < radius:
        furthest = _beyond_wall(furthest, a, b, c, half)
        furthest = _beyond_wall(furthest, b, c, a, half)
        furthest = _beyond_wall(furthest, c, a, b, half)
    if is_capsule and furthest.distance < radius:
        furthest = _beyond_edge(furthest, a, b, c, half)
        furthest = _beyond_edge(furthest, b, c, a, half)
        furthest = _beyond_edge(furthest, c, a, b, half)
        furthest = _beyond_corner(furthest, a, b, c, half)
    return furthest


@wp.func
def _beyond_face(furthest: Nearest, normal: wp.vec3, point: wp.vec3, half: wp.vec3) -> Nearest:
    """Along the normal of a face with this point; the segment's nearest point is an end."""
    reach = wp.dot(normal, half)
    distance = -wp.dot(normal, point) - wp.abs(reach)
    if distance > furthest.distance:
        return Nearest(distance, normal, -wp.sign(reach))
    return furthest


@wp.func
def _beyond_wall(
    furthest: Nearest, start: wp.vec3, end: wp.vec3, third: wp.vec3, half: wp.vec3
) -> Nearest:
    """Along the normal of the wall under an edge, away from the third corner."""
    outward = wp.normalize(wp.vec3(end[1] - start[1], start[0] - end[0], 0.0))
    if wp.dot(outward, third - start) > 0.0:
        outward = -outward
    return _beyond_face(furthest, outward, start, half)


@wp.func
def _beyond_edge(
    furthest: Nearest, start: wp.vec3, end: wp.vec3, third: wp.vec3, half: wp.vec3
) -> Nearest:
    """Along the normal of an upper edge and the segment, whose nearest point lies between its ends."""
    edge = end - start
    across = wp.cross(edge, half)
    aa = wp.dot(edge, edge)
    determinant = wp.dot(across, across)
    if determinant < aa * wp.dot(half, half) * _PARALLEL:
        return furthest
    normal = across / wp.sqrt(determinant)
    if normal[2] < 0.0:  # a prism has no end below
        normal = -normal
    distance = -wp.max(wp.dot(normal, start), wp.dot(normal, third))
    if distance > furthest.distance:
        t = (aa * wp.dot(half, start) - wp.dot(edge, half) * wp.dot(edge, start)) / determinant
        return Nearest(distance, normal, wp.clamp(t, -1.0, 1.0))
    return furthest


@wp.func
def _beyond_corner(furthest: Nearest, a: wp.vec3, b: wp.vec3, c: wp.vec3, half: wp.vec3) -> Nearest:
    """Along the horizontal normals of the segment, which is beside the vertical edge under a corner."""
    flat = half[0] * half[0] + half[1] * half[1]
    if flat < wp.dot(half, half) * _PARALLEL:
        return furthest
    normal = wp.vec3(half[1], -half[0], 0.0) / wp.sqrt(flat)
    of_a = wp.dot(normal, a)
    of_b = wp.dot(normal, b)
    of_c = wp.dot(normal, c)
    # The segment is nearer to the other side.
    if wp.min(of_a, wp.min(of_b, of_c)) > -wp.max(of_a, wp.max(of_b, of_c)):
        normal = -normal
        of_a = -of_a
        of_b = -of_b
        of_c = -of_c
    corner = a
    distance = -of_a
    if -of_b < distance:
        corner = b
        distance = -of_b
    if -of_c < distance:
        corner = c
        distance = -of_c
    if distance > furthest.distance:
        t = (corner[0] * half[0] + corner[1] * half[1]) / flat
        return Nearest(distance, normal, wp.clamp(t, -1.0, 1.0))
    return furthest


@wp.func
def _with_point(
    nearest: Nearest, a: wp.vec3, b: wp.vec3, c: wp.vec3, up: wp.vec3, along: float
) -> Nearest:
    """A point of the segment against a prism that it is outside of, whose corners are relative to that point."""
    height = -wp.dot(up, a)
    found = Nearest(height, up, along)
    if height < 0.0 or not _within(-height * up, a, b, c):
        wall = _nearer(_nearer(_wall(a, b), _wall(b, c)), _wall(c, a))
        distance = wp.length(wall)
        found = Nearest(distance, wall / -wp.max(distance, _TINY), along)
    if found.distance < nearest.distance:
        return found
    return nearest


@wp.func
def _with_edge(nearest: Nearest, start: wp.vec3, end: wp.vec3, half: wp.vec3) -> Nearest:
    """The segment against an upper edge of the prism."""
    edge = end - start
    aa = wp.dot(edge, edge)
    bb = wp.dot(half, half)
    ab = wp.dot(edge, half)
    u = wp.dot(edge, start)
    v = wp.dot(half, start)
    t = (aa * v - ab * u) / wp.max(aa * bb - ab * ab, aa * bb * _PARALLEL)
    s = wp.clamp((wp.clamp(t, -1.0, 1.0) * ab - u) / aa, 0.0, 1.0)
    t = wp.clamp((v + s * ab) / bb, -1.0, 1.0)
    return _with_gap(nearest, half * t - start - edge * s, t)


@wp.func
def _with_corner(nearest: Nearest, corner: wp.vec3, half: wp.vec3) -> Nearest:
    """The segment against the vertical line under a corner."""
    flat = half[0] * half[0] + half[1] * half[1]
    t = wp.clamp((corner[0] * half[0] + corner[1] * half[1]) / wp.max(flat, _TINY), -1.0, 1.0)
    if half[2] * t < corner[2]:
        gap = wp.vec3(half[0] * t - corner[0], half[1] * t - corner[1], 0.0)
        return _with_gap(nearest, gap, t)
    return nearest


@wp.func
def _with_gap(nearest: Nearest, gap: wp.vec3, along: float) -> Nearest:
    """Points of prism and segment this far apart."""
    distance = wp.length(gap)
    if distance < nearest.distance:
        return Nearest(distance, gap / wp.max(distance, _TINY), along)
    return nearest


@wp.func
def _within(point: wp.vec3, a: wp.vec3, b: wp.vec3, c: wp.vec3) -> bool:
    """Seen from above, in a triangle of either orientation."""
    ab = _left_of(point, a, b)
    bc = _left_of(point, b, c)
    ca = _left_of(point, c, a)
    left = ab >= 0.0 and bc >= 0.0 and ca >= 0.0
    right = ab <= 0.0 and bc <= 0.0 and ca <= 0.0
    return left or right


@wp.func
def _left_of(point: wp.vec3, start: wp.vec3, end: wp.vec3) -> float:
    """Seen from above, positive on the left of a line."""
    dx = end[0] - start[0]
    dy = end[1] - start[1]
    return dx * (point[1] - start[1]) - dy * (point[0] - start[0])


@wp.func
def _wall(start: wp.vec3, end: wp.vec3) -> wp.vec3:
    """The point nearest to the origin of the vertical wall under an edge."""
    edge = end - start
    flat = edge[0] * edge[0] + edge[1] * edge[1]
    beside = wp.clamp(-(start[0] * edge[0] + start[1] * edge[1]) / flat, 0.0, 1.0)
    if start[2] + edge[2] * beside > 0.0:
        return wp.vec3(start[0] + edge[0] * beside, start[1] + edge[1] * beside, 0.0)
    return start + edge * wp.clamp(-wp.dot(start, edge) / wp.dot(edge, edge), 0.0, 1.0)


@wp.func
def _nearer(a: wp.vec3, b: wp.vec3) -> wp.vec3:
    """Of two points, that nearer to the origin."""
    if wp.dot(b, b) < wp.dot(a, a):
        return b
    return a

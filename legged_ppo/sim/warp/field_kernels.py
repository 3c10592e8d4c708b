# mypy: ignore-errors
"""Spheres and capsules against height fields, with the contacts that MuJoCo C makes (mjc_ConvexHField)."""

import warp as wp

from legged_ppo.sim.warp.prisms import FAR, Nearest, nearest_to_prism

wp.set_module_options({"enable_backward": False})

MOST_CONTACTS = wp.constant(50)
"""Contacts of a pair of geoms that MuJoCo keeps (mjMAXCONPAIR)."""
_CONSTRAINT = wp.constant(1)
"""MuJoCo Warp's ContactType.CONSTRAINT"""
_LEAST_FRICTION = wp.constant(1e-5)
"""mjMINMU"""

vec5 = wp.types.vector(length=5, dtype=float)


@wp.struct
class Pairs:
    """Pairs [P] of a height field and a sphere or capsule, and what the contacts of each have in common."""

    geoms: wp.array(dtype=wp.vec2i)
    """the field first"""
    is_capsule: wp.array(dtype=bool)
    dim: wp.array(dtype=int)
    solref: wp.array(dtype=wp.vec2)
    solimp: wp.array(dtype=vec5)
    friction_shares: wp.array(dtype=wp.vec2)
    """factors of both geoms' frictions, of which the larger product counts"""


@wp.struct
class Fields:
    """Height fields, as MuJoCo Warp's model has them."""

    size: wp.array(dtype=wp.vec4)
    """m: half of both edges, height of the highest point, depth of the base"""
    nrow: wp.array(dtype=int)
    ncol: wp.array(dtype=int)
    adr: wp.array(dtype=int)
    data: wp.array(dtype=float)


@wp.struct
class Contacts:
    """MuJoCo Warp's arrays of contacts."""

    dist: wp.array(dtype=float)
    pos: wp.array(dtype=wp.vec3)
    frame: wp.array(dtype=wp.mat33)
    includemargin: wp.array(dtype=float)
    friction: wp.array(dtype=vec5)
    solref: wp.array(dtype=wp.vec2)
    solreffriction: wp.array(dtype=wp.vec2)
    solimp: wp.array(dtype=vec5)
    dim: wp.array(dtype=int)
    geom: wp.array(dtype=wp.vec2i)
    efc_address: wp.array2d(dtype=int)
    worldid: wp.array(dtype=int)
    type: wp.array(dtype=int)
    geomcollisionid: wp.array(dtype=int)
    adhesion: wp.array(dtype=float)
    surfacevel: wp.array(dtype=wp.vec3)


FIELD_ARRAYS, CONTACT_ARRAYS = tuple(Fields.vars), tuple(Contacts.vars)
"""Names of the arrays."""


@wp.struct
class Cells:
    """The cells of a field that a geom's bounds overlap."""

    first: wp.vec2i
    """column and row"""
    end: wp.vec2i
    spacing: wp.vec2
    """m, between vertices"""
    offset: wp.vec3
    """m, of the field's first corner at height 0 from the geom's centre"""


@wp.func
def _overlapped(fields: Fields, field: int, centre: wp.vec3, extent: wp.vec3) -> Cells:
    """None if a geom's bounds miss those of the field, or are no numbers.

    Args:
        centre, extent: m, of the geom in the field's frame.
    """
    size = fields.size[field]
    columns = fields.ncol[field] - 1
    rows = fields.nrow[field] - 1
    cells = Cells()
    cells.spacing = wp.vec2(2.0 * size[0] / float(columns), 2.0 * size[1] / float(rows))
    cells.offset = wp.vec3(-size[0], -size[1], 0.0) - centre
    beside = wp.abs(centre[0]) < size[0] + extent[0] and wp.abs(centre[1]) < size[1] + extent[1]
    if beside and centre[2] - extent[2] < size[2] and centre[2] + extent[2] > -size[3]:
        low = -cells.offset - extent
        high = -cells.offset + extent
        cells.first = wp.vec2i(
            wp.max(0, int(wp.floor(low[0] / cells.spacing[0]))),
            wp.max(0, int(wp.floor(low[1] / cells.spacing[1]))),
        )
        cells.end = wp.vec2i(
            wp.min(columns, int(wp.ceil(high[0] / cells.spacing[0]))),
            wp.min(rows, int(wp.ceil(high[1] / cells.spacing[1]))),
        )
    return cells


@wp.func
def _vertex(fields: Fields, field: int, cells: Cells, column: int, row: int) -> wp.vec3:
    """A vertex of the field from the geom's centre."""
    z = fields.data[fields.adr[field] + row * fields.ncol[field] + column] * fields.size[field][2]
    x = float(column) * cells.spacing[0]
    y = float(row) * cells.spacing[1]
    return wp.vec3(x, y, z) + cells.offset


@wp.func
def _frame(normal: wp.vec3) -> wp.mat33:
    """Axes of a contact, as rows (mju_makeFrame)."""
    tangent = wp.vec3(0.0, 0.0, 1.0)
    if wp.abs(normal[1]) < 0.5:
        tangent = wp.vec3(0.0, 1.0, 0.0)
    tangent = wp.normalize(tangent - normal * wp.dot(normal, tangent))
    return wp.matrix_from_rows(normal, tangent, wp.cross(normal, tangent))


@wp.func
def _write(
    contacts: Contacts,
    place: int,
    pairs: Pairs,
    pair: int,
    world: int,
    number: int,
    geom_friction: wp.array2d(dtype=wp.vec3),
    distance: float,
    point: wp.vec3,
    normal: wp.vec3,
):
    """Write a contact, the `number`-th of its pair, with a point and normal in the world."""
    geoms = pairs.geoms[pair]
    shares = pairs.friction_shares[pair]
    row = world % geom_friction.shape[0]
    first = shares[0] * geom_friction[row, geoms[0]]
    second = shares[1] * geom_friction[row, geoms[1]]
    mu = wp.max(wp.max(first, second), wp.vec3(_LEAST_FRICTION))
    contacts.dist[place] = distance
    contacts.pos[place] = point
    contacts.frame[place] = _frame(normal)
    contacts.includemargin[place] = 0.0
    contacts.friction[place] = vec5(mu[0], mu[0], mu[1], mu[2], mu[2])
    contacts.solref[place] = pairs.solref[pair]
    contacts.solreffriction[place] = wp.vec2()
    contacts.solimp[place] = pairs.solimp[pair]
    contacts.dim[place] = pairs.dim[pair]
    contacts.geom[place] = geoms
    contacts.worldid[place] = world
    contacts.type[place] = _CONSTRAINT
    contacts.geomcollisionid[place] = number
    contacts.adhesion[place] = 0.0
    contacts.surfacevel[place] = wp.vec3()
    for i in range(contacts.efc_address.shape[1]):
        contacts.efc_address[place, i] = -1


@wp.kernel
def hfield_contacts(
    pairs: Pairs,
    fields: Fields,
    geom_size: wp.array2d(dtype=wp.vec3),
    geom_dataid: wp.array2d(dtype=int),
    geom_friction: wp.array2d(dtype=wp.vec3),
    geom_xpos: wp.array2d(dtype=wp.vec3),
    geom_xmat: wp.array2d(dtype=wp.mat33),
    room: int,
    count: wp.array(dtype=int),
    contacts: Contacts,
):
    """Append the contacts of every pair [P] in every world [N]; those beyond the `room` are only counted.

    Neighbouring threads have the same pair in different worlds, so that they leave together where a geom is far
    from the ground of most worlds.
    """
    pair, world = wp.tid()
    ground = pairs.geoms[pair][0]
    geom = pairs.geoms[pair][1]
    is_capsule = pairs.is_capsule[pair]
    size = geom_size[world % geom_size.shape[0], geom]
    radius = size[0]
    to_field = wp.transpose(geom_xmat[world, ground])
    centre = to_field * (geom_xpos[world, geom] - geom_xpos[world, ground])
    half = wp.vec3()
    if is_capsule:
        half = size[1] * (to_field * (geom_xmat[world, geom] * wp.vec3(0.0, 0.0, 1.0)))
    extent = wp.vec3(wp.abs(half[0]), wp.abs(half[1]), wp.abs(half[2])) + wp.vec3(radius)
    field = geom_dataid[world % geom_dataid.shape[0], ground]
    cells = _overlapped(fields, field, centre, extent)
    found = int(0)  # noqa: UP018, RUF046, else Warp takes it for a constant
    for row in range(cells.first[1], cells.end[1]):
        for column in range(cells.first[0], cells.end[0]):
            low = _vertex(fields, field, cells, column, row)
            high = _vertex(fields, field, cells, column + 1, row + 1)
            for side in range(2):
                third = _vertex(fields, field, cells, column + side, row + 1 - side)
                nearest = Nearest(FAR, third, 0.0)
                if wp.max(wp.max(low[2], high[2]), third[2]) >= -extent[2]:
                    nearest = nearest_to_prism(low, third, high, half, is_capsule, radius)
                distance = nearest.distance - radius
                if distance < 0.0 and found < MOST_CONTACTS:
                    place = wp.atomic_add(count, 0, 1)
                    if place < room:
                        depth = radius + 0.5 * distance
                        point = centre + half * nearest.along - nearest.normal * depth
                        turn = geom_xmat[world, ground]
                        _write(
                            contacts,
                            place,
                            pairs,
                            pair,
                            world,
                            found,
                            geom_friction,
                            distance,
                            geom_xpos[world, ground] + turn * point,
                            turn * nearest.normal,
                        )
                    found += 1

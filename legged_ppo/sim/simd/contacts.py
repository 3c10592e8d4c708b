"""Contacts: what a touch of the ground adds to the constraint problem, and joint limits.

Soft constraints as MuJoCo's (Todorov 2014; engine_core_constraint.c): a reference acceleration from depth and
velocity, a regularisation R from the impedance and an approximate inverse inertia, and the pyramid of a
contact: four edges normal +- friction * tangent that share one R.
"""

from __future__ import annotations

from legged_ppo.sim.simd.contact_parameters import SMALLEST, Softness
from legged_ppo.sim.simd.layout import Fields
from legged_ppo.sim.simd.machine import Index, Machine, Mask, Memory, Number, Vector
from legged_ppo.sim.simd.robot import Link
from legged_ppo.sim.simd.spatial import add, cross, dot, scale, subtract
from legged_ppo.sim.simd.workspace import Workspace

TINY = 1e-20
"""Guards a division whose result is not used."""


class Colliders:
    """Tables of the colliders' constants, by collider."""

    def __init__(self, m: Machine, w: Workspace) -> None:
        robot = w.robot
        legs, joints = len(robot.legs), robot.joints_per_leg
        each = robot.colliders
        self.radius = m.constants([c.radius for c in each])
        self.half_length = m.constants([c.half_length for c in each])
        self.leg = m.indices([c.leg if c.leg >= 0 else legs for c in each])
        moved = [[float(j < c.depth) for j in range(joints)] for c in each]
        self.moved = m.constants([x for row in moved for x in row])
        self.friction = m.constants([c.contact.friction for c in each])
        self.foot = m.indices(
            [robot.feet.index(i) if i in robot.feet else 0 for i in range(len(each))]
        )
        self.is_foot = m.constants([float(i in robot.feet) for i in range(len(each))])
        self.softness = _softness_tables(m, [c.contact.softness for c in each])
        self.regularization = m.constants([c.contact.regularization for c in each])


def _softness_tables(m: Machine, each: list[Softness]) -> list:
    """Tables of stiffness, damping and the five of the impedance, by collider."""
    rows = [(s.stiffness, s.damping, *s.impedance) for s in each]
    return [m.constants(list(column)) for column in zip(*rows, strict=True)]


def rotation_of(w: Workspace) -> list[Vector]:
    """World from base."""
    r = w.work.rotation.read(0, 9)
    return [r[0:3], r[3:6], r[6:9]]


def impedance(m: Machine, shape: Vector, power: int, depth: Number) -> Number:
    """d(r): from `shape[0]` at zero depth to `shape[1]` at depth `shape[2]`, a sigmoid of this power."""
    low, high, width, middle = shape
    x = m.minimum(m.absolute(depth) * (1.0 / width), 1.0)
    early, late = x, 1.0 - x
    for _ in range(power - 1):
        early, late = early * x * (1.0 / middle), late * (1.0 - x) * (1.0 / (1.0 - middle))
    return low + m.select(x < middle, early, 1.0 - late) * (high - low)


def start_contacts(m: Machine, w: Workspace) -> None:
    """Forget the contacts of the last substep."""
    for leg in range(len(w.robot.legs) + 1):
        w.contacts.count[leg] = 0
    w.state.touch.write(0, [0.0] * len(w.robot.colliders))


def add_contact(
    m: Machine,
    w: Workspace,
    table: Colliders,
    collider: Index,
    touch: Mask,
    distance: Number,
    point: Vector,
    normal: Vector,
    tangent: Vector,
) -> None:
    """Append a contact of a collider, where `touch` holds.

    Args:
        distance: m, negative.
        point: [3] m, midway between the surfaces, from the base's origin in its axes.
        normal: [3] out of the ground, base's axes.
        tangent: [3] any unit vector across it, base's axes.
    """
    leg = table.leg[collider]
    count = w.contacts.count[leg]
    place = w.contacts.first(leg) + count
    w.contacts.count[leg] = count + 1
    w.contacts.collider[place] = collider
    c = w.contacts[place]
    c.point.write(0, point)
    c.normal.write(0, normal)
    c.tangent.write(0, tangent)
    c.bitangent.write(0, cross(normal, tangent))
    joints = w.robot.joints_per_leg
    for j in range(joints):
        column = (leg * joints + j) * 3
        arm = subtract(point, w.work.anchor.read(column, 3))
        joint = cross(w.work.axis.read(column, 3), arm)
        c.joint_columns.write(3 * j, scale(joint, table.moved[collider * joints + j]))
    own = w.state.friction[table.foot[collider]]
    friction = m.select(table.is_foot[collider] > 0.5, own, table.friction[collider])
    c.friction[0] = friction
    _soften(m, w, table, collider, c, touch, distance, leg)
    w.state.touch.add(collider, [m.select(touch, 1.0, 0.0)])


def _soften(
    m: Machine,
    w: Workspace,
    table: Colliders,
    collider: Index,
    c: Fields,
    touch: Mask,
    distance: Number,
    leg: Index,
) -> None:
    """Weight (1/R of an edge) and reference acceleration."""
    stiffness, damping, low, high, width, middle, _ = (each[collider] for each in table.softness)
    # `checks.check_model` demands one power of all colliders.
    power = round(w.robot.colliders[0].contact.softness.impedance[4])
    d = impedance(m, [low, high, width, middle], power, distance)
    square = c.friction[0] * c.friction[0]
    inverse_inertia = w.state.collider_invweight[collider] * (1.0 + square)
    resistance = table.regularization[collider] * square * (1.0 - d) * inverse_inertia
    c.weight[0] = m.select(touch, d * m.reciprocal(m.maximum(resistance, SMALLEST)), 0.0)
    normal, across, along = contact_rate(w, c, w.work.velocity, leg)
    c.reference.write(
        0,
        [
            -damping * normal - stiffness * d * distance,
            -damping * across,
            -damping * along,
        ],
    )


def contact_rate(w: Workspace, c: Fields, x: Memory, leg: Index) -> Vector:
    """J x of a contact: along its normal and its two tangents."""
    joints = w.robot.joints_per_leg
    base = x.read(0, 6)
    rate = add(base[:3], cross(base[3:], c.point.read(0, 3)))
    q = x.read(leg * joints + 6, joints)
    for j in range(joints):
        rate = add(rate, scale(c.joint_columns.read(3 * j, 3), q[j]))
    return [
        dot(c.normal.read(0, 3), rate),
        dot(c.tangent.read(0, 3), rate),
        dot(c.bitangent.read(0, 3), rate),
    ]


def joint_limits(m: Machine, w: Workspace) -> None:
    """Weight, sign and reference acceleration of each joint's nearer limit, where some robot is beyond one."""
    joints = w.robot.joints_per_leg
    limited = [
        (leg * joints + j, link, link.limits)
        for leg, links in enumerate(w.robot.legs)
        for j, link in enumerate(links)
        if link.limits is not None
    ]
    beyond = m.mask(False)
    for column, _, (low, high) in limited:
        angle = w.state.qpos[7 + column]
        beyond = beyond | (angle < low) | (angle > high)
    w.limits.value = m.any(beyond)
    for _ in m.when(w.limits.value):
        for column, link, limits in limited:
            _joint_limit(m, w, link, limits, column)


def _joint_limit(
    m: Machine, w: Workspace, link: Link, limits: tuple[float, float], column: int
) -> None:
    angle, rate = w.state.qpos[7 + column], w.state.qvel[6 + column]
    from_low, from_high = angle - limits[0], limits[1] - angle
    nearer_low = from_low < from_high
    distance = m.select(nearer_low, from_low, from_high)
    sign = m.select(nearer_low, 1.0, -1.0)
    beyond = distance < 0.0
    soft = link.softness
    d = impedance(m, list(soft.impedance[:4]), round(soft.impedance[4]), distance)
    resistance = m.maximum((1.0 - d) * w.state.joint_invweight[column], SMALLEST)
    w.work.limit_weight[column] = m.select(beyond, d * m.reciprocal(resistance), 0.0)
    w.work.limit_sign[column] = sign
    w.work.limit_reference[column] = -soft.damping * sign * rate - soft.stiffness * d * distance

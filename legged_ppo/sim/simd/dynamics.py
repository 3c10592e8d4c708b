"""Smooth dynamics: kinematics, bias forces, the joint-space inertia as an arrow, the motors.

All vectors are in the base's axes. The generalised velocity is the base's linear velocity (in its own axes,
unlike MuJoCo's), its angular velocity, and the joints' velocities; leg by leg, padded to the longest leg.
Bias forces come from the recursive Newton-Euler algorithm, the inertia from the composite rigid body
algorithm (Featherstone 2008).
"""

from __future__ import annotations

from dataclasses import dataclass

from legged_ppo.sim.simd.layout import triangle
from legged_ppo.sim.simd.machine import Machine, Number, Vector
from legged_ppo.sim.simd.robot import Link
from legged_ppo.sim.simd.spatial import (
    Matrix,
    add,
    axis_rotation,
    cross,
    dot,
    negative,
    product,
    quaternion_matrix,
    rotated,
    scale,
    subtract,
    symmetric,
    times,
    transposed,
)
from legged_ppo.sim.simd.workspace import Workspace


@dataclass
class Body:
    """A link (or the base) in the base's axes."""

    rotation: Matrix
    """base from link"""
    origin: Vector
    """of its frame, from the base's origin"""
    mass: Number
    moment: Vector
    """mass times centre of mass, from `origin`"""
    tensor: Matrix
    """about `origin`"""
    axis: Vector
    """of its hinge"""
    angular: Vector
    """angular velocity"""
    spin: Vector
    """angular acceleration at zero joint accelerations"""
    acceleration: Vector
    """of `origin`, likewise, less gravity"""


def smooth_dynamics(m: Machine, w: Workspace) -> None:
    """Fill inertia, smooth forces (motors less bias), velocity, anchors and colliders."""
    base = _base(m, w)
    joints = w.robot.joints_per_leg
    force, torque = _inertial_forces(base)
    mass, moment, tensor = base.mass, base.moment, base.tensor
    trace: Number = 0.0
    for leg, links in enumerate(w.robot.legs):
        chain: list[Body] = []
        for j, link in enumerate(links):
            chain.append(_link(m, w, chain[-1] if chain else base, link, leg * joints + j))
        _place_colliders(w, chain, leg)
        leg_force, leg_torque = _bias(m, w, chain, leg)
        force, torque = add(force, leg_force), add(torque, leg_torque)
        leg_mass, leg_moment, leg_tensor, leg_trace = _leg_inertia(w, chain, leg)
        mass, moment, trace = mass + leg_mass, add(moment, leg_moment), trace + leg_trace
        tensor = [add(a, b) for a, b in zip(tensor, leg_tensor, strict=True)]
    _place_colliders(w, [base], -1)
    w.work.force.write(0, negative(force) + negative(torque))
    w.work.mass_base.write(0, _spatial_inertia(mass, moment, tensor))
    w.work.inertia_trace[0] = trace + 3.0 * mass + tensor[0][0] + tensor[1][1] + tensor[2][2]


def _base(m: Machine, w: Workspace) -> Body:
    state, rest = w.state, w.robot.base_rest
    rotation = quaternion_matrix(state.qpos.read(3, 4))  # world from base
    w.work.rotation.write(0, rotation[0] + rotation[1] + rotation[2])
    to_base = transposed(rotation)
    angular = state.qvel.read(3, 3)
    w.work.velocity.write(0, times(to_base, state.qvel.read(0, 3)) + angular)
    tensor = add(state.tensor.read(0, 6), list(rest.tensor))
    return Body(
        rotation=[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        origin=[0.0, 0.0, 0.0],
        mass=state.mass[0] + rest.mass,
        moment=add(state.moment.read(0, 3), list(rest.moment)),
        tensor=symmetric(tensor),
        axis=[0.0, 0.0, 0.0],
        angular=angular,
        spin=[0.0, 0.0, 0.0],
        acceleration=times(to_base, [-g for g in w.robot.gravity]),
    )


def _link(m: Machine, w: Workspace, parent: Body, link: Link, column: int) -> Body:
    """Kinematics of a link from its parent's."""
    angle = w.state.qpos[7 + column] - link.reference
    rate = w.state.qvel[6 + column]
    w.work.velocity[6 + column] = rate
    sine, cosine = m.sincos(angle)
    still = product(parent.rotation, [list(row) for row in link.rotation])
    rotation = product(still, axis_rotation(link.axis, sine, cosine))
    offset = times(parent.rotation, list(link.offset))
    axis = times(still, list(link.axis))
    relative = scale(axis, rate)
    origin = add(parent.origin, offset)
    w.work.anchor.write(3 * column, origin)
    w.work.axis.write(3 * column, axis)
    inertia = link.inertia
    return Body(
        rotation=rotation,
        origin=origin,
        mass=inertia.mass,
        moment=times(rotation, list(inertia.moment)),
        tensor=rotated(rotation, symmetric(inertia.tensor)),
        axis=axis,
        angular=add(parent.angular, relative),
        spin=add(parent.spin, cross(parent.angular, relative)),
        acceleration=_point_acceleration(parent, offset),
    )


def _point_acceleration(body: Body, offset: Vector) -> Vector:
    centripetal = cross(body.angular, cross(body.angular, offset))
    return add(add(body.acceleration, cross(body.spin, offset)), centripetal)


def _inertial_forces(body: Body) -> tuple[Vector, Vector]:
    """Force and torque about its origin that the body's motion takes."""
    w = body.angular
    force = add(scale(body.acceleration, body.mass), cross(body.spin, body.moment))
    force = add(force, cross(w, cross(w, body.moment)))
    torque = add(times(body.tensor, body.spin), cross(w, times(body.tensor, w)))
    return force, add(torque, cross(body.moment, body.acceleration))


def _bias(m: Machine, w: Workspace, chain: list[Body], leg: int) -> tuple[Vector, Vector]:
    """Forces of the joints of a leg, motors included; the force and torque that the base passes on to it."""
    force: Vector = [0.0, 0.0, 0.0]
    torque: Vector = [0.0, 0.0, 0.0]
    joints = w.robot.joints_per_leg
    for j in range(len(chain), joints):
        w.work.force[6 + leg * joints + j] = 0.0
    for j in reversed(range(len(chain))):
        own_force, own_torque = _inertial_forces(chain[j])
        force, torque = add(force, own_force), add(torque, own_torque)
        column = leg * joints + j
        motor = _motor(m, w, w.robot.legs[leg][j], column)
        w.work.force[6 + column] = motor - dot(chain[j].axis, torque)
        inner = chain[j - 1].origin if j else [0.0, 0.0, 0.0]
        torque = add(torque, cross(subtract(chain[j].origin, inner), force))
    return force, torque


def _motor(m: Machine, w: Workspace, link: Link, column: int) -> Number:
    """PD torque within its limit, less the joint's damping."""
    state = w.state
    rate = state.qvel[6 + column]
    stretch = w.work.command[column] - state.qpos[7 + column]
    wanted = state.kp[column] * stretch - state.kd[column] * rate
    limit = link.torque_limit
    if limit == float("inf"):
        torque, damping = wanted, state.kd[column]
    else:
        torque = m.maximum(m.minimum(wanted, limit), -limit)
        damping = m.select(m.absolute(wanted) < limit, state.kd[column], 0.0)
    state.torque[column] = torque
    # Implicitfast derives a motor's torque by velocity where it is not clamped; Euler leaves motors out.
    w.work.implicit_damping[column] = (damping if w.robot.implicit else 0.0) + link.damping
    return torque - rate * link.damping


def _leg_inertia(
    w: Workspace, chain: list[Body], leg: int
) -> tuple[Number, Vector, Matrix, Number]:
    """Rows of a leg in the arrow; its composite inertia about the base's origin, and its rows' trace."""
    joints = w.robot.joints_per_leg
    rows = w.work.mass_leg.part(leg * triangle(joints, 0))
    coupling = w.work.mass_coupling.part(leg * joints * 6)
    for j in range(len(chain), joints):  # a joint that this leg lacks
        rows.write(triangle(j, 0), [0.0] * j + [1.0])
        coupling.write(6 * j, [0.0] * 6)
    mass: Number = 0.0
    moment: Vector = [0.0, 0.0, 0.0]
    tensor: Matrix = [[0.0] * 3 for _ in range(3)]
    reactions: list[tuple[int, Vector, Vector]] = []  # to a unit acceleration of the outer joints
    trace: Number = 0.0
    for j in reversed(range(len(chain))):
        body = chain[j]
        mass, moment = body.mass + mass, add(body.moment, moment)
        tensor = [add(a, b) for a, b in zip(body.tensor, tensor, strict=True)]
        reactions.append((j, cross(body.axis, moment), times(tensor, body.axis)))
        for i, _, torque in reactions:
            rows[triangle(i, j)] = dot(body.axis, torque)
        diagonal = rows[triangle(j, j)] + w.state.armature[leg * joints + j]
        rows[triangle(j, j)] = diagonal
        trace = trace + diagonal
        inner = chain[j - 1].origin if j else [0.0, 0.0, 0.0]
        shift = subtract(body.origin, inner)
        reactions = [(i, f, add(n, cross(shift, f))) for i, f, n in reactions]
        moment, tensor = shifted(mass, moment, tensor, shift)
    for i, force, torque in reactions:
        coupling.write(6 * i, force + torque)
    return mass, moment, tensor, trace


def shifted(mass: Number, moment: Vector, tensor: Matrix, shift: Vector) -> tuple[Vector, Matrix]:
    """Moment and inertia about an origin that lies `shift` before the present one (parallel axes)."""
    new = add(moment, scale(shift, mass))
    both = add(moment, new)
    along = [shift[i] * both[i] for i in range(3)]
    result: Matrix = [[0.0] * 3 for _ in range(3)]
    for i in range(3):
        result[i][i] = tensor[i][i] + (along[(i + 1) % 3] + along[(i + 2) % 3])
        for j in range(i):
            cross_term = shift[i] * moment[j] + shift[j] * new[i]
            result[i][j] = result[j][i] = tensor[i][j] - cross_term
    return new, result


def _spatial_inertia(mass: Number, h: Vector, tensor: Matrix) -> Vector:
    """Lower triangle of [[m 1, -[h]x], [[h]x, I]]."""
    rows: list[Vector] = [
        [mass],
        [0.0, mass],
        [0.0, 0.0, mass],
        [0.0, -h[2], h[1], tensor[0][0]],
        [h[2], 0.0, -h[0], tensor[1][0], tensor[1][1]],
        [-h[1], h[0], 0.0, tensor[2][0], tensor[2][1], tensor[2][2]],
    ]
    return [entry for row in rows for entry in row]


def _place_colliders(w: Workspace, chain: list[Body], leg: int) -> None:
    for i, collider in enumerate(w.robot.colliders):
        if collider.leg != leg:
            continue
        body = chain[max(collider.depth - 1, 0)]
        centre = add(body.origin, times(body.rotation, list(collider.centre)))
        w.work.collider_centre.write(3 * i, centre)
        w.work.collider_axis.write(3 * i, times(body.rotation, list(collider.axis)))

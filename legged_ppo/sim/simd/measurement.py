"""What the task reads of the feet: position, velocity, net contact force, all in the world."""

from __future__ import annotations

from legged_ppo.sim.simd.contacts import contact_rate, rotation_of
from legged_ppo.sim.simd.machine import Machine
from legged_ppo.sim.simd.solver import edges
from legged_ppo.sim.simd.spatial import add, cross, scale, subtract, times
from legged_ppo.sim.simd.workspace import Workspace


def measure_feet(m: Machine, w: Workspace) -> None:
    """Fill `foot_pos` and `foot_vel` (of the centres) and `foot_force`, before the state moves on."""
    for foot in range(len(w.robot.feet)):
        _motion(w, foot)
    _forces(m, w)


def _motion(w: Workspace, foot: int) -> None:
    index = w.robot.feet[foot]
    collider = w.robot.colliders[index]
    rotation = rotation_of(w)
    velocity = w.work.velocity.read(0, 6)
    centre = w.work.collider_centre.read(3 * index, 3)
    speed = add(velocity[:3], cross(velocity[3:], centre))
    for j in range(collider.depth):
        column = collider.leg * w.robot.joints_per_leg + j
        arm = subtract(centre, w.work.anchor.read(3 * column, 3))
        joint = cross(w.work.axis.read(3 * column, 3), arm)
        speed = add(speed, scale(joint, w.work.velocity[6 + column]))
    position = add(w.state.qpos.read(0, 3), times(rotation, centre))
    w.state.foot_pos.write(3 * foot, position)
    w.state.foot_vel.write(3 * foot, times(rotation, speed))


def _forces(m: Machine, w: Workspace) -> None:
    feet, colliders = w.robot.feet, range(len(w.robot.colliders))
    foot_of = m.indices([feet.index(i) if i in feet else len(feet) for i in colliders])
    rotation = rotation_of(w)
    w.state.foot_force.write(0, [0.0] * (3 * len(feet)))
    for leg, place in w.contacts.all(m):
        foot, c = foot_of[w.contacts.collider[place]], w.contacts[place]
        for _ in m.when(m.less(foot, len(feet))):
            rate = contact_rate(w, c, w.work.x, leg)
            residual = edges(c, subtract(rate, c.reference.read(0, 3)))
            e = [m.minimum(y, 0.0) * -c.weight[0] for y in residual]
            mu = c.friction[0]
            force = scale(c.normal.read(0, 3), e[0] + e[1] + e[2] + e[3])
            force = add(force, scale(c.tangent.read(0, 3), mu * (e[0] - e[1])))
            force = add(force, scale(c.bitangent.read(0, 3), mu * (e[2] - e[3])))
            w.state.foot_force.add(foot * 3, times(rotation, force))

"""From accelerations to the next state."""

from __future__ import annotations

from legged_ppo.sim.simd import arrow
from legged_ppo.sim.simd.contacts import rotation_of
from legged_ppo.sim.simd.layout import triangle
from legged_ppo.sim.simd.machine import Machine, Number, Vector
from legged_ppo.sim.simd.spatial import dot, scale, times
from legged_ppo.sim.simd.workspace import Workspace


def integrate(m: Machine, w: Workspace) -> None:
    """Semi-implicit Euler, or implicitfast: velocities with the dampers' derivative, then positions."""
    state, nv, h = w.state, 6 + w.robot.num_joints, w.robot.timestep
    rotation = rotation_of(w)
    x = w.work.x.read(0, nv)
    state.warmstart.write(0, times(rotation, x[:3]) + x[3:])
    if w.robot.damped:
        _damp(m, w)
        x = w.work.direction.read(0, nv)
    acceleration = times(rotation, x[:3]) + x[3:]
    velocity = [state.qvel[i] + acceleration[i] * h for i in range(nv)]
    state.qvel.write(0, velocity)
    for i in range(3):
        state.qpos[i] = state.qpos[i] + velocity[i] * h
    state.qpos.write(3, _turned(m, state.qpos.read(3, 4), scale(velocity[3:6], h)))
    for i in range(w.robot.num_joints):
        state.qpos[7 + i] = state.qpos[7 + i] + velocity[6 + i] * h


def _damp(m: Machine, w: Workspace) -> None:
    """direction = (M + h damping)^-1 M x; M x is the total force."""
    work, joints = w.work, w.robot.joints_per_leg
    force = work.mass_direction
    arrow.multiply_inertia(w, work.x, force)
    system = arrow.Elimination(m, w, work.mass_base.read(0, 21), force.read(0, 6))
    for leg in m.loop(len(w.robot.legs)):
        rows, couplings = arrow.leg_entries(w, leg)
        for j in range(joints):
            damping = work.implicit_damping[leg * joints + j]
            rows[triangle(j, j)] = rows[triangle(j, j)] + damping * w.robot.timestep
        system.eliminate(leg, rows, couplings, force.read(leg * joints + 6, joints))
    system.solve(work.direction)


def _turned(m: Machine, q: Vector, angle: Vector) -> Vector:
    """The unit quaternion q turned by a small rotation vector [rad] in its own frame."""
    half = scale(angle, 0.5)
    sine, cosine = _sine_ratio_and_cosine(m, dot(half, half))
    x, y, z = scale(half, sine)
    a, b, c, d = q
    turned = [
        a * cosine - b * x - c * y - d * z,
        a * x + b * cosine + c * z - d * y,
        a * y - b * z + c * cosine + d * x,
        a * z + b * y - c * x + d * cosine,
    ]
    return scale(turned, m.reciprocal(m.sqrt(dot(turned, turned))))


def _sine_ratio_and_cosine(m: Machine, square: Number) -> tuple[Number, Number]:
    """sin(t)/t and cos(t) of t^2 <= 1 by their series; a step turns by less than that."""
    sine: Number = 1.0
    cosine: Number = 1.0
    for k in range(9, 0, -1):
        sine = 1.0 - sine * square * (1.0 / ((2 * k) * (2 * k + 1)))
        cosine = 1.0 - cosine * square * (1.0 / ((2 * k) * (2 * k - 1)))
    return sine, cosine

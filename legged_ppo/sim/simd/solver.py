"""The constraint solver: Newton's method on MuJoCo's primal problem, all robots of a group at once.

Minimise over accelerations x: 1/2 (x - x0)^T M (x - x0) + sum over rows of 1/2 D min(J x - a, 0)^2, where M
x0 = f. The cost is strictly convex and piecewise quadratic, so a full Newton step that leaves the set of
active rows as it is ends at the minimum. A robot whose minimum is found keeps it while its neighbours go on:
its direction is zero.
"""

from __future__ import annotations

from typing import Any

from legged_ppo.sim.simd import arrow
from legged_ppo.sim.simd.contacts import contact_rate, rotation_of
from legged_ppo.sim.simd.layout import EDGES, Fields
from legged_ppo.sim.simd.line_search import line_search
from legged_ppo.sim.simd.machine import Machine, Mask, Memory, Number, Vector
from legged_ppo.sim.simd.newton_system import newton_direction
from legged_ppo.sim.simd.spatial import times, transposed
from legged_ppo.sim.simd.workspace import Workspace

_FULL_STEPS = 3
"""Newton steps that are taken whole: a group needs as many as with line searches, which are saved. From then on a
line search makes every step descend."""


def solve_constraints(m: Machine, w: Workspace) -> None:
    """Fill x with the constrained acceleration, from the last one (the warm start)."""
    nv = 6 + w.robot.num_joints
    _warm_start(m, w)
    live = m.variable(w.work.inertia_trace[0] > 0.0)  # false for a robot whose state is NaN
    for iteration in m.loop(w.robot.iterations):
        decrement = newton_direction(m, w)
        for i in range(nv):
            w.work.direction[i] = m.select(live.value, -w.work.direction[i], 0.0)
        small = 0.5 * decrement < w.work.inertia_trace[0] * w.robot.tolerance
        arrived = _step_rows(m, w) | small  # its step is paid for, so it is taken
        searching = live.value & ~arrived
        length = m.variable(1.0)
        for _ in m.when(m.any(searching)):
            arrow.multiply_inertia(w, w.work.direction, w.work.mass_direction)
            for _ in m.when(m.less(_FULL_STEPS - 1, iteration)):
                line_search(m, w, searching, decrement, length)
        _move(w.work.x, w.work.direction, nv, length.value)
        if m.leave(m.none(searching)):
            break
        _move(w.work.mass_x, w.work.mass_direction, nv, length.value)
        _move_rows(m, w, length.value)
        live.value = searching


def edges(c: Fields, rate: Vector) -> Vector:
    """Rows of a contact's pyramid from the rates along its normal and tangents."""
    normal, across, along = rate
    mu = c.friction[0]
    return [normal + mu * across, normal - mu * across, normal + mu * along, normal - mu * along]


def _warm_start(m: Machine, w: Workspace) -> None:
    nv = 6 + w.robot.num_joints
    last = w.state.warmstart.read(0, nv)
    w.work.x.write(0, times(transposed(rotation_of(w)), last[:3]) + last[3:])
    arrow.multiply_inertia(w, w.work.x, w.work.mass_x)
    for leg, place in w.contacts.all(m):
        c = w.contacts[place]
        rate = contact_rate(w, c, w.work.x, leg)
        target = c.reference.read(0, 3)
        c.residual.write(0, edges(c, [r - t for r, t in zip(rate, target, strict=True)]))
    for _ in m.when(w.limits.value):
        for i in w.robot.limited_columns:
            residual = w.work.limit_sign[i] * w.work.x[6 + i] - w.work.limit_reference[i]
            w.work.limit_residual[i] = residual


def _step_rows(m: Machine, w: Workspace) -> Mask:
    """Fill the rows' change along `direction`; true where a full step leaves all rows as active as they are."""
    changed = m.variable(m.mask(False))
    for leg, place in w.contacts.all(m):
        c = w.contacts[place]
        step = edges(c, contact_rate(w, c, w.work.direction, leg))
        c.step.write(0, step)
        crossing = _crosses(c.residual.read(0, EDGES), step)
        changed.value = changed.value | (crossing & (c.weight[0] > 0.0))
    for _ in m.when(w.limits.value):
        for i in w.robot.limited_columns:
            step = w.work.limit_sign[i] * w.work.direction[6 + i]
            w.work.limit_step[i] = step
            crossing = _crosses([w.work.limit_residual[i]], [step])
            changed.value = changed.value | (crossing & (w.work.limit_weight[i] > 0.0))
    return ~changed.value


def _crosses(residuals: Vector, steps: Vector) -> Mask:
    """True where some row becomes active or inactive."""
    crossing: Any = None
    for y, dy in zip(residuals, steps, strict=True):
        one = (y < 0.0) ^ (y + dy < 0.0)
        crossing = one if crossing is None else crossing | one
    return crossing


def _move(x: Memory, direction: Memory, count: int, length: Number) -> None:
    for i in range(count):
        x[i] = x[i] + length * direction[i]


def _move_rows(m: Machine, w: Workspace, length: Number) -> None:
    for _, place in w.contacts.all(m):
        c = w.contacts[place]
        _move(c.residual, c.step, EDGES, length)
    for _ in m.when(w.limits.value):
        for i in w.robot.limited_columns:
            w.work.limit_residual[i] = w.work.limit_residual[i] + length * w.work.limit_step[i]

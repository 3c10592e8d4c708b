"""Gradient and Hessian of the constraint problem's cost."""

from __future__ import annotations

from legged_ppo.sim.simd.layout import EDGES, Fields, triangle
from legged_ppo.sim.simd.machine import Index, Machine, Number, Vector
from legged_ppo.sim.simd.spatial import Matrix, add, cross, dot, scale, times
from legged_ppo.sim.simd.workspace import Workspace


def gradient_and_hessian(m: Machine, w: Workspace) -> None:
    """gradient = M x - f - J^T force, hessian = M + J^T D J over the active rows."""
    work = w.work
    for i in range(6 + w.robot.num_joints):
        work.gradient[i] = work.mass_x[i] - work.force[i]
    for name in ("base", "leg", "coupling"):
        _, size = work.layout.spans[f"mass_{name}"]
        source = getattr(work, f"mass_{name}").read(0, size)
        getattr(work, f"hessian_{name}").write(0, source)
    for k in m.loop(w.count.value):
        _add_contact(m, w, w.contacts[k], w.contacts.leg[k])
    for _ in m.when(w.limits.value):
        _add_limits(m, w)


def _add_limits(m: Machine, w: Workspace) -> None:
    work, joints = w.work, w.robot.joints_per_leg
    for i in w.robot.limited_columns:
        leg, j = divmod(i, joints)
        residual = work.limit_residual[i]
        weight = m.select(residual < 0.0, work.limit_weight[i], 0.0)
        work.gradient.add(6 + i, [work.limit_sign[i] * weight * residual])
        work.hessian_leg.add(leg * triangle(joints, 0) + triangle(j, j), [weight])


def _add_contact(m: Machine, w: Workspace, c: Fields, leg: Index) -> None:
    """A contact's force and stiffness, first in its frame, then on the base and on its leg's joints."""
    joints, work = w.robot.joints_per_leg, w.work
    force, stiffness = _at_the_point(m, c)
    point = c.point.read(0, 3)
    columns = [c.joint_columns.read(3 * j, 3) for j in range(joints)]
    work.gradient.add(0, force + cross(point, force))
    work.gradient.add(leg * joints + 6, [dot(column, force) for column in columns])
    _add_base_block(w, point, stiffness)
    rows: Vector = []
    coupling: Vector = []
    for j in range(joints):
        pull = times(stiffness, columns[j])
        coupling += pull + cross(point, pull)
        rows += [dot(columns[i], pull) for i in range(j + 1)]
    work.hessian_coupling.add(leg * (joints * 6), coupling)
    work.hessian_leg.add(leg * triangle(joints, 0), rows)


def _at_the_point(m: Machine, c: Fields) -> tuple[Vector, Matrix]:
    """Minus the contact's force, and its stiffness F^T W F, in the base's axes."""
    residual, weight, mu = c.residual.read(0, EDGES), c.weight[0], c.friction[0]
    d = [m.select(y < 0.0, weight, 0.0) for y in residual]
    e = [a * b for a, b in zip(d, residual, strict=True)]
    n, t, b = c.normal.read(0, 3), c.tangent.read(0, 3), c.bitangent.read(0, 3)
    force = scale(n, e[0] + e[1] + e[2] + e[3])
    force = add(add(force, scale(t, mu * (e[0] - e[1]))), scale(b, mu * (e[2] - e[3])))
    across, along = mu * (d[0] - d[1]), mu * (d[2] - d[3])  # couple normal and tangents
    square = mu * mu
    by_n = add(add(scale(n, d[0] + d[1] + d[2] + d[3]), scale(t, across)), scale(b, along))
    by_t = add(scale(n, across), scale(t, square * (d[0] + d[1])))
    by_b = add(scale(n, along), scale(b, square * (d[2] + d[3])))

    def entry(i: int, j: int) -> Number:
        return by_n[i] * n[j] + by_t[i] * t[j] + by_b[i] * b[j]

    stiffness: Matrix = [[0.0] * 3 for _ in range(3)]
    for i in range(3):
        for j in range(i, 3):
            stiffness[i][j] = stiffness[j][i] = entry(i, j)
    return force, stiffness


def _add_base_block(w: Workspace, point: Vector, stiffness: Matrix) -> None:
    """[[A, A [p]x^T], [[p]x A, [p]x A [p]x^T]] to the base's block."""
    columns = [cross(point, stiffness[j]) for j in range(3)]  # A is symmetric
    rows = [[columns[j][i] for j in range(3)] for i in range(3)]  # [p]x A
    both = [cross(point, row) for row in rows]
    block: Vector = []
    for i in range(3):
        block += stiffness[i][: i + 1]
    for i in range(3):
        block += rows[i] + both[i][: i + 1]
    w.work.hessian_base.add(0, block)

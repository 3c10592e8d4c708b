"""The Newton step of the constraint problem's cost: its Hessian is an arrow (`arrow.py`)."""

from __future__ import annotations

from legged_ppo.sim.simd.arrow import Elimination, leg_entries
from legged_ppo.sim.simd.layout import EDGES, Fields, triangle
from legged_ppo.sim.simd.machine import Index, Machine, Number, Vector
from legged_ppo.sim.simd.spatial import Matrix, add, cross, dot, scale, times
from legged_ppo.sim.simd.workspace import Workspace


def newton_direction(m: Machine, w: Workspace) -> Number:
    """Fill direction = H^-1 gradient; returns their product.

    gradient = M x - f - J^T force; H = M + J^T D J over the active rows. A leg's contacts, its limits and its
    elimination follow each other, so that H is nowhere in memory.
    """
    legs, work = len(w.robot.legs), w.work
    right = [work.mass_x[i] - work.force[i] for i in range(6)]
    system = Elimination(m, w, work.mass_base.read(0, 21), right)
    for place in w.contacts.of_leg(m, legs):
        c = w.contacts[place]
        force, stiffness = _at_the_point(m, c)
        system.add(*_on_base(c.point.read(0, 3), force, stiffness))
    for leg in m.loop(legs):
        own = _Leg(m, w, leg)
        for _ in m.when(m.less(0, w.contacts.count[leg])):
            own.add_contact(system, w.contacts.first(leg))
            for k in m.loop(w.contacts.count[leg] - 1):
                own.add_contact(system, w.contacts.first(leg) + k + 1)
        for _ in m.when(w.limits.value):
            own.add_limits()
        system.eliminate(leg, *own.entries())
    return system.solve(work.direction)


class _Leg:
    """A leg's block, its couplings with the base and its gradient, while contacts and limits are added."""

    def __init__(self, m: Machine, w: Workspace, leg: Index) -> None:
        self._m, self._w, self._leg = m, w, leg
        joints = w.robot.joints_per_leg
        first = leg * joints
        gradient = [
            w.work.mass_x[first + (6 + j)] - w.work.force[first + (6 + j)] for j in range(joints)
        ]
        self._parts = [
            [m.variable(entry) for entry in part] for part in (*leg_entries(w, leg), gradient)
        ]

    def entries(self) -> list[Vector]:
        """Rows, couplings, gradient."""
        return [[variable.value for variable in part] for part in self._parts]

    def add_contact(self, system: Elimination, place: Index) -> None:
        """A contact's force and stiffness, first in its frame, then on the base and on the leg's joints."""
        c, joints = self._w.contacts[place], range(self._w.robot.joints_per_leg)
        force, stiffness = _at_the_point(self._m, c)
        point = c.point.read(0, 3)
        system.add(*_on_base(point, force, stiffness))
        columns = [c.joint_columns.read(3 * j, 3) for j in joints]
        rows: Vector = []
        couplings: Vector = []
        for j in joints:
            pull = times(stiffness, columns[j])
            couplings += pull + cross(point, pull)
            rows += [dot(columns[i], pull) for i in range(j + 1)]
        self._add(rows, couplings, [dot(column, force) for column in columns])

    def add_limits(self) -> None:
        """The limits of the leg's joints; a joint without them has the weight 0."""
        m, work, joints = self._m, self._w.work, self._w.robot.joints_per_leg
        rows, gradient = [0.0] * triangle(joints, 0), [0.0] * joints
        for j in range(joints):
            column = self._leg * joints + j
            residual = work.limit_residual[column]
            weight = m.select(residual < 0.0, work.limit_weight[column], 0.0)
            gradient[j] = work.limit_sign[column] * weight * residual
            rows[triangle(j, j)] = weight
        self._add(rows, [0.0] * (6 * joints), gradient)

    def _add(self, *parts: Vector) -> None:
        for variables, entries in zip(self._parts, parts, strict=True):
            for variable, entry in zip(variables, entries, strict=True):
                variable.value = variable.value + entry


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


def _on_base(point: Vector, force: Vector, stiffness: Matrix) -> tuple[Vector, Vector]:
    """[[A, A [p]x^T], [[p]x A, [p]x A [p]x^T]] for the base's block, and the force and its torque."""
    columns = [cross(point, stiffness[j]) for j in range(3)]  # A is symmetric
    rows = [[columns[j][i] for j in range(3)] for i in range(3)]  # [p]x A
    both = [cross(point, row) for row in rows]
    block: Vector = []
    for i in range(3):
        block += stiffness[i][: i + 1]
    for i in range(3):
        block += rows[i] + both[i][: i + 1]
    return block, force + cross(point, force)

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
        _add_to_base(system, c.point.read(0, 3), force, stiffness)
    for leg in m.loop(legs):
        own = _Leg(m, w, leg)
        for _ in m.when(m.less(0, w.contacts.count[leg])):
            # Hardly a leg has two contacts: one outside of the loop makes steps on the plane 3 % faster.
            own.add_contact(system, w.contacts.first(leg))
            for k in m.loop(w.contacts.count[leg] - 1):
                own.add_contact(system, w.contacts.first(leg) + k + 1)
        for _ in m.when(w.limits.value):
            own.add_limits()
        system.eliminate(leg, *own.entries)
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
        parts = (*leg_entries(w, leg), gradient)
        self._parts = [[m.variable(entry) for entry in part] for part in parts]

    @property
    def entries(self) -> list[Vector]:
        """Rows, couplings, gradient."""
        return [[variable.value for variable in part] for part in self._parts]

    @entries.setter
    def entries(self, values: list[Vector]) -> None:
        for variables, entries in zip(self._parts, values, strict=True):
            for variable, entry in zip(variables, entries, strict=True):
                variable.value = entry

    def add_contact(self, system: Elimination, place: Index) -> None:
        """A contact's force and stiffness, first in its frame, then on the base and on the leg's joints."""
        c, joints = self._w.contacts[place], range(self._w.robot.joints_per_leg)
        force, stiffness = _at_the_point(self._m, c)
        point = c.point.read(0, 3)
        _add_to_base(system, point, force, stiffness)
        rows, couplings, gradient = self.entries
        columns = [c.joint_columns.read(3 * j, 3) for j in joints]
        for j in joints:
            pull = times(stiffness, columns[j])
            forces, torques = couplings[6 * j : 6 * j + 3], couplings[6 * j + 3 : 6 * j + 6]
            couplings[6 * j : 6 * j + 6] = add(forces, pull) + cross(point, pull, torques)
            for i in range(j + 1):
                rows[triangle(j, i)] = dot(columns[i], pull, rows[triangle(j, i)])
            gradient[j] = dot(columns[j], force, gradient[j])
        self.entries = [rows, couplings, gradient]

    def add_limits(self) -> None:
        """The limits of the leg's joints; a joint without them has the weight 0."""
        m, work, joints = self._m, self._w.work, self._w.robot.joints_per_leg
        rows, couplings, gradient = self.entries
        for j in range(joints):
            column = self._leg * joints + j
            residual = work.limit_residual[column]
            weight = m.select(residual < 0.0, work.limit_weight[column], 0.0)
            gradient[j] = gradient[j] + work.limit_sign[column] * weight * residual
            rows[triangle(j, j)] = rows[triangle(j, j)] + weight
        self.entries = [rows, couplings, gradient]


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


def _add_to_base(system: Elimination, point: Vector, force: Vector, stiffness: Matrix) -> None:
    """Add [[A, A [p]x^T], [[p]x A, [p]x A [p]x^T]] to the base's block, and the force and its torque."""
    block, right = system.remainder
    columns = [cross(point, stiffness[j]) for j in range(3)]  # A is symmetric
    for i in range(3):
        row = [columns[j][i] for j in range(3)]  # of [p]x A
        below = slice(triangle(3 + i, 0), triangle(3 + i, 3))
        above = slice(triangle(i, 0), triangle(i, 0) + i + 1)
        corner = [block[triangle(3 + i, 3 + min(j, i))] for j in range(3)]
        block[above] = add(block[above], stiffness[i][: i + 1])
        block[below] = add(block[below], row)
        block[below.stop : below.stop + i + 1] = cross(point, row, corner)[: i + 1]
    system.remainder = block, add(right[:3], force) + cross(point, force, right[3:])

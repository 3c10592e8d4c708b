"""Symmetric matrices in the shape of an arrow: a 6x6 block of the base, a block a leg, and couplings of base
and leg.

The joint-space inertia has this shape, and so has the Newton Hessian, because every contact touches one leg.
Legs do not couple with each other, so the factorisation eliminates leg by leg and ends with the base's Schur
complement: no fill-in, 6^3/6 + legs * (n^3/6 + ...) products instead of (6 + legs n)^3/6.
"""

from __future__ import annotations

from legged_ppo.sim.simd.layout import eliminated_size, triangle
from legged_ppo.sim.simd.machine import Index, Machine, Memory, Number, Vector
from legged_ppo.sim.simd.spatial import dot, less_dot
from legged_ppo.sim.simd.workspace import Workspace


def multiply_inertia(w: Workspace, x: Memory, result: Memory) -> None:
    """result = M x."""
    joints, work = w.robot.joints_per_leg, w.work
    block = work.mass_base.read(0, 21)
    base = x.read(0, 6)
    top = [dot([block[triangle(i, j)] for j in range(6)], base) for i in range(6)]
    for leg in range(len(w.robot.legs)):
        q = x.read(6 + leg * joints, joints)
        rows = work.mass_leg.read(leg * triangle(joints, 0), triangle(joints, 0))
        for j in range(joints):
            coupling = work.mass_coupling.read((leg * joints + j) * 6, 6)
            own = dot([rows[triangle(j, k)] for k in range(joints)], q)
            result[6 + leg * joints + j] = own + dot(coupling, base)
            top = [t + c * q[j] for t, c in zip(top, coupling, strict=True)]
    result.write(0, top)


class Elimination:
    """The solution of a system in the shape of an arrow, leg by leg: what is left of the base's block (its lower
    triangle, row by row) and right-hand side."""

    def __init__(self, m: Machine, w: Workspace, block: Vector, right: Vector) -> None:
        self._m, self._w = m, w
        self._block = [m.variable(entry) for entry in block]
        self._right = [m.variable(entry) for entry in right]
        self._square = m.variable(0.0)

    @property
    def remainder(self) -> tuple[Vector, Vector]:
        """What is left of the base's block and right-hand side."""
        block, right = (
            [variable.value for variable in each] for each in (self._block, self._right)
        )
        return block, right

    @remainder.setter
    def remainder(self, values: tuple[Vector, Vector]) -> None:
        for variables, entries in zip((self._block, self._right), values, strict=True):
            for variable, entry in zip(variables, entries, strict=True):
                variable.value = entry

    def eliminate(self, leg: Index, rows: Vector, couplings: Vector, right: Vector) -> None:
        """Factor a leg's block and subtract its share from the base's.

        Args:
            rows: lower triangle of the leg's block, row by row.
            couplings: [joints * 6] of each joint with the base.
        """
        m, joints = self._m, self._w.robot.joints_per_leg
        lower, inverse = _factor(m, _lower_rows(rows, joints))
        z = _forward(lower, right)
        solution = [z[j] * inverse[j] for j in range(joints)]
        influence: list[Vector] = [[0.0] * 6 for _ in range(joints)]
        block, base = self.remainder
        for i in range(6):
            half = _forward(lower, couplings[i::6])
            for j in range(joints):
                influence[j][i] = half[j] * inverse[j]
            base[i] = less_dot(base[i], half, solution)
            for k in range(i + 1):
                other = [influence[j][k] for j in range(joints)]
                block[triangle(i, k)] = less_dot(block[triangle(i, k)], half, other)
        self.remainder = block, base
        self._square.value = dot(z, solution, self._square.value)
        self._eliminated(leg).write(
            0, [*solution, *[x for row in (*influence, *lower) for x in row]]
        )

    def solve(self, result: Memory) -> Number:
        """Fill the solution once all legs are eliminated; returns its product with the right-hand side."""
        m, robot = self._m, self._w.robot
        joints = robot.joints_per_leg
        block, right = self.remainder
        lower, inverse = _factor(m, _lower_rows(block, 6))
        z = _forward(lower, right)
        base = [z[i] * inverse[i] for i in range(6)]
        square = dot(z, base, self._square.value)
        _backward(lower, base)
        result.write(0, base)
        for leg in m.loop(len(robot.legs)):
            stored = self._eliminated(leg).read(0, eliminated_size(joints))
            solution, influence, below = stored[:joints], stored[joints:], stored[7 * joints :]
            q = [less_dot(solution[j], influence[6 * j : 6 * j + 6], base) for j in range(joints)]
            _backward([below[i * (i - 1) // 2 :][:i] for i in range(joints)], q)
            result.write(6 + leg * joints, q)
        return square

    def _eliminated(self, leg: Index) -> Memory:
        return self._w.work.eliminated.part(leg * eliminated_size(self._w.robot.joints_per_leg))


def leg_entries(w: Workspace, leg: Index) -> tuple[Vector, Vector]:
    """Of the joint-space inertia: a leg's block and its couplings with the base."""
    joints, work = w.robot.joints_per_leg, w.work
    rows = work.mass_leg.read(leg * triangle(joints, 0), triangle(joints, 0))
    return rows, work.mass_coupling.read(leg * (joints * 6), joints * 6)


def _lower_rows(entries: Vector, size: int) -> list[Vector]:
    return [[entries[triangle(i, j)] for j in range(i + 1)] for i in range(size)]


def _factor(m: Machine, rows: list[Vector]) -> tuple[list[Vector], Vector]:
    """L (unit diagonal) and 1/D of the L D L^T of a positive definite matrix, given its lower rows."""
    size = len(rows)
    lower: list[Vector] = [[None] * i for i in range(size)]
    scaled: list[Vector] = [[None] * i for i in range(size)]  # L D
    inverse: Vector = []
    for j in range(size):
        for i in range(j, size):
            entry = less_dot(rows[i][j], scaled[i][:j], lower[j])
            if i == j:
                inverse.append(m.reciprocal(entry))
            else:
                scaled[i][j] = entry
        for i in range(j + 1, size):
            lower[i][j] = scaled[i][j] * inverse[j]
    return lower, inverse


def _forward(lower: list[Vector], right: Vector) -> Vector:
    """L^-1 right."""
    z: Vector = []
    for entry, row in zip(right, lower, strict=True):
        z.append(less_dot(entry, row, z))
    return z


def _backward(lower: list[Vector], x: Vector) -> None:
    """x = L^-T x."""
    for i in reversed(range(len(x))):
        for k in range(i + 1, len(x)):
            x[i] = x[i] - lower[k][i] * x[k]

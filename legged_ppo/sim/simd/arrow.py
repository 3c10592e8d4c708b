"""Symmetric matrices in the shape of an arrow: a 6x6 block of the base, a block a leg, and couplings of base
and leg.

The joint-space inertia has this shape, and so has the Newton Hessian, because every contact touches one leg.
Legs do not couple with each other, so the factorisation eliminates leg by leg and ends with the base's Schur
complement: no fill-in, 6^3/6 + legs * (n^3/6 + ...) products instead of (6 + legs n)^3/6.
"""

from __future__ import annotations

from dataclasses import dataclass

from legged_ppo.sim.simd.layout import triangle
from legged_ppo.sim.simd.machine import Machine, Memory, Number, Vector
from legged_ppo.sim.simd.spatial import dot
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


@dataclass
class _Leg:
    """A leg that has been eliminated: L D L^T of its block, and what the base's solution does to it."""

    lower: list[Vector]
    solution: Vector
    """of the block alone"""
    influence: list[Vector]
    """[joints][6], block^-1 couplings (before L^-T)"""


def solve_hessian(m: Machine, w: Workspace) -> None:
    """direction = H^-1 gradient."""
    work, joints = w.work, w.robot.joints_per_leg
    schur = work.hessian_base.read(0, 21)
    right = work.gradient.read(0, 6)
    legs = [_eliminate(m, w, leg, schur, right) for leg in range(len(w.robot.legs))]
    base = _solve_base(m, schur, right)
    work.direction.write(0, base)
    for index, leg in enumerate(legs):
        q = [leg.solution[j] - dot(leg.influence[j], base) for j in range(joints)]
        for j in reversed(range(joints)):
            for k in range(j + 1, joints):
                q[j] = q[j] - leg.lower[k][j] * q[k]
        work.direction.write(6 + index * joints, q)


def _eliminate(m: Machine, w: Workspace, leg: int, schur: Vector, right: Vector) -> _Leg:
    """Factor a leg's block and subtract its share from the base's block and right-hand side."""
    joints, work = w.robot.joints_per_leg, w.work
    rows = work.hessian_leg.read(leg * triangle(joints, 0), triangle(joints, 0))
    lower, inverse = _factor(
        m, [[rows[triangle(i, j)] for j in range(i + 1)] for i in range(joints)]
    )
    z = _forward(lower, work.gradient.read(6 + leg * joints, joints))
    columns = [work.hessian_coupling.read((leg * joints + j) * 6, 6) for j in range(joints)]
    influence: list[Vector] = [[0.0] * 6 for _ in range(joints)]
    for i in range(6):
        half = _forward(lower, [columns[j][i] for j in range(joints)])
        for j in range(joints):
            influence[j][i] = half[j] * inverse[j]
        right[i] = right[i] - dot([influence[j][i] for j in range(joints)], z)
        for k in range(i + 1):
            share = dot(half, [influence[j][k] for j in range(joints)])
            schur[triangle(i, k)] = schur[triangle(i, k)] - share
    return _Leg(lower, [z[j] * inverse[j] for j in range(joints)], influence)


def _solve_base(m: Machine, schur: Vector, right: Vector) -> Vector:
    lower, inverse = _factor(m, [[schur[triangle(i, j)] for j in range(i + 1)] for i in range(6)])
    z = _forward(lower, right)
    x = [z[i] * inverse[i] for i in range(6)]
    for i in reversed(range(6)):
        for k in range(i + 1, 6):
            x[i] = x[i] - lower[k][i] * x[k]
    return x


def _factor(m: Machine, rows: list[Vector]) -> tuple[list[Vector], Vector]:
    """L (unit diagonal) and 1/D of the L D L^T of a positive definite matrix, given its lower rows."""
    size = len(rows)
    lower: list[Vector] = [[None] * i for i in range(size)]
    scaled: list[Vector] = [[None] * i for i in range(size)]  # L D
    inverse: Vector = []
    for j in range(size):
        for i in range(j, size):
            entry: Number = rows[i][j]
            for k in range(j):
                entry = entry - (scaled[i][k] * lower[j][k])
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
    for j, row in enumerate(lower):
        entry = right[j]
        for k in range(j):
            entry = entry - row[k] * z[k]
        z.append(entry)
    return z

"""Vectors of three, rotation matrices and symmetric matrices, as lists of numbers."""

from __future__ import annotations

from collections.abc import Sequence

from legged_ppo.sim.simd.machine import Number, Vector

Matrix = list[Vector]
"""Three rows of three."""


def add(a: Vector, b: Vector) -> Vector:
    return [x + y for x, y in zip(a, b, strict=True)]


def subtract(a: Vector, b: Vector) -> Vector:
    return [x - y for x, y in zip(a, b, strict=True)]


def scale(a: Vector, factor: Number) -> Vector:
    return [x * factor for x in a]


def negative(a: Vector) -> Vector:
    return [-x for x in a]


def dot(a: Sequence[Number], b: Sequence[Number], start: Number = 0.0) -> Number:
    """start + a . b, product after product: each of them is one fused operation."""
    total = start
    for x, y in zip(a, b, strict=True):
        total = total + x * y
    return total


def less_dot(start: Number, a: Sequence[Number], b: Sequence[Number]) -> Number:
    """start - a . b, likewise."""
    total = start
    for x, y in zip(a, b, strict=True):
        total = total - x * y
    return total


def cross(a: Vector, b: Vector, start: Sequence[Number] = (0.0, 0.0, 0.0)) -> Vector:
    """start + a x b, likewise."""
    return [
        start[0] + a[1] * b[2] - a[2] * b[1],
        start[1] + a[2] * b[0] - a[0] * b[2],
        start[2] + a[0] * b[1] - a[1] * b[0],
    ]


def times(matrix: Matrix, v: Vector) -> Vector:
    return [dot(row, v) for row in matrix]


def transposed(matrix: Matrix) -> Matrix:
    return [[row[i] for row in matrix] for i in range(3)]


def product(a: Matrix, b: Matrix) -> Matrix:
    columns = transposed(b)
    return [[dot(row, column) for column in columns] for row in a]


def symmetric(entries: Sequence[Number]) -> Matrix:
    """The matrix of xx, yy, zz, xy, xz, yz."""
    xx, yy, zz, xy, xz, yz = entries
    return [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]


def rotated(rotation: Matrix, inertia: Matrix) -> Matrix:
    """R I R^T of a symmetric I."""
    half = product(rotation, inertia)
    result: Matrix = [[0.0] * 3 for _ in range(3)]
    for i in range(3):
        for j in range(i, 3):
            result[i][j] = result[j][i] = dot(half[i], rotation[j])
    return result


def axis_rotation(axis: Sequence[float], sine: Number, cosine: Number) -> Matrix:
    """Rotation about a constant unit axis (Rodrigues)."""
    x, y, z = axis
    skew = [[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]]

    def entry(i: int, j: int) -> Number:
        along = axis[i] * axis[j]
        if along == 1.0:  # keeps an axis of the frame exact, and its rotation sparse
            return 1.0
        return cosine * (float(i == j) - along) + sine * skew[i][j] + along

    return [[entry(i, j) for j in range(3)] for i in range(3)]


def quaternion_matrix(q: Vector) -> Matrix:
    """Rotation matrix of a unit quaternion w, x, y, z."""
    w, x, y, z = q
    return [
        [1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - w * z), 2.0 * (x * z + w * y)],
        [2.0 * (x * y + w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - w * x)],
        [2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y)],
    ]

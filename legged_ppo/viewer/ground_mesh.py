"""The triangle mesh of a tile's ground, colored by height."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np

from legged_ppo.terrain.geoms import PlacedTile, add_ground
from legged_ppo.terrain.tile import Tile
from legged_ppo.viewer.meshes import ColoredMesh, join

_CHECKER = 0.5
"""Edge [m] of the squares that show how far a robot walks on even ground."""
_DARKER = 0.90
"""Brightness of every second square."""
_GROUND_HEIGHTS = (-0.6, -0.15, 0.0, 0.15, 0.6)
_GROUND_COLORS = (
    (0.17, 0.23, 0.36),
    (0.30, 0.39, 0.50),
    (0.50, 0.55, 0.56),
    (0.66, 0.62, 0.50),
    (0.82, 0.70, 0.48),
)
"""Red, green, blue at heights [m]; between them, interpolated: blue is below the surroundings, sand above."""


def ground_mesh(tile: Tile, size: float) -> ColoredMesh:
    """The ground of a tile of edge `size` m about the origin, colored by height, as MuJoCo has it."""
    spec = mujoco.MjSpec()
    add_ground(spec, [PlacedTile("tile", tile, (0.0, 0.0))], size, border=0.1)
    model = spec.compile()
    parts = []
    for i in range(model.ngeom):
        name, kind, position = model.geom(i).name, model.geom_type[i], model.geom_pos[i]
        if name.startswith("border:"):
            continue
        if kind == mujoco.mjtGeom.mjGEOM_HFIELD:
            parts.append(_field(model, int(model.geom_dataid[i]), position))
        elif kind == mujoco.mjtGeom.mjGEOM_BOX:
            half = model.geom_size[i]
            parts.append(_block(position - half, position + half))
        elif tile.patch is None:  # the plane; under a height field it would flicker through
            corner = np.array([size / 2, size / 2, position[2]])
            parts.append(_checkered(-corner[:2], corner[:2], float(position[2])))
    return join(parts)


def _checkered(low: np.ndarray, high: np.ndarray, z: float) -> ColoredMesh:
    """A horizontal rectangle at height z, cut along the lines of the squares."""
    x, y = (_cuts(a, b) for a, b in zip(low, high, strict=True))
    x0, y0 = (grid.ravel() for grid in np.meshgrid(x[:-1], y[:-1], indexing="ij"))
    x1, y1 = (grid.ravel() for grid in np.meshgrid(x[1:], y[1:], indexing="ij"))
    zs = np.full_like(x0, z)
    corners = np.stack(
        [np.stack(c, 1) for c in ((x0, y0, zs), (x1, y0, zs), (x1, y1, zs), (x0, y1, zs))], 1
    )
    return _quads(corners, np.array([0.0, 0.0, 1.0]))


def _cuts(low: float, high: float) -> np.ndarray:
    inside = np.arange(np.floor(low / _CHECKER) + 1, np.ceil(high / _CHECKER)) * _CHECKER
    return np.concatenate([[low], inside[(inside > low + 1e-6) & (inside < high - 1e-6)], [high]])


def _block(low: np.ndarray, high: np.ndarray) -> ColoredMesh:
    """The top and the sides of a box."""
    (x0, y0, z0), (x1, y1, z1) = low, high
    sides = (
        ([(x0, y0), (x1, y0)], (0.0, -1.0, 0.0)),
        ([(x1, y0), (x1, y1)], (1.0, 0.0, 0.0)),
        ([(x1, y1), (x0, y1)], (0.0, 1.0, 0.0)),
        ([(x0, y1), (x0, y0)], (-1.0, 0.0, 0.0)),
    )
    parts = [_checkered(low[:2], high[:2], float(z1))]
    for (a, b), normal in sides:
        corners = np.array([[(*a, z0), (*b, z0), (*b, z1), (*a, z1)]])
        parts.append(_quads(corners, np.array(normal)))
    return join(parts)


def _quads(corners: np.ndarray, normal: np.ndarray) -> ColoredMesh:
    """Rectangles [Q, 4, 3] of one normal."""
    vertices = corners.reshape(-1, 3)
    first = 4 * np.arange(len(corners))[:, None]
    faces = np.concatenate([first + np.array([0, 1, 2]), first + np.array([0, 2, 3])])
    middle = np.repeat(corners.mean(1), 4, axis=0)
    colors = _ground_color(vertices[:, 2], middle)
    return ColoredMesh(vertices, faces, np.tile(normal, (len(vertices), 1)), colors)


def _field(model: Any, field: int, position: np.ndarray) -> ColoredMesh:
    rows, columns = int(model.hfield_nrow[field]), int(model.hfield_ncol[field])
    start = model.hfield_adr[field]
    half_x, half_y, peak, _ = model.hfield_size[field]
    z = position[2] + peak * model.hfield_data[start : start + rows * columns].reshape(
        rows, columns
    )
    y, x = np.meshgrid(
        np.linspace(-half_y, half_y, rows), np.linspace(-half_x, half_x, columns), indexing="ij"
    )
    vertices = np.stack([x, y, z], axis=-1).reshape(-1, 3).astype(np.float64)
    slope_y, slope_x = np.gradient(z, y[:, 0], x[0])
    normals = np.stack([-slope_x, -slope_y, np.ones_like(z)], axis=-1).reshape(-1, 3)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()[:, None]
    triangles = np.array([[0, 1, columns + 1], [0, columns + 1, columns]])  # seen from above
    faces = np.concatenate([corner + each for each in triangles])
    return ColoredMesh(vertices, faces, normals, _ground_color(vertices[:, 2], vertices))


def _ground_color(z: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Colors [V, 3] of ground at heights z [V], checkered by its place `where` [V, 2 or more]."""
    table = np.array(_GROUND_COLORS)
    colors = np.stack([np.interp(z, _GROUND_HEIGHTS, table[:, i]) for i in range(3)], axis=1)
    odd = np.floor(where[:, :2] / _CHECKER + 1e-6).sum(1) % 2 == 1
    return np.where(odd[:, None], _DARKER, 1.0) * colors

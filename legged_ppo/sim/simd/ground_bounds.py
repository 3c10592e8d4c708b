"""Cells of the ground, and for each a plane that no ground within reach rises above.

The plane follows slopes and stairs, so that a leg beside rising ground is known to be clear of it without a
look at boxes or triangles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from legged_ppo.sim.simd.ground_geoms import Column, Field

CELL = 0.25
"""m"""
_FINE = 5
"""Squares along the edge of a cell in which the highest ground is taken."""
_SQUARE = CELL / _FINE
_STEEPEST = 0.7
"""Slope of a plane; steeper ground is bounded by a flatter one."""


@dataclass
class Cells:
    """The grid of cells."""

    nx: int
    ny: int
    x: float
    y: float
    owner: np.ndarray
    """[nx], column of the terrain"""

    def span(self, low: np.ndarray, high: np.ndarray) -> tuple[slice, slice]:
        """Cells that touch a rectangle."""
        first = np.floor((low - [self.x, self.y]) / CELL).astype(int)
        last = np.floor((high - [self.x, self.y]) / CELL).astype(int) + 1
        shape = [self.nx, self.ny]
        # What lies beyond the cells belongs to the outermost ones.
        first, last = np.clip(first, 0, np.array(shape) - 1), np.clip(last, 1, shape)
        return slice(first[0], last[0]), slice(first[1], last[1])


def bounding_planes(columns: list[Column], cells: Cells, reach: float) -> np.ndarray:
    """[nx, ny, 4], height at the cell's middle, slopes along x and y, 0; valid within `reach` of the cell."""
    around = int(np.ceil(reach / _SQUARE))
    highest = np.pad(_squares(columns, cells), around, mode="edge")
    width = _FINE + 2 * around
    offsets = (np.arange(width) - (width - 1) / 2) * _SQUARE
    slopes = np.stack([_slope(highest, offsets, axis, cells) for axis in range(2)], axis=-1)
    slopes = np.clip(slopes, -_STEEPEST, _STEEPEST)
    # The outermost cells hold for all that lies beyond.
    slopes[:2], slopes[-2:], slopes[:, :2], slopes[:, -2:] = 0.0, 0.0, 0.0, 0.0
    top = np.full((cells.nx, cells.ny), -np.inf)
    for i, x in enumerate(offsets):
        for j, y in enumerate(offsets):
            rest = _window(highest, i, j, cells) - slopes[..., 0] * x - slopes[..., 1] * y
            top = np.maximum(top, rest)
    top += np.abs(slopes).sum(-1) * _SQUARE / 2  # a square's height holds for all of it
    return np.concatenate([top[..., None], slopes, 0 * top[..., None]], axis=-1)


def _window(squares: np.ndarray, i: int, j: int, cells: Cells) -> np.ndarray:
    """[nx, ny], the (i, j)-th of the squares around each cell."""
    return squares[i::_FINE, j::_FINE][: cells.nx, : cells.ny]


def _slope(squares: np.ndarray, offsets: np.ndarray, axis: int, cells: Cells) -> np.ndarray:
    """[nx, ny], least squares along an axis."""
    total = np.zeros((cells.nx, cells.ny))
    for i, x in enumerate(offsets):
        for j, y in enumerate(offsets):
            total += (x, y)[axis] * _window(squares, i, j, cells)
    return total / (len(offsets) * np.square(offsets).sum())


def _squares(columns: list[Column], cells: Cells) -> np.ndarray:
    """[nx * _FINE, ny * _FINE], highest ground in each square, of the cell's own column."""
    owner = np.repeat(cells.owner, _FINE)
    shape = (cells.nx * _FINE, cells.ny * _FINE)
    highest = np.repeat([columns[i].plane for i in owner], shape[1]).reshape(shape)
    for index, column in enumerate(columns):
        mine = np.flatnonzero(owner == index)
        part = highest[mine[0] : mine[-1] + 1]
        corner = np.array([cells.x + mine[0] * _SQUARE, cells.y])
        for box in column.boxes:
            span = _span(box[:2] - box[3:5] - corner, box[:2] + box[3:5] - corner, part)
            np.maximum(part[span], box[2] + box[5], out=part[span])
        for field in column.fields:
            span = _span(field.low - corner, field.high - corner, part)
            for_x, for_y = (
                _vertices(corner[axis] - field.low[axis], span[axis], field, axis)
                for axis in range(2)
            )
            tops = field.heights.T[for_x].max(1)[:, for_y].max(2)
            np.maximum(part[span], tops, out=part[span])
    return highest


def _span(low: np.ndarray, high: np.ndarray, part: np.ndarray) -> tuple[slice, slice]:
    """Squares that touch a rectangle."""
    slack = 1e-6
    first = np.clip(np.floor(low / _SQUARE - slack).astype(int), 0, part.shape)
    last = np.clip(np.ceil(high / _SQUARE + slack).astype(int), 0, part.shape)
    return slice(first[0], last[0]), slice(first[1], last[1])


def _vertices(origin: float, squares: slice, field: Field, axis: int) -> np.ndarray:
    """[squares, n], the vertices along an axis that each square lies between, some of them twice.

    Args:
        origin: m, from the field's low corner to square 0.
    """
    starts = origin + np.arange(squares.start, squares.stop) * _SQUARE
    first = np.floor(starts / field.spacing + 1e-6).astype(int)
    last = np.ceil((starts + _SQUARE) / field.spacing - 1e-6).astype(int)
    steps = np.arange((last - first).max() + 1)
    among = np.minimum(first[:, None] + steps, last[:, None])
    return np.clip(among, 0, field.heights.shape[1 - axis] - 1)

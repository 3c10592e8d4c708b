"""The ground as planes over square cells, with levels of coarser cells above it, for rays to march through.

Cells do not join at their edges, so vertical faces stay vertical. Walls lie on the edges of the finest cells, up
to half a cell from where the geoms have them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from legged_ppo.terrain.grid import Terrain
from legged_ppo.terrain.tile import Tile

CELL = 0.025
"""Edge [m] of the finest cells, about: a tile is a whole number of coarsest ones along its edge."""
_MOST_CELLS = 1024
"""Cells along an edge of a tile; a larger tile has larger cells, so that its memory stays within 18 MB."""
STRIDE = 4
"""Cells of a level along an edge of a cell of the level above it."""
LEVELS = 3
_COARSEST = STRIDE ** (LEVELS - 1)


@dataclass(frozen=True)
class Surface:
    """The planes of all tiles; lengths are in finest cells horizontally and in m vertically."""

    planes: np.ndarray
    """[tiles, cells of all levels, 4] float32: a, b, c, 0 of a plane z = a + b x + c y, with x and y from the
    tile's corner. Levels follow each other from the finest on, each of n x n cells, index (x, y). The finest
    planes are the ground; those of the other levels lie nowhere below it."""
    cells: int
    """Finest cells along an edge of a tile."""
    cell_size: float
    """m"""


def build_surface(terrain: Terrain) -> Surface:
    """The surface of every tile, in the order of columns and levels."""
    size = terrain.config.tile_size
    cells = max(1, round(size / (max(CELL, size / _MOST_CELLS) * _COARSEST))) * _COARSEST
    tiles = [tile for column in terrain.tiles for tile in column]
    planes = np.stack([_pyramid(_ground(tile, size, cells)) for tile in tiles])
    return Surface(planes, cells, size / cells)


def _ground(tile: Tile, size: float, cells: int) -> np.ndarray:
    """The finest planes of a tile, [cells, cells, 3]: height in the middle, slopes along x and y per cell."""
    planes = np.zeros((cells, cells, 3), dtype=np.float32)
    if tile.patch is not None:
        planes[:] = _fitted(_corners(tile.patch, cells))
    elif tile.sunken:
        planes[..., 0] = tile.floor
    middles = (np.arange(cells) + 0.5) * (size / cells) - size / 2
    for box in tile.boxes:
        x0, x1 = np.searchsorted(middles, [box.low[0], box.high[0]])
        y0, y1 = np.searchsorted(middles, [box.low[1], box.high[1]])
        window = planes[x0:x1, y0:y1]
        window[window[..., 0] < box.high[2]] = (box.high[2], 0.0, 0.0)
    return planes


def _corners(patch: np.ndarray, cells: int) -> np.ndarray:
    """Heights [cells + 1, cells + 1] of a height field, on the two triangles that MuJoCo makes of its cells."""
    position = np.linspace(0.0, len(patch) - 1.0, cells + 1)
    cell = np.minimum(position.astype(np.int64), len(patch) - 2)
    fraction = position - cell
    i, j = np.meshgrid(cell, cell, indexing="ij")
    fx, fy = np.meshgrid(fraction, fraction, indexing="ij")
    low, high = patch[i, j], patch[i + 1, j + 1]
    # The diagonal goes from the low corner to the high one.
    middle = np.where(fx > fy, patch[i + 1, j], patch[i, j + 1])
    larger, smaller = np.maximum(fx, fy), np.minimum(fx, fy)
    heights: np.ndarray = low + larger * (middle - low) + smaller * (high - middle)
    return heights


def _fitted(corners: np.ndarray) -> np.ndarray:
    """Planes [n, n, 3] of least squares through the four corners of each cell."""
    z00, z01, z10, z11 = (
        corners[:-1, :-1],
        corners[:-1, 1:],
        corners[1:, :-1],
        corners[1:, 1:],
    )
    middle = (z00 + z01 + z10 + z11) / 4
    return np.stack([middle, (z10 + z11 - z00 - z01) / 2, (z01 + z11 - z00 - z10) / 2], axis=-1)


def _pyramid(ground: np.ndarray) -> np.ndarray:
    """All levels over the finest planes, [cells of all levels, 4]."""
    levels = [ground, *(_bounds(ground, STRIDE**level) for level in range(1, LEVELS))]
    return np.concatenate([_equations(planes, len(ground)) for planes in levels])


def _bounds(ground: np.ndarray, size: int) -> np.ndarray:
    """Planes over blocks of size x size cells that lie nowhere below them: level, or fitted where that lies
    lower in the middle."""
    n = len(ground) // size
    blocks = ground.reshape(n, size, n, size, 3).transpose(0, 2, 1, 3, 4)
    middle, along_x, along_y = np.moveaxis(blocks, -1, 0)  # [n, n, size, size] each
    offset = (np.arange(size) - (size - 1) / 2).astype(np.float32)
    weight = offset / (size * (offset**2).sum())  # of least squares
    slope_x = (middle * weight[:, None]).sum((2, 3))[..., None, None]
    slope_y = (middle * weight).sum((2, 3))[..., None, None]
    candidates = []
    for bx, by in ((np.zeros_like(slope_x), np.zeros_like(slope_y)), (slope_x, slope_y)):
        rest = middle - bx * offset[:, None] - by * offset
        highest = (rest + 0.5 * (abs(along_x - bx) + abs(along_y - by))).max((2, 3))
        candidates.append(np.stack([highest, bx[..., 0, 0], by[..., 0, 0]], axis=-1))
    flat, fitted = candidates
    bounds: np.ndarray = np.where(flat[..., :1] <= fitted[..., :1], flat, fitted)
    return bounds


def _equations(planes: np.ndarray, cells: int) -> np.ndarray:
    """[n * n, 4] float32, a, b, c, 0, of planes [n, n, 3] that have their heights in the middle of the cells."""
    n = len(planes)
    middle = (np.arange(n) + 0.5) * (cells / n)
    at_origin = planes[..., 0] - planes[..., 1] * middle[:, None] - planes[..., 2] * middle
    table = np.zeros((n, n, 4), dtype=np.float32)
    table[..., 0], table[..., 1:3] = at_origin, planes[..., 1:]
    return table.reshape(-1, 4)

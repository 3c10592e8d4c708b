"""A tile: boxes or a height field, and the rasterised heights of both."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

RIM = 0.5
"""Width [m] of the flat rim at height 0 along the edges of every tile. Robots that cross an edge re-enter
at the opposite one, so the heights on both sides must match under all feet."""

_THINNEST = 1e-6
"""Thickness [m] below which a box counts as empty; MuJoCo rejects boxes of thickness 0."""


@dataclass(frozen=True)
class Box:
    """A solid box in the tile's frame (origin in its middle, z = 0 at its edges)."""

    low: tuple[float, float, float]
    """Smallest x, y, z [m]."""
    high: tuple[float, float, float]
    """Largest x, y, z [m]."""

    @property
    def empty(self) -> bool:
        """Whether the thickness along some axis is 0, as for a step of height 0."""
        return any(b - a < _THINNEST for a, b in zip(self.low, self.high, strict=True))


@dataclass(frozen=True)
class Tile:
    """The ground of one tile: the heights of its boxes and height field, and 0 elsewhere."""

    boxes: list[Box] = field(default_factory=list)
    patch: np.ndarray | None = None
    """[n, n] m, index (x, y): heights of a height field over the whole tile."""
    sunken: bool = False
    """Parts lie below 0, so boxes or the height field make up all of the ground, down to `floor`."""
    holes: bool = False
    """What lies below 0 is not to be stepped on: gaps."""
    spawn_radius: float = 0.5
    """Robots start within this distance [m] of the middle, along each axis."""
    feature: str = ""
    """Formatted size of the feature that sets the difficulty: "6 cm", "12 deg"; empty on the plane."""

    @property
    def floor(self) -> float:
        """Height [m] of the lowest point."""
        lowest = min((box.low[2] for box in self.boxes), default=0.0)
        return min(lowest, 0.0 if self.patch is None else float(self.patch.min()))


def lerp(bounds: tuple[float, float], difficulty: float) -> float:
    """The value at a difficulty in [0, 1] between those at 0 and 1."""
    return bounds[0] + (bounds[1] - bounds[0]) * difficulty


def centimetres(length: float) -> str:
    """A length [m] formatted in cm."""
    return f"{100 * length:.3g} cm"


def rasterize(tile: Tile, size: float, points: int) -> np.ndarray:
    """Heights [points, points] m, index (x, y), of a tile with edge `size` m from edge to edge.

    A point on the border of two boxes has the height of the higher one.
    """
    axis = np.linspace(-size / 2, size / 2, points)
    if tile.patch is not None:
        heights = resample(tile.patch, points)
    else:
        heights = np.full((points, points), tile.floor if tile.sunken else 0.0)
    slack = 1e-9
    for box in tile.boxes:
        x0, x1 = np.searchsorted(axis, [box.low[0] - slack, box.high[0] + slack])
        y0, y1 = np.searchsorted(axis, [box.low[1] - slack, box.high[1] + slack])
        window = heights[x0:x1, y0:y1]
        np.maximum(window, box.high[2], out=window)
    return heights


def resample(patch: np.ndarray, points: int) -> np.ndarray:
    """Bilinear interpolation of [n, n] heights to [points, points] over the same square."""
    position = np.linspace(0.0, len(patch) - 1.0, points)
    cell = np.minimum(position.astype(np.int64), len(patch) - 2)
    fraction = position - cell
    rows = patch[cell] + (patch[cell + 1] - patch[cell]) * fraction[:, None]
    return rows[:, cell] + (rows[:, cell + 1] - rows[:, cell]) * fraction

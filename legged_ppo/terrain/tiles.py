"""Tile generators: one small class per terrain type, difficulty in [0, 1] to a patch of heights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from legged_ppo.config.schema import TerrainConfig


class TileType(Protocol):
    """Makes the ground of one tile."""

    def heights(self, difficulty: float, rng: np.random.Generator) -> np.ndarray | None:
        """Heights [m] above the plane z = 0 at the tile's grid points, [n, n] with index (x, y),
        zero along the edges; None where the plane itself is the ground."""
        ...


@dataclass(frozen=True)
class FlatTile:
    """The plane."""

    def heights(self, difficulty: float, rng: np.random.Generator) -> np.ndarray | None:
        return None


@dataclass(frozen=True)
class RoughTile:
    """Uniformly random heights every two cells, interpolated; legged_gym's random uniform terrain."""

    points: int
    """Grid points along an edge."""
    amplitude: tuple[float, float]
    """Peak-to-peak height [m] at difficulty 0 and 1."""

    def heights(self, difficulty: float, rng: np.random.Generator) -> np.ndarray | None:
        low, high = self.amplitude
        peak = low + (high - low) * difficulty
        coarse = rng.uniform(0.0, peak, size=(self.points // 2 + 2,) * 2)
        fine = _upsample(coarse)[: self.points, : self.points]
        return fine * _edge_fade(self.points)


def _upsample(coarse: np.ndarray) -> np.ndarray:
    """Bilinear interpolation to twice the resolution."""
    for axis in (0, 1):
        moved = np.moveaxis(coarse, axis, 0)
        fine = np.empty((2 * len(moved) - 1, moved.shape[1]))
        fine[::2] = moved
        fine[1::2] = 0.5 * (moved[1:] + moved[:-1])
        coarse = np.moveaxis(fine, 0, axis)
    return coarse


def _edge_fade(points: int, width: int = 4) -> np.ndarray:
    """Factor that falls to 0 over `width` points at the edges, so that tiles meet without a step."""
    distance = np.minimum(np.arange(points), np.arange(points)[::-1])
    ramp = np.clip(distance / width, 0.0, 1.0)
    return np.minimum.outer(ramp, ramp)


def make_tile_types(config: TerrainConfig) -> dict[str, TileType]:
    """Every known terrain type under the name the configuration uses."""
    points = round(config.tile_size / config.cell_size) + 1
    low, high = config.roughness
    return {"flat": FlatTile(), "rough": RoughTile(points, (low, high))}

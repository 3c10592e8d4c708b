"""Tiles with continuous heights, made of height fields: fractal and rough ground, slopes, waves."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from legged_ppo.terrain.tile import RIM, Tile, centimetres, lerp, resample


def distance_from_middle(size: float, points: int) -> np.ndarray:
    """[points, points] m, the larger of |x| and |y|."""
    axis = np.abs(np.linspace(-size / 2, size / 2, points))
    return np.maximum.outer(axis, axis)


def rim_fade(size: float, points: int, width: float = 0.4) -> np.ndarray:
    """Factor that falls from 1 to 0 over `width` m up to the rim."""
    inside = size / 2 - RIM - distance_from_middle(size, points)
    return np.clip(inside / width, 0.0, 1.0)


def random_heights(points: int, rng: np.random.Generator) -> np.ndarray:
    """Uniform heights in [0, 1] every two cells, interpolated [legged_gym: random uniform terrain]."""
    coarse = rng.random((points // 2 + 1,) * 2)
    return resample(coarse, points)


@dataclass(frozen=True)
class Flat:
    """The plane, or fractal ground of a few centimetres."""

    size: float
    points: int
    fractal_height: tuple[float, float]
    """Peak-to-peak height [m] at difficulty 0 and 1."""

    @property
    def spawn_radius(self) -> float:
        """See `TileType.spawn_radius`."""
        return self.size / 2 - RIM

    def build(self, difficulty: float, rng: np.random.Generator) -> Tile:
        """See `TileType.build`."""
        spawn, peak = self.spawn_radius, lerp(self.fractal_height, difficulty)
        if peak == 0.0:
            return Tile(spawn_radius=spawn)
        heights = fractal(self.points, rng) * rim_fade(self.size, self.points)
        heights *= peak / heights.max()  # the fade may have lowered the highest point
        return Tile(patch=heights, spawn_radius=spawn, feature=centimetres(peak))


def fractal(points: int, rng: np.random.Generator, octaves: int = 4) -> np.ndarray:
    """Sum of `octaves` random grids, each twice as fine and half as high, scaled to [0, 1]."""
    total = np.zeros((points, points))
    for octave in range(octaves):
        nodes = 4 * 2**octave + 1
        total += 0.5**octave * resample(rng.random((nodes, nodes)), points)
    total -= total.min()
    return total / total.max()


@dataclass(frozen=True)
class Rough:
    """Uniformly random heights."""

    size: float
    points: int
    roughness: tuple[float, float]
    """Peak-to-peak height [m] at difficulty 0 and 1."""

    @property
    def spawn_radius(self) -> float:
        """See `TileType.spawn_radius`."""
        return self.size / 2 - RIM

    def build(self, difficulty: float, rng: np.random.Generator) -> Tile:
        """See `TileType.build`."""
        peak = lerp(self.roughness, difficulty)
        heights = peak * random_heights(self.points, rng) * rim_fade(self.size, self.points)
        spawn, feature = self.spawn_radius, centimetres(peak)
        return Tile(patch=heights, spawn_radius=spawn, feature=feature)


@dataclass(frozen=True)
class Slope:
    """A pyramid with a flat top, or an inverted pyramid (funnel)."""

    size: float
    platform: float
    points: int
    slope: tuple[float, float]
    """Rise over run at difficulty 0 and 1."""
    ascending: bool
    """The ground rises from the middle outwards."""
    roughness: float = 0.0
    """Peak-to-peak height [m] of random heights on top."""

    @property
    def spawn_radius(self) -> float:
        """See `TileType.spawn_radius`."""
        return self.platform / 2 - 0.3

    def build(self, difficulty: float, rng: np.random.Generator) -> Tile:
        """See `TileType.build`."""
        slope = lerp(self.slope, difficulty)
        run = self.size / 2 - RIM - distance_from_middle(self.size, self.points)
        run = run.clip(0.0, self.size / 2 - RIM - self.platform / 2)
        heights = (-slope if self.ascending else slope) * run
        if self.roughness > 0.0:
            noise = random_heights(self.points, rng) - 0.5
            heights += self.roughness * noise * rim_fade(self.size, self.points)
        sunken = bool(heights.min() < 0.0)
        spawn, feature = self.spawn_radius, f"{math.degrees(math.atan(slope)):.3g} deg"
        return Tile(patch=heights, sunken=sunken, spawn_radius=spawn, feature=feature)


@dataclass(frozen=True)
class Wave:
    """Sine waves along x and y."""

    size: float
    points: int
    amplitude: tuple[float, float]
    """Height [m] from trough to crest at difficulty 0 and 1."""
    count: int = 3
    """Waves from rim to rim."""

    @property
    def spawn_radius(self) -> float:
        """See `TileType.spawn_radius`."""
        return self.size / 2 - 2 * RIM

    def build(self, difficulty: float, rng: np.random.Generator) -> Tile:
        """See `TileType.build`."""
        reach = self.size / 2 - RIM
        axis = np.linspace(-self.size / 2, self.size / 2, self.points).clip(-reach, reach)
        wave = 0.5 - 0.5 * np.cos(2 * np.pi * self.count * (axis + reach) / (2 * reach))
        height = lerp(self.amplitude, difficulty)
        heights = 0.5 * height * np.add.outer(wave, wave) * rim_fade(self.size, self.points)
        spawn, feature = self.spawn_radius, centimetres(height)
        return Tile(patch=heights, spawn_radius=spawn, feature=feature)

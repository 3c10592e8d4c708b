"""Every type of tile by itself: what its sizes mean, and that higher levels are harder."""

from __future__ import annotations

import itertools
from dataclasses import fields, replace

import mujoco
import numpy as np
import pytest

from legged_ppo.config.schema import Config, TerrainConfig
from legged_ppo.config.validation import validate
from legged_ppo.sim.warp.world_ground import WorldGround
from legged_ppo.terrain.grid import Terrain, build_terrain
from legged_ppo.terrain.tile import RIM, Tile
from legged_ppo.terrain.types import make_tile_types

ALL = list(make_tile_types(TerrainConfig()))
RANGES = [
    f.name
    for f in fields(TerrainConfig)
    if isinstance(getattr(TerrainConfig(), f.name), list) and f.name != "stone_size"
]
"""Keys of the sizes at difficulty 0 and 1, all of which may begin at 0."""


def build(name: str, levels: int, **sizes: list[float]) -> Terrain:
    config = TerrainConfig(num_levels=levels, height_map_cell=0.05)
    return build_terrain(replace(config, proportions={name: 1.0}, **sizes))  # type: ignore[arg-type]


@pytest.mark.parametrize("hardest", [0.0, 0.2])
@pytest.mark.parametrize("name", ALL)
def test_sizes_may_begin_at_0(name: str, hardest: float) -> None:
    terrain = build(name, 3, **{key: [0.0, hardest] for key in RANGES})
    validate(Config(terrain=terrain.config))
    for add_to in (terrain.add_to, WorldGround(terrain).add_to):
        spec = mujoco.MjSpec()
        add_to(spec)
        assert spec.compile().ngeom > 0
    if hardest == 0.0:
        assert abs(terrain.heights).max() <= terrain.config.slope_roughness


def runs(mask: np.ndarray) -> list[int]:
    """Lengths of the stretches of true in [n] bool."""
    edges = np.flatnonzero(np.diff(np.pad(mask, 1).astype(int)))
    return (edges[1::2] - edges[::2]).tolist()


def stone_and_opening(tile: Tile, size: float = 8.0, platform: float = 2.0) -> tuple[float, float]:
    """Edge of a whole stone and widest opening between tops [m], along x beside the platform."""
    assert tile.patch is not None
    cell = size / (len(tile.patch) - 1)
    axis = np.linspace(-size / 2, size / 2, len(tile.patch))
    beside = (axis > platform / 2 + 2 * cell) & (axis < size / 2 - RIM - 2 * cell)
    inner = np.abs(axis) < size / 2 - RIM - cell
    rows = [row for row in (tile.patch.T[beside] > -1e-9) if row[inner].any()]
    stones = [length for row in rows for length in runs(row & inner)]
    openings = [length for row in rows for length in runs(~row)]
    return (max(stones) - 1) * cell, (max(openings) + 1) * cell


def moat(tile: Tile) -> float:
    """Widest opening [m] between boxes that reach height 0, along x through the middle."""
    spans = [
        (box.low[0], box.high[0])
        for box in tile.boxes
        if box.high[2] == 0.0 and box.low[1] < 0.0 < box.high[1]
    ]
    spans.sort()
    return max(b[0] - a[1] for a, b in itertools.pairwise(spans))


def stone_gap_share(tile: Tile) -> float:
    """Share of the ground that is gap."""
    stone, opening = stone_and_opening(tile)
    return 1.0 - (stone / (stone + opening)) ** 2


def difficulty_of(name: str, tile: Tile, heights: np.ndarray) -> float:
    """What makes this type difficult, of what was built: m, or a share of the ground."""
    middle = len(heights) // 2
    if name in ("slope_up", "slope_down", "rough_slope"):
        return abs(float(heights[middle - 15 : middle + 16, middle - 15 : middle + 16].mean()))
    if name in ("stairs_up", "stairs_down"):
        return float(np.abs(np.diff(heights[:, middle])).max())
    if name == "stepping_stones":
        return stone_gap_share(tile)
    if name == "gaps":
        return moat(tile)
    return float(np.ptp(heights))  # heights of waves, roughness, obstacles; the depth of a pit


@pytest.mark.parametrize("levels", [10, 20])
@pytest.mark.parametrize("name", ALL)
def test_every_level_is_harder_than_the_one_before(name: str, levels: int) -> None:
    terrain = build(name, levels, fractal_height=[0.02, 0.04])
    values = [
        difficulty_of(name, tile, heights)
        for tile, heights in zip(terrain.tiles[0], terrain.heights[0], strict=True)
    ]
    assert (np.diff(values) > 0.0).all(), values


@pytest.mark.parametrize("levels", [10, 20])
@pytest.mark.parametrize("gap", [[0.1, 0.3], [0.05, 0.1], [0.25, 0.45]])
def test_stones_and_the_openings_between_them_are_as_configured(
    gap: list[float], levels: int
) -> None:
    terrain = build("stepping_stones", levels, stone_gap=gap)
    for level, tile in enumerate(terrain.tiles[0]):
        difficulty = level / (levels - 1)
        stone, opening = stone_and_opening(tile)
        assert opening == pytest.approx(gap[0] + (gap[1] - gap[0]) * difficulty, abs=0.005)
        assert stone == pytest.approx(0.9 - 0.6 * difficulty, abs=0.005)
        assert tile.feature == f"{100 * opening:.3g} cm"


@pytest.mark.parametrize("levels", [10, 20])
def test_fractal_ground_is_as_high_as_configured(levels: int) -> None:
    heights = build("flat", levels, fractal_height=[0.02, 0.04]).heights[0]
    assert np.ptp(heights, axis=(1, 2)) == pytest.approx(np.linspace(0.02, 0.04, levels), abs=1e-5)

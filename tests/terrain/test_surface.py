"""The ground as planes: walls where the boxes are, coarse planes nowhere below the finest ones."""

from __future__ import annotations

import numpy as np
import pytest

from legged_ppo.config.schema import TerrainConfig
from legged_ppo.terrain.grid import Terrain, build_terrain
from legged_ppo.terrain.surface import CELL, LEVELS, STRIDE, Surface, build_surface
from legged_ppo.terrain.types import make_tile_types


@pytest.fixture(scope="module")
def terrain() -> Terrain:
    names = list(make_tile_types(TerrainConfig()))
    return build_terrain(
        TerrainConfig(
            proportions=dict.fromkeys(names, 1.0),
            num_levels=2,
            fractal_height=[0.0, 0.05],
            gap_width=[0.2, 0.5],  # wide enough for the height map
        )
    )


@pytest.fixture(scope="module")
def surface(terrain: Terrain) -> Surface:
    return build_surface(terrain)


def level_of(surface: Surface, level: int) -> np.ndarray:
    """[tiles, n, n, 3] float64"""
    counts = [(surface.cells // STRIDE**i) ** 2 for i in range(LEVELS)]
    start = sum(counts[:level])
    planes = surface.planes[:, start : start + counts[level], :3].astype(np.float64)
    n = surface.cells // STRIDE**level
    return planes.reshape(-1, n, n, 3)


def corner_heights(surface: Surface, planes: np.ndarray) -> np.ndarray:
    """[tiles, cells, cells, 4] m, of the finest cells' corners on planes [tiles, cells, cells, 3]."""
    index = np.arange(surface.cells)
    found = []
    for i in (0, 1):
        for j in (0, 1):
            x, y = (index + i)[:, None], index + j
            found.append(planes[..., 0] + planes[..., 1] * x + planes[..., 2] * y)
    return np.stack(found, axis=-1)


def test_all_levels_are_there(surface: Surface) -> None:
    assert surface.cells * surface.cell_size == pytest.approx(8.0)
    assert surface.cell_size == pytest.approx(CELL)
    counts = [(surface.cells // STRIDE**i) ** 2 for i in range(LEVELS)]
    assert surface.planes.shape == (26, sum(counts), 4)
    assert (surface.planes[..., 3] == 0).all()


@pytest.mark.parametrize("level", range(1, LEVELS))
def test_coarse_planes_bound_the_ground(surface: Surface, level: int) -> None:
    size = STRIDE**level
    ground = corner_heights(surface, level_of(surface, 0))
    coarse = level_of(surface, level).repeat(size, axis=1).repeat(size, axis=2)
    gap = corner_heights(surface, coarse) - ground
    assert gap.min() > -1e-4
    assert np.median(gap) < 0.05, "and they lie close to it"


def test_the_finest_planes_are_the_height_map_away_from_walls(
    terrain: Terrain, surface: Surface
) -> None:
    ground = level_of(surface, 0)
    middle = np.arange(surface.cells) + 0.5
    found = ground[..., 0] + ground[..., 1] * middle[:, None] + ground[..., 2] * middle
    every = round(terrain.config.height_map_cell / surface.cell_size)
    heights = terrain.heights.reshape(-1, *terrain.heights.shape[2:])
    for name, tile, plane in zip(np.repeat(terrain.types, 2), heights, found, strict=True):
        blocks = plane.reshape(len(tile) - 1, every, len(tile) - 1, every).mean((1, 3))
        corners = np.stack([tile[:-1, :-1], tile[:-1, 1:], tile[1:, :-1], tile[1:, 1:]])
        smooth = np.ptp(corners, axis=0) < 0.05
        assert smooth.mean() > 0.3, name
        error = np.abs(blocks - corners.mean(0))[smooth]
        assert (error > 0.02).mean() < 0.02 and np.median(error) < 1e-3, name


def test_a_wall_is_vertical_and_within_half_a_cell_of_the_boxes() -> None:
    config = TerrainConfig(proportions={"gaps": 1.0}, gap_width=[0.31, 0.31], gap_depth=0.6)
    surface = build_surface(build_terrain(config))
    line = level_of(surface, 0)[0, :, surface.cells // 2, 0]
    assert set(line.round(6)) == {0.0, -0.6}
    width = (line < -0.3).sum() * surface.cell_size / 4  # two moats on both sides
    assert width == pytest.approx(0.31, abs=surface.cell_size)


def test_large_tiles_have_larger_cells() -> None:
    config = TerrainConfig(proportions={"flat": 1.0}, tile_size=100.0)
    surface = build_surface(build_terrain(config))
    assert surface.cells == 1024
    assert surface.cells * surface.cell_size == pytest.approx(100.0)

"""Every type of tile by itself: what its sizes mean, and that higher levels are harder."""

from __future__ import annotations

from dataclasses import fields, replace

import mujoco
import numpy as np
import pytest

from legged_ppo.config.schema import Config, TerrainConfig
from legged_ppo.config.validation import validate
from legged_ppo.terrain.grid import Terrain, build_terrain
from legged_ppo.terrain.slots import TileSlots
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
    for add_to in (terrain.add_to, TileSlots(terrain).add_to):
        spec = mujoco.MjSpec()
        add_to(spec)
        assert spec.compile().ngeom > 0
    if hardest == 0.0 and name != "stepping_stones":
        assert abs(terrain.heights).max() <= terrain.config.slope_roughness


@pytest.mark.parametrize("levels", [10, 20])
def test_fractal_ground_is_as_high_as_configured(levels: int) -> None:
    heights = build("flat", levels, fractal_height=[0.02, 0.04]).heights[0]
    assert np.ptp(heights, axis=(1, 2)) == pytest.approx(np.linspace(0.02, 0.04, levels), abs=1e-5)

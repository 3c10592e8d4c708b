"""Terrain types of a recipe's extensions: parameters, seeds, checks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from legged_ppo.config.schema import TerrainConfig
from legged_ppo.errors import ConfigError
from legged_ppo.terrain.checks import check_curriculum
from legged_ppo.terrain.grid import Terrain, build_terrain
from legged_ppo.terrain.tile import Box, Tile


@dataclass
class Posts:
    """A random post beside the start, `height` m tall at difficulty 1."""

    config: TerrainConfig
    height: float = 0.1
    edge: float = 0.0
    spawn_radius: float = 0.5

    def build(self, difficulty: float, rng: np.random.Generator) -> Tile:
        x, top = rng.uniform(1.0, 2.0), self.height * difficulty + self.edge
        far = self.config.tile_size / 2 if self.edge else x + 0.3
        return Tile([Box((x, -0.5, 0.0), (far, 0.5, top))])


EXTRA = {"posts": Posts}
CONFIG = TerrainConfig(
    proportions={"posts": 0.5, "rough": 0.5}, num_levels=3, parameters={"posts": {"height": 0.2}}
)


def built(config: TerrainConfig, extra: dict[str, Any] = EXTRA) -> Terrain:
    return build_terrain(config, extra)


def test_an_extension_type_is_built_with_its_parameters() -> None:
    heights = built(CONFIG).heights
    assert heights[0, 2].max() == pytest.approx(0.2) and heights[0, 1].max() == pytest.approx(0.1)
    assert built(replace(CONFIG, parameters={})).heights[0, 2].max() == pytest.approx(0.1)


def test_tiles_are_the_same_whatever_other_types_there_are() -> None:
    terrain = built(CONFIG)
    alone = built(replace(CONFIG, proportions={"posts": 1.0}), {"other": Posts, **EXTRA})
    assert np.array_equal(terrain.heights[0], alone.heights[0])
    stock = build_terrain(replace(CONFIG, proportions={"rough": 1.0}))
    assert np.array_equal(terrain.heights[1], stock.heights[0])


def test_the_curriculum_accepts_a_grid_of_extension_types() -> None:
    config = replace(CONFIG, proportions={"posts": 1.0})
    config.curriculum = replace(config.curriculum, rule="progress")
    check_curriculum(config, EXTRA)


@pytest.mark.parametrize(
    ("config", "extra", "line"),
    [
        (replace(CONFIG, proportions={"post": 1.0}), EXTRA, "terrain.proportions.*mean 'posts'"),
        (replace(CONFIG, parameters={"posts": {"hight": 1}}), EXTRA, "posts: .*'hight'"),
        (replace(CONFIG, parameters={"posts": 3}), EXTRA, "terrain.parameters.posts: got 3"),
        (CONFIG, {"posts": Posts, "rough": Posts}, r"\(TERRAINS\): got 'rough'"),
        (CONFIG, {"posts": lambda config, height: 1}, "got 'int', expected an object with spawn"),
        (replace(CONFIG, parameters={"posts": {"edge": 0.1}}), EXTRA, r"got '0.[23] m'.* flat"),
    ],
)
def test_mistakes_are_reported_in_one_line(
    config: TerrainConfig, extra: dict[str, Any], line: str
) -> None:
    with pytest.raises(ConfigError, match=line):
        built(config, extra)

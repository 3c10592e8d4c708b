"""The ground: its tiles, its height map, and the geoms that the engines collide with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

import mujoco
import numpy as np
import pytest
import torch

from legged_ppo.config.errors import ConfigError
from legged_ppo.config.schema import RobotConfig, SimConfig, TerrainConfig
from legged_ppo.robots.spec import load_robot
from legged_ppo.sim.model import build_model
from legged_ppo.terrain.grid import HeightMap, build_terrain

MIXED = TerrainConfig(
    proportions={"flat": 0.5, "rough": 0.5},
    num_levels=3,
    tile_size=6.0,
    border=2.0,
    roughness=[0.02, 0.08],
)


def fingerprint(config: TerrainConfig) -> str:
    return hashlib.sha256(build_terrain(config).height_map.tobytes()).hexdigest()


def test_the_seed_alone_decides_the_ground() -> None:
    assert fingerprint(MIXED) == fingerprint(replace(MIXED))
    assert fingerprint(MIXED) != fingerprint(replace(MIXED, seed=2))


def test_levels_of_rough_ground_grow_and_differ() -> None:
    terrain = build_terrain(MIXED)
    tiles = [terrain.patches[1, level] for level in range(3)]
    peaks = [tile.max() for tile in tiles]
    assert peaks == sorted(peaks)
    for tile, limit in zip(tiles, (0.02, 0.05, 0.08), strict=True):
        assert 0.9 * limit < tile.max() <= limit and tile.min() >= 0.0
    scaled = [tile / tile.max() for tile in tiles]
    assert not np.allclose(scaled[0], scaled[1], atol=0.1), "levels are drawn apart"


def test_tiles_meet_the_plane_at_their_edges() -> None:
    terrain = build_terrain(MIXED)
    for patch in terrain.patches.values():
        for edge in (patch[0], patch[-1], patch[:, 0], patch[:, -1]):
            np.testing.assert_array_equal(edge, 0.0)
        assert abs(np.diff(patch, axis=0)).max() < 0.06, "no wall inside a tile"


def test_robots_are_shared_out_by_largest_remainder_and_over_the_levels() -> None:
    config = replace(MIXED, proportions={"flat": 0.5, "rough": 1.6}, num_levels=4)
    types, levels = build_terrain(config).assign(10)  # exact shares: 2.38 and 7.62
    assert np.bincount(types).tolist() == [2, 8]
    assert np.bincount(levels[types == 1], minlength=4).tolist() == [2, 2, 2, 2]
    assert levels[types == 0].tolist() == [0, 1]
    for num_envs in (1, 2, 3, 17):
        assert len(build_terrain(config).assign(num_envs)[0]) == num_envs


def test_a_type_of_share_zero_gets_no_column() -> None:
    terrain = build_terrain(replace(MIXED, proportions={"flat": 0.0, "rough": 1.0}))
    assert terrain.types == ["rough"] and terrain.origins.shape == (1, 3, 3)


def test_the_height_map_is_the_ground_that_rays_hit(
    robot_config: Callable[[str], RobotConfig],
) -> None:
    terrain = build_terrain(MIXED)
    model = build_model(load_robot(robot_config("go2")), terrain, SimConfig())
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    ground_only = np.array([1, 0, 0, 0, 0, 0], dtype=np.uint8)
    rng, hit = np.random.default_rng(0), np.zeros(1, dtype=np.int32)
    heights = HeightMap(terrain, torch.device("cpu"))
    for column, tolerance in ((0, 1e-6), (1, 0.01)):
        origin = np.array([column * MIXED.tile_size, 0.0])
        xy = origin + rng.uniform(0.0, [6.0, 18.0], size=(1000, 2))
        rays = [
            mujoco.mj_ray(model, data, [*p, 2.0], [0.0, 0.0, -1.0], ground_only, 1, -1, hit)
            for p in xy
        ]
        error = np.abs(heights(torch.tensor(xy).float()).numpy() - (2.0 - np.array(rays)))
        assert np.mean(error < tolerance) >= 0.995
        assert error.max() < 0.03


def test_origins_lie_on_the_ground_in_the_middle_of_their_tiles() -> None:
    terrain = build_terrain(MIXED)
    origins = torch.tensor(terrain.origins).float()
    torch.testing.assert_close(
        HeightMap(terrain, torch.device("cpu"))(origins[..., :2]), origins[..., 2]
    )
    np.testing.assert_allclose(terrain.origins[1, 2, :2], [9.0, 15.0])


def test_queries_are_bilinear_inside_the_map_and_zero_outside() -> None:
    terrain = build_terrain(MIXED)
    heights = HeightMap(terrain, torch.device("cpu"))
    patch = terrain.patches[1, 2]
    corner = torch.tensor([6.0, 12.0])
    i, j = 20, 31
    at = lambda fx, fy: float(heights(corner + 0.1 * torch.tensor([i + fx, j + fy])))  # noqa: E731
    assert at(0, 0) == pytest.approx(patch[i, j], abs=1e-5)
    assert at(1, 0) == pytest.approx(patch[i + 1, j], abs=1e-5)
    assert at(0.25, 0) == pytest.approx(0.75 * patch[i, j] + 0.25 * patch[i + 1, j], abs=1e-5)
    assert at(0.5, 0.5) == pytest.approx(patch[i : i + 2, j : j + 2].mean(), abs=1e-5)
    far = torch.tensor([[-100.0, 5.0], [5.0, 1e6], [-2.5, -2.5], [12.0 + 2.1, 9.0]])
    assert torch.equal(heights(far), torch.zeros(4))
    without_border = HeightMap(build_terrain(replace(MIXED, border=0.0)), torch.device("cpu"))
    assert torch.equal(without_border(far), torch.zeros(4))


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"proportions": {"flat": 1.0, "ruogh": 1.0}}, "terrain.proportions"),
        ({"proportions": {"flat": 0.0, "rough": 0.0}}, "terrain.proportions"),
        ({"proportions": {"flat": 1.0, "rough": -0.5}}, "terrain.proportions"),
        ({"tile_size": 6.05}, "terrain.tile_size"),
    ],
)
def test_ground_that_cannot_be_built_is_refused(change: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_terrain(replace(MIXED, **change))  # type: ignore[arg-type]
    assert caught.value.key == key
    if "ruogh" in str(caught.value):
        assert "did you mean 'rough'" in str(caught.value)

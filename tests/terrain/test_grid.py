"""The ground: its tiles, its height map, and the geoms that the engines collide with."""

from __future__ import annotations

import re
from dataclasses import replace

import mujoco
import numpy as np
import pytest
import torch

from legged_ppo.config.loading import CONFIG_DIR, load_config
from legged_ppo.config.schema import RobotConfig, SimConfig, TerrainConfig
from legged_ppo.errors import ConfigError
from legged_ppo.robots.spec import load_robot
from legged_ppo.sim.model import build_model
from legged_ppo.sim.warp.world_ground import WorldGround
from legged_ppo.terrain.grid import Terrain, build_terrain
from legged_ppo.terrain.height_map import HeightMap
from legged_ppo.terrain.tile import RIM, Tile
from legged_ppo.terrain.types import make_tile_types

ALL = list(make_tile_types(TerrainConfig()))
SMOOTH = {"flat", "rough", "slope_up", "slope_down", "rough_slope", "wave"}
GRID = TerrainConfig(
    proportions=dict.fromkeys(ALL, 1.0),
    num_levels=3,
    fractal_height=[0.02, 0.04],
    height_map_cell=0.05,
)


@pytest.fixture(scope="module")
def grid() -> Terrain:
    return build_terrain(GRID)


def test_the_seed_alone_decides_the_ground() -> None:
    fingerprint = build_terrain(GRID).fingerprint
    assert build_terrain(replace(GRID)).fingerprint == fingerprint
    assert build_terrain(replace(GRID, seed=2)).fingerprint != fingerprint


FINGERPRINTS = {
    "grid": "a21436ddb3701072",
    "phase1_fast": "bf315c54788edc79",
    "phase1_quickstart": "89df44eec9c5b871",
}
"""Policies were trained on the recipes' grounds, and figures are of them."""


@pytest.mark.parametrize("name", FINGERPRINTS)
def test_the_ground_is_the_same_on_every_machine(name: str) -> None:
    config = GRID if name == "grid" else load_config(CONFIG_DIR / f"{name}.yaml").terrain
    assert build_terrain(config).fingerprint == FINGERPRINTS[name]


def test_the_fingerprint_is_of_what_robots_see_and_of_what_they_walk_on(grid: Terrain) -> None:
    stairs, rough = (grid.tiles[ALL.index(name)][1] for name in ("stairs_up", "rough"))
    heights = grid.heights.copy()
    heights[3, 1, 80, 80] += 1e-4
    changed = [
        replace(grid, heights=heights),
        replace(grid, types=grid.types[::-1]),
        with_tile(grid, "stairs_up", replace(stairs, sunken=False)),
        with_tile(grid, "stairs_up", with_higher_box(stairs, 1e-4)),
        with_tile(grid, "rough", replace(rough, patch=rough.patch + 1e-4)),
    ]
    assert len({each.fingerprint for each in [grid, *changed]}) == 6
    last_digit = with_tile(grid, "stairs_up", with_higher_box(stairs, 1e-9))
    assert last_digit.fingerprint == grid.fingerprint


def with_tile(grid: Terrain, name: str, tile: Tile) -> Terrain:
    """The grid with another tile at level 1 of a type."""
    tiles = [list(column) for column in grid.tiles]
    tiles[ALL.index(name)][1] = tile
    return replace(grid, tiles=tiles)


def with_higher_box(tile: Tile, rise: float) -> Tile:
    first, *others = tile.boxes
    higher = replace(first, high=(*first.high[:2], first.high[2] + rise))
    return replace(tile, boxes=[higher, *others])


def test_a_tile_does_not_depend_on_its_neighbours(grid: Terrain) -> None:
    alone = build_terrain(replace(GRID, proportions={"curbs": 1.0}))
    np.testing.assert_array_equal(alone.heights[0], grid.heights[ALL.index("curbs")])


@pytest.mark.parametrize("name", ALL)
def test_tiles_are_flat_along_their_edges(grid: Terrain, name: str) -> None:
    rim = round(RIM / GRID.height_map_cell)
    for heights in grid.heights[ALL.index(name)]:
        inner = np.full_like(heights, 0.0)
        inner[rim:-rim, rim:-rim] = heights[rim:-rim, rim:-rim]
        np.testing.assert_array_equal(heights[:rim], 0.0)
        np.testing.assert_allclose(heights, inner, atol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_robots_start_on_the_smallest_platform_that_is_allowed(name: str) -> None:
    config = replace(GRID, proportions={name: 1.0}, platform=0.05)
    if name not in ("flat", "rough", "wave"):
        with pytest.raises(ConfigError) as caught:
            build_terrain(config)
        found = re.search(r"at least ([\d.]+) m", caught.value.expected)
        assert caught.value.key == "terrain.platform" and found
        config = replace(config, platform=float(found[1]))
    assert (build_terrain(config).spawn_radius >= 0.0).all()


@pytest.mark.parametrize("name", sorted(set(ALL) - {"flat", "rough", "rough_slope", "wave"}))
def test_robots_start_on_level_ground(grid: Terrain, name: str) -> None:
    for tile, heights in zip(
        grid.tiles[ALL.index(name)], grid.heights[ALL.index(name)], strict=True
    ):
        middle = len(heights) // 2
        reach = int((tile.spawn_radius + 0.25) / GRID.height_map_cell)
        start = heights[middle - reach : middle + reach + 1, middle - reach : middle + reach + 1]
        assert tile.spawn_radius > 0.2 and np.ptp(start) < 1e-6


@pytest.mark.parametrize(
    ("name", "key", "bounds", "expected"),
    [
        ("stairs_up", "stair_height", [0.1, 0.1], -8 * 0.1),
        ("stairs_down", "stair_height", [0.1, 0.1], 8 * 0.1),
        ("slope_up", "slope", [0.2, 0.2], -2.5 * 0.2),
        ("slope_down", "slope", [0.2, 0.2], 2.5 * 0.2),
        ("pits", "pit_depth", [0.15, 0.15], -0.15),
    ],
)
def test_the_middle_lies_as_high_as_the_way_out_demands(
    name: str, key: str, bounds: list[float], expected: float
) -> None:
    terrain = build_terrain(replace(GRID, proportions={name: 1.0}, **{key: bounds}))  # type: ignore[arg-type]
    np.testing.assert_allclose(terrain.origins[0, :, 2], expected, atol=1e-5)


@pytest.mark.parametrize("name", ["gaps", "stepping_stones"])
def test_gaps_grow_deeper_from_level_to_level_where_they_are_told_to(name: str) -> None:
    wide = [0.3, 0.3]
    config = replace(GRID, proportions={name: 1.0}, num_levels=3, gap_width=wide, stone_gap=wide)
    deepest = build_terrain(config).heights[0].min(axis=(1, 2))
    np.testing.assert_allclose(deepest, -0.6, atol=1e-6)
    easier = build_terrain(replace(config, easiest_gap_depth=0.1)).heights[0].min(axis=(1, 2))
    np.testing.assert_allclose(easier, [-0.1, -0.35, -0.6], atol=1e-6)
    with pytest.raises(ConfigError, match=r"easiest_gap_depth.*at most terrain\.gap_depth"):
        build_terrain(replace(config, easiest_gap_depth=0.7))


def test_stairs_rise_by_one_riser_every_tread() -> None:
    config = replace(GRID, proportions={"stairs_up": 1.0}, stair_height=[0.12, 0.12])
    heights = build_terrain(config).heights[0, 0]
    way_out = heights[len(heights) // 2 :, len(heights) // 2]
    edges = np.flatnonzero(np.diff(way_out) > 1e-4)
    np.testing.assert_allclose(np.diff(way_out)[edges], 0.12, atol=1e-4)
    np.testing.assert_array_equal(np.diff(edges), round(0.3 / GRID.height_map_cell))


def test_robots_are_shared_out_by_largest_remainder_and_over_the_levels() -> None:
    config = replace(GRID, proportions={"flat": 0.5, "rough": 1.6}, num_levels=4)
    types, levels = build_terrain(config).assign(10)  # exact shares: 2.38 and 7.62
    assert np.bincount(types).tolist() == [2, 8]
    assert np.bincount(levels[types == 1], minlength=4).tolist() == [2, 2, 2, 2]
    assert levels[types == 0].tolist() == [1, 3]
    _, few = build_terrain(replace(config, proportions={"rough": 1.0}, num_levels=10)).assign(13)
    assert few.tolist() == [*range(10), 1, 5, 8]  # a remainder favours neither easy nor hard ones
    for num_envs in (1, 2, 3, 17):
        assert len(build_terrain(config).assign(num_envs)[0]) == num_envs
    _, low = build_terrain(replace(config, max_initial_level=1)).assign(10)
    assert low.max() == 1


def test_a_type_of_share_zero_gets_no_column() -> None:
    terrain = build_terrain(replace(GRID, proportions={"flat": 0.0, "rough": 1.0}))
    assert terrain.types == ["rough"] and terrain.origins.shape == (1, 3, 3)


def ray_heights(model: mujoco.MjModel, data: mujoco.MjData, xy: np.ndarray) -> np.ndarray:
    ground_only = np.array([1, 0, 0, 0, 0, 0], dtype=np.uint8)
    hit = np.zeros(1, dtype=np.int32)
    down = np.array([0.0, 0.0, -1.0])
    rays = [
        mujoco.mj_ray(model, data, np.array([*p, 5.0]), down, ground_only, 1, -1, hit) for p in xy
    ]
    return 5.0 - np.array(rays)


@pytest.fixture(scope="module")
def ground(grid: Terrain) -> tuple[mujoco.MjModel, mujoco.MjData]:
    model = build_model(load_robot(RobotConfig()), grid.add_to, SimConfig())
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    return model, data


@pytest.mark.parametrize("name", ALL)
def test_the_height_map_is_the_ground_that_rays_hit(
    grid: Terrain, ground: tuple[mujoco.MjModel, mujoco.MjData], name: str
) -> None:
    column, cell = ALL.index(name), GRID.height_map_cell
    xy = np.random.default_rng(0).uniform(0.0, [8.0, 24.0], size=(10_000, 2))
    xy[:, 0] += column * 8.0
    tile = torch.tensor(column * 3 + (xy[:, 1] // 8.0).astype(int))
    heights = HeightMap(grid, torch.device("cpu"))
    looked_up = heights(torch.tensor(xy[:, None]).float(), tile)[:, 0].numpy()
    truth = ray_heights(*ground, xy)
    at_edge = np.zeros(len(xy), dtype=bool)
    if name not in SMOOTH:  # a vertical face, or the leaning wall of a stone, within one cell
        for offset in cell * np.array([[1, 0], [-1, 0], [0, 1], [0, -1], [1, 1], [-1, -1]]):
            at_edge |= np.abs(ray_heights(*ground, xy + offset) - truth) > 0.005
    assert at_edge.mean() < 0.8
    assert np.mean(np.abs(looked_up - truth)[~at_edge] < 0.01) >= 0.995


def test_origins_lie_on_the_ground_in_the_middle_of_their_tiles(grid: Terrain) -> None:
    origins = torch.tensor(grid.origins).float().view(-1, 3)
    tiles = torch.arange(len(origins))
    found = HeightMap(grid, torch.device("cpu"))(origins[:, None, :2], tiles)[:, 0]
    torch.testing.assert_close(found, origins[:, 2])
    np.testing.assert_allclose(grid.origins[1, 2, :2], [12.0, 20.0])


def test_queries_are_bilinear_and_the_tile_repeats(grid: Terrain) -> None:
    heights = HeightMap(grid, torch.device("cpu"))
    column, level = ALL.index("rough"), 2
    z = grid.heights[column, level]
    corner = torch.tensor([8.0 * column, 8.0 * level])
    i, j = 40, 57

    def at(fx: float, fy: float) -> float:
        xy = corner + 0.05 * torch.tensor([[[i + fx, j + fy]]])
        return float(heights(xy, torch.tensor([column * 3 + level])))

    assert at(0, 0) == pytest.approx(z[i, j], abs=1e-5)
    assert at(0.25, 0) == pytest.approx(0.75 * z[i, j] + 0.25 * z[i + 1, j], abs=1e-5)
    assert at(0.5, 0.5) == pytest.approx(z[i : i + 2, j : j + 2].mean(), abs=1e-5)
    for period in (160, -160, 480):
        assert at(0.5 + period, 0.5 - period) == pytest.approx(at(0.5, 0.5), abs=2e-4)


def test_the_whole_grid_is_small_enough() -> None:
    terrain = build_terrain(replace(GRID, num_levels=10))
    slots = WorldGround(terrain)
    for add_to, limit in ((terrain.add_to, 1500), (slots.add_to, 64)):
        model = build_model(load_robot(RobotConfig()), add_to, SimConfig())
        assert model.ngeom <= limit


def test_a_few_geoms_make_the_ground_of_every_tile(
    grid: Terrain, ground: tuple[mujoco.MjModel, mujoco.MjData]
) -> None:
    slots = WorldGround(grid)
    model = build_model(load_robot(RobotConfig()), slots.add_to, SimConfig())
    data, ours = mujoco.MjData(model), slots.geoms(model)
    tables = slots.tables(model)
    corners = [(8.0 * column, 8.0 * level) for column in range(len(ALL)) for level in range(3)]
    for number, corner in enumerate(corners):
        for name, table in tables.items():
            field = getattr(model, name)
            field[ours] = table[number].reshape(field[ours].shape)
        mujoco.mj_kinematics(model, data)
        # Feet of a robot on the rim reach over it.
        xy = np.random.default_rng(number).uniform(-0.4, 8.4, size=(300, 2)) + corner
        np.testing.assert_allclose(
            ray_heights(model, data, xy), ray_heights(*ground, xy), atol=1e-5
        )


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"proportions": {"flat": 1.0, "ruogh": 1.0}}, "terrain.proportions"),
        ({"proportions": {"flat": 0.0, "rough": 0.0}}, "terrain.proportions"),
        ({"proportions": {"flat": 1.0, "rough": -0.5}}, "terrain.proportions"),
        ({"tile_size": 6.03}, "terrain.tile_size"),
        ({"tile_size": 4.0}, "terrain.tile_size"),
        ({"proportions": {"stairs_up": 1.0}, "stair_tread": 1.4}, "terrain.tile_size"),
        ({"proportions": {"stairs_up": 1.0}, "platform": 0.9}, "terrain.platform"),
        ({"proportions": {"gaps": 1.0}, "platform": 0.75}, "terrain.platform"),
    ],
)
def test_ground_that_cannot_be_built_is_refused(change: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_terrain(replace(GRID, **change))  # type: ignore[arg-type]
    assert caught.value.key == key
    if "ruogh" in str(caught.value):
        assert "did you mean 'rough'" in str(caught.value)

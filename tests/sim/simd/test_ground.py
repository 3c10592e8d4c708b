"""Boxes and height fields: the reference against MuJoCo C, and the compiled physics against it in float32."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import mujoco
import numpy as np
import pytest
import torch
from motions import Moment, above, moment, stepped
from reference_physics import constants, differences
from simulators import pose, rows

from legged_ppo.config.schema import RobotConfig, SimConfig, TerrainConfig
from legged_ppo.robots.spec import RobotSpec, load_robot
from legged_ppo.sim.model import build_model
from legged_ppo.sim.simd.engine import Simd
from legged_ppo.sim.simd.ground_cells import reach_of, read_ground
from legged_ppo.sim.simd.ground_contacts import mixed_contacts
from legged_ppo.terrain.grid import Terrain, build_terrain

BOXES = ("stairs_up", "stairs_down", "curbs", "gaps")
FIELDS = ("rough", "slope_up", "wave")
EXACT = {"iterations": 100, "ls_iterations": 50, "tolerance": 0.0}
ROBOTS = 16


@pytest.fixture(scope="module")
def go2(robot_config: Callable[[str], RobotConfig]) -> RobotSpec:
    return load_robot(robot_config("go2"))


@pytest.fixture(scope="module")
def terrain() -> Terrain:
    proportions = dict.fromkeys((*BOXES, *FIELDS), 1.0)
    return build_terrain(TerrainConfig(proportions=proportions, num_levels=2))


def column_model(spec: RobotSpec, terrain: Terrain, name: str, **sim: float) -> mujoco.MjModel:
    column = terrain.types.index(name)
    return build_model(spec, partial(terrain.add_to, column=column), SimConfig(**sim))  # type: ignore[arg-type]


def on_ground(spec: RobotSpec, terrain: Terrain, name: str, motion: str, count: int) -> Moment:
    model = column_model(spec, terrain, name)
    starts = above(terrain, terrain.types.index(name), count)
    return moment(model, spec.default_joint_pos, motion, starts)


def touching(model: mujoco.MjModel, start: Moment, kind: mujoco.mjtGeom) -> np.ndarray:
    """[N] bool, geoms of this kind touch something."""
    data, found = mujoco.MjData(model), []
    for qpos in start.qpos:
        data.qpos[:] = qpos
        mujoco.mj_forward(model, data)
        ours = [g for g in data.contact.geom.ravel() if model.geom_bodyid[g]]
        found.append(any(model.geom_type[g] == int(kind) for g in ours))
    return np.array(found)


@pytest.mark.parametrize("motion", ["walk", "fall"])
@pytest.mark.parametrize("name", BOXES)
def test_velocities_on_boxes_equal_mujocos(
    go2: RobotSpec, terrain: Terrain, name: str, motion: str
) -> None:
    model = column_model(go2, terrain, name, **EXACT)
    start = on_ground(go2, terrain, name, motion, ROBOTS)
    if motion == "fall":
        assert touching(model, start, mujoco.mjtGeom.mjGEOM_CAPSULE).any()
    ground = read_ground(terrain, reach_of(constants(model, go2)))
    for substeps in (1, 5):
        apart = differences(model, go2, start, substeps, ground, mixed_contacts)
        assert apart.max() < 1e-9


@pytest.mark.parametrize("name", FIELDS)
def test_velocities_on_height_fields_equal_mujocos(
    go2: RobotSpec, terrain: Terrain, name: str
) -> None:
    model = column_model(go2, terrain, name, **EXACT)
    ground = read_ground(terrain, reach_of(constants(model, go2)))
    # Robots that fall may lie on more triangles than have room, or sink in to a sphere's middle.
    for motion, share in (("walk", 1.0), ("fall", 0.8)):
        start = on_ground(go2, terrain, name, motion, ROBOTS)
        apart = differences(model, go2, start, 1, ground, mixed_contacts)
        assert (apart < 1e-9).mean() >= share
    assert touching(model, start, mujoco.mjtGeom.mjGEOM_CAPSULE).mean() > 0.3


@pytest.mark.parametrize("name", ["slope_up", "wave"])
def test_a_leg_whose_middle_is_inside_a_height_field_is_pushed_out_as_in_mujoco(
    go2: RobotSpec, terrain: Terrain, name: str
) -> None:
    """It was pushed further in: differences of 8 to 15 rad/s, and legs that stuck between stepping stones."""
    start = on_ground(go2, terrain, name, "jam", 48)
    model = column_model(go2, terrain, name, **EXACT)
    ground = read_ground(terrain, reach_of(constants(model, go2)))
    assert differences(model, go2, start, 1, ground, mixed_contacts).max() < 1.0


@pytest.mark.parametrize("width", [4, 16])
@pytest.mark.parametrize("name", [*BOXES, *FIELDS])
def test_velocities_in_lanes_are_mujocos_to_float32(
    go2: RobotSpec, terrain: Terrain, name: str, width: int
) -> None:
    count = 64
    start = on_ground(go2, terrain, name, "walk", count)
    config = SimConfig(decimation=1, simd_width=width)
    simulator = Simd(go2, terrain, config, count)
    everyone = torch.ones(count, dtype=torch.bool)
    simulator.reset(everyone, torch.tensor(start.qpos), torch.tensor(start.qvel))
    simulator._groups.write("warmstart", torch.tensor(start.warmstart).float())
    simulator.step(torch.tensor(start.targets).float())
    _, qvel = stepped(column_model(go2, terrain, name), start, 1)
    apart = np.abs(simulator._groups.read("qvel").numpy() - qvel).max(1)
    assert np.median(apart) < 1e-5
    assert np.quantile(apart, 0.95) < 1e-4


def test_a_robot_far_from_the_terrain_or_nowhere_harms_nobody(
    go2: RobotSpec, terrain: Terrain
) -> None:
    one, other = (Simd(go2, terrain, SimConfig(threads=1), 8) for _ in range(2))
    qpos, qvel = pose(one)
    qpos[:, :3] += torch.tensor(terrain.origins[3, 1]).float()
    for each in (one, other):
        each.reset(torch.ones(8, dtype=torch.bool), qpos, qvel)
    astray = qpos.clone()
    astray[2, 0], astray[3, :3], astray[4, 1] = 1e9, torch.nan, -torch.inf
    one.reset(torch.isin(torch.arange(8), torch.tensor([2, 3, 4])), astray, qvel)
    for each in (one, other):
        each.step(qpos[:, 7:])
    well = [0, 1, 5, 6, 7]
    np.testing.assert_array_equal(rows(one)[well], rows(other)[well])
    assert one.state.failed.tolist()[3:5] == [True, True]

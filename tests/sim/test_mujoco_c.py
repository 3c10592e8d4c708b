"""MuJoCo C behind the `Simulator` protocol: exactness, resets, failures, columns; see also test_engines.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import mujoco
import numpy as np
import pytest
import torch
from mujoco.batch import SimulationError
from simulators import MASKED, assert_failed_alone, assert_same_state, nominal, pose, rows, walk

from legged_ppo.config.schema import RobotConfig, SimConfig, TerrainConfig
from legged_ppo.robots.spec import RobotSpec, load_robot
from legged_ppo.sim.mujoco_c import MujocoC
from legged_ppo.terrain.grid import Terrain, build_terrain


class Build(Protocol):
    def __call__(self, num_envs: int, **sim: object) -> MujocoC: ...


@pytest.fixture(scope="module")
def robot(robot_config: Callable[[str], RobotConfig]) -> RobotSpec:
    return load_robot(robot_config("go2"))


@pytest.fixture(scope="module")
def rough() -> Terrain:
    return build_terrain(
        TerrainConfig(proportions={"rough": 1.0}, tile_size=6.0, roughness=[0.05, 0.05])
    )


@pytest.fixture
def build(robot: RobotSpec) -> Build:
    plane = build_terrain(TerrainConfig())

    def on_the_plane(num_envs: int, **sim: object) -> MujocoC:
        config = SimConfig(**{"threads": 1, **sim})  # type: ignore[arg-type]
        return MujocoC(robot, plane, config, num_envs)

    return on_the_plane


def test_results_do_not_depend_on_the_number_of_threads(robot: RobotSpec, rough: Terrain) -> None:
    one, three = (MujocoC(robot, rough, SimConfig(threads=n), 7) for n in (1, 3))
    for simulator in (one, three):
        simulator.reset(torch.ones(7, dtype=torch.bool), *pose(simulator, (3.0, 3.0, 0.38)))
        walk(simulator, range(30))
    assert one.state.foot_force.max() > 0
    assert_same_state(one, three)


def test_a_reset_renews_the_masked_robots_and_leaves_the_others_untouched(build: Build) -> None:
    reset, untouched, fresh = build(4), build(4), build(4)
    for simulator in (reset, untouched):
        walk(simulator, range(20))
    for simulator in (reset, fresh):
        simulator.reset(MASKED, *pose(simulator, (1.0, 2.0, 0.3)))
    assert_same_state(reset, untouched, ~MASKED)
    assert_same_state(reset, fresh, MASKED)
    assert rows(reset)[0].any() and reset.groups[0].batch.qacc_warmstart[0].any()
    for simulator in (reset, untouched, fresh):
        walk(simulator, range(5))
    assert_same_state(reset, untouched, ~MASKED)
    assert_same_state(reset, fresh, MASKED)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(
    ("field", "column", "value"),
    [("qpos", 10, np.nan), ("qvel", 7, np.inf), ("qvel", 2, 300.0), ("qpos", 0, np.nan)],
)
def test_a_diverged_robot_fails_alone_and_recovers_by_its_reset(
    build: Build, field: str, column: int, value: float, late: bool
) -> None:
    latency = torch.full((4,), 2) if late else None
    simulator, reference = build(4), build(4)
    for each in (simulator, reference):
        walk(each, range(5), latency)
    getattr(simulator.groups[0].batch, field)[2, column] = value
    for step in (5, 6):
        walk(simulator, range(step, step + 1), latency)
        walk(reference, range(step, step + 1), latency)
        assert_failed_alone(simulator, reference, bad=2)
    third = torch.tensor([False, False, True, False])
    for each in (simulator, reference):
        each.reset(third, *pose(each))
        assert not each.state.failed.any()
        walk(each, range(10), latency)
    assert not simulator.state.failed.any()
    assert_same_state(simulator, reference)


def test_a_reset_of_other_robots_does_not_hide_a_failure(build: Build) -> None:
    simulator = build(4)
    simulator.groups[0].batch.qpos[0, 2] = np.nan
    walk(simulator, range(1))
    simulator.reset(MASKED, *pose(simulator))
    assert simulator.state.failed.tolist() == [True, False, False, False]


def test_a_position_that_is_not_finite_is_a_failure_whatever_the_velocity(build: Build) -> None:
    simulator = build(3)
    simulator.groups[0].batch.qpos[1, 0] = np.nan
    others = torch.tensor([False, False, True])
    simulator.reset(others, *pose(simulator))
    assert simulator.state.failed.tolist() == [False, True, False]


def test_an_error_of_the_engine_is_a_failure_of_that_robot(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator = build(3)

    def raising(**_: object) -> None:
        raise SimulationError(np.array([1]), "stack overflow")

    monkeypatch.setattr(simulator.groups[0].batch, "step", raising)
    walk(simulator, range(1))
    assert simulator.state.failed.tolist() == [False, True, False]
    simulator.reset(torch.tensor([True, False, False]), *pose(simulator))
    assert simulator.state.failed.tolist() == [False, True, False], "it was not reset itself"


def test_an_armature_is_added_to_the_inertia_of_the_masked_robots_joints(build: Build) -> None:
    simulator, untouched = build(4), build(4)
    simulator.randomize(MASKED, nominal(4, armature_scale=3.0))
    models = [simulator.groups[0].batch.get_model(i) for i in range(4)]
    plain = models[0].dof_armature
    assert plain[6:].all() and not plain[:6].any()
    for model, masked in zip(models, MASKED.tolist(), strict=True):
        more = inertia_diagonal(model) - inertia_diagonal(untouched.groups[0].model)
        np.testing.assert_allclose(more, 2.0 * plain * masked, atol=1e-8)
    for each in (simulator, untouched):
        walk(each, range(3))
    assert_same_state(simulator, untouched, ~MASKED)
    changed = simulator.state.joint_vel != untouched.state.joint_vel
    assert changed[MASKED].all()


def inertia_diagonal(model: mujoco.MjModel) -> np.ndarray:
    """[nv], in the model's own pose."""
    data, dense = mujoco.MjData(model), np.zeros((model.nv, model.nv))
    mujoco.mj_forward(model, data)
    mujoco.mj_fullM(model, data, dense)
    return np.diag(dense)


def test_only_the_masked_robots_get_new_parameters(build: Build) -> None:
    simulator, untouched = build(4), build(4)
    for each in (simulator, untouched):
        each.randomize(~MASKED, nominal(4, friction=0.5, added_mass=0.5, kp_scale=0.9))
    simulator.randomize(MASKED, nominal(4, friction=0.3, added_mass=1.5, kp_scale=1.1))
    walk(simulator, range(30))
    walk(untouched, range(30))
    assert_same_state(simulator, untouched, ~MASKED)
    changed = simulator.state.joint_pos != untouched.state.joint_pos
    assert changed[MASKED].any(1).all()
    light, heavy = (simulator.groups[0].batch.get_model(i) for i in (0, 1))
    assert heavy.body("base").mass == pytest.approx(light.body("base").mass + 1.0)
    ratio = heavy.body("base").inertia / light.body("base").inertia
    heavier = heavy.body("base").mass[0] / light.body("base").mass[0]
    np.testing.assert_allclose(ratio, heavier)


def test_pushes_add_to_the_planar_world_velocity(build: Build) -> None:
    simulator = build(2)
    before = rows(simulator)
    simulator.push(torch.tensor([[0.3, -0.4], [0.0, 0.0]]))
    changed = np.argwhere(rows(simulator) != before)
    assert changed[:, 0].tolist() == [0, 0]
    np.testing.assert_allclose(simulator.groups[0].batch.qvel[0, :3], [0.3, -0.4, 0.0], atol=1e-7)


def test_the_engine_does_not_reset_a_diverged_robot_by_itself(build: Build) -> None:
    simulator = build(1)
    batch = simulator.groups[0].batch
    batch.qpos[0, 8] = np.nan
    walk(simulator, range(1))
    assert np.isnan(batch.qpos).any() or np.isnan(batch.qvel).any()


def test_the_engines_settings_reach_the_model(robot: RobotSpec, rough: Terrain) -> None:
    config = replace(SimConfig(threads=1), integrator="euler", cone="elliptic", iterations=7)
    option = MujocoC(robot, rough, config, 1).groups[0].model.opt
    assert (option.integrator, option.cone, option.iterations) == (0, 1, 7)


@pytest.fixture(scope="module")
def grid() -> Terrain:
    """Three columns: boxes, a height field, boxes below the ground around them."""
    names = ("stairs_up", "rough", "stairs_down")
    return build_terrain(
        TerrainConfig(proportions=dict.fromkeys(names, 1.0), num_levels=2, tile_size=6.0)
    )


COLUMNS = np.array([0, 0, 1, 1, 2])
TILES = COLUMNS * 2 + 1


def on_their_columns(simulator: MujocoC, terrain: Terrain) -> MujocoC:
    """Put the robots of `COLUMNS` on the middle of their second level, give two of them other
    parameters and let them walk, late."""
    qpos, qvel = pose(simulator)
    qpos[:, :3] += torch.tensor(terrain.origins[COLUMNS, 1]).float()
    heavy = torch.tensor([False, True, False, True, False])
    simulator.randomize(heavy, nominal(5, added_mass=1.0, friction=0.5))
    simulator.reset(torch.ones(5, dtype=torch.bool), qpos, qvel)
    return walk(simulator, range(25), torch.tensor([0, 1, 2, 3, 0]))


def test_a_robot_moves_on_its_columns_ground_as_on_the_whole_grids(
    robot: RobotSpec, grid: Terrain
) -> None:
    alone, whole = (MujocoC(robot, grid, SimConfig(), 5, x) for x in (TILES, None))
    assert [group.rows for group in alone.groups] == [slice(0, 2), slice(2, 4), slice(4, 5)]
    assert whole.groups[0].model.ngeom > max(group.model.ngeom for group in alone.groups)
    for simulator in (alone, whole):
        on_their_columns(simulator, grid)
    assert (alone.state.foot_force > 0).any(1).all()
    for name, value in vars(alone.state).items():
        torch.testing.assert_close(value, getattr(whole.state, name), atol=1e-4, rtol=1e-4)


def test_robots_may_change_columns(robot: RobotSpec, grid: Terrain) -> None:
    moved, built = (MujocoC(robot, grid, SimConfig(), 5, x) for x in (np.zeros_like(TILES), TILES))
    on_their_columns(moved, grid)
    moved.assign(torch.from_numpy(TILES))
    groups = built.groups
    built.assign(torch.from_numpy(TILES))
    assert built.groups is groups, "nothing to do"
    for simulator in (moved, built):
        on_their_columns(simulator, grid)
    assert_same_state(moved, built)


def test_a_loaded_state_continues_on_several_columns(robot: RobotSpec, grid: Terrain) -> None:
    simulator, resumed = (MujocoC(robot, grid, SimConfig(), 5, TILES) for _ in range(2))
    saved = on_their_columns(simulator, grid).state_dict()
    robots_geoms = np.count_nonzero(simulator.groups[0].model.geom_bodyid)
    assert saved["fields"]["geom_friction"].shape == (5, robots_geoms, 3), "not the ground's"
    resumed.load_state_dict(saved)
    for each in (simulator, resumed):
        walk(each, range(25, 35))
    assert_same_state(simulator, resumed)


def test_a_diverged_robot_of_another_column_fails_alone(robot: RobotSpec, grid: Terrain) -> None:
    simulator, reference = (MujocoC(robot, grid, SimConfig(), 5, TILES) for _ in range(2))
    for each in (simulator, reference):
        on_their_columns(each, grid)
    simulator.groups[1].batch.qpos[1, 8] = np.nan
    for each in (simulator, reference):
        walk(each, range(25, 26))
    assert_failed_alone(simulator, reference, bad=3)
    third = torch.arange(5) == 3
    simulator.reset(third, *pose(simulator))
    torch.testing.assert_close(simulator.state.base_pos[3], torch.tensor([0.0, 0.0, 0.33]))

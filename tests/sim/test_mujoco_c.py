"""MuJoCo C behind the `Simulator` protocol: exactness, resets, failures, actuation, contacts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import mujoco
import numpy as np
import pytest
import torch
from mujoco.batch import SimulationError

from legged_ppo.config.schema import RobotConfig, SimConfig, TerrainConfig
from legged_ppo.robots.spec import RobotSpec, load_robot
from legged_ppo.sim.mujoco_c import MujocoC
from legged_ppo.sim.simulator import PhysicalParameters
from legged_ppo.terrain.grid import Terrain, build_terrain

GRAVITY = 9.81
MASKED = torch.tensor([False, True, False, True])


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


def targets(simulator: MujocoC, step: int, size: float = 0.3) -> torch.Tensor:
    """Joint targets [N, 12] that differ between robots and steps."""
    generator = torch.Generator().manual_seed(step)
    default = torch.tensor(simulator._robot.default_joint_pos).float()
    return default + size * torch.randn(simulator.num_envs, 12, generator=generator)


def walk(simulator: MujocoC, steps: range, latency: torch.Tensor | None = None) -> MujocoC:
    for step in steps:
        simulator.step(targets(simulator, step), latency)
    return simulator


def hold(simulator: MujocoC, seconds: float) -> MujocoC:
    """Stand on the default pose."""
    for _ in range(round(seconds / 0.02)):
        simulator.step(targets(simulator, 0, size=0.0))
    return simulator


def pose(
    simulator: MujocoC,
    position: tuple[float, float, float] = (0.0, 0.0, 0.33),
    quat: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0),
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows (qpos [N, 19], qvel [N, 18]) of the default pose at rest at this base pose."""
    joints = simulator._robot.default_joint_pos
    qpos = torch.tensor([*position, *quat, *joints]).float().repeat(simulator.num_envs, 1)
    return qpos, torch.zeros(simulator.num_envs, 18)


def nominal(num_envs: int, **changes: float) -> PhysicalParameters:
    one = torch.ones(num_envs)
    values = {"friction": 0.8, "added_mass": 0.0, "kp_scale": 1.0, "kd_scale": 1.0}
    values |= {"motor_strength": 1.0, "armature_scale": 1.0, "com_shift": 0.0} | changes
    com_shift = values.pop("com_shift") * torch.tensor([1.0, 0.0, 0.0]).repeat(num_envs, 1)
    return PhysicalParameters(
        com_shift=com_shift, **{name: value * one for name, value in values.items()}
    )


def rows(simulator: MujocoC) -> np.ndarray:
    """The engine's whole state [N, columns], warm start included."""
    return simulator.state_dict()["rows"].numpy()


def assert_same_state(a: MujocoC, b: MujocoC, where: torch.Tensor | slice = slice(None)) -> None:
    np.testing.assert_array_equal(rows(a)[where], rows(b)[where])
    for name, value in vars(a.state).items():
        assert torch.equal(value[where], getattr(b.state, name)[where]), name


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


def test_a_reset_puts_the_robot_where_it_was_asked(build: Build) -> None:
    simulator, all_robots = build(2), torch.ones(2, dtype=torch.bool)
    qpos, qvel = pose(simulator, (1.0, 2.0, 0.9), (0.6, 0.0, 0.0, 0.8))
    qpos[:, 7:] += torch.linspace(-0.3, 0.3, 12)
    qvel[:] = torch.linspace(-1.0, 1.0, 18)
    simulator.reset(all_robots, qpos, qvel)
    state = simulator.state
    torch.testing.assert_close(torch.cat([state.base_pos, state.base_quat], 1), qpos[:, :7])
    torch.testing.assert_close(state.joint_pos, qpos[:, 7:])
    torch.testing.assert_close(state.joint_vel, qvel[:, 6:])
    torch.testing.assert_close(state.base_ang_vel, qvel[:, 3:6])
    world_x, world_y, world_z = qvel[0, :3].tolist()
    cos, sin = 0.6**2 - 0.8**2, 2 * 0.6 * 0.8
    forward, left = cos * world_x + sin * world_y, -sin * world_x + cos * world_y
    torch.testing.assert_close(state.base_lin_vel[0], torch.tensor([forward, left, world_z]))


def assert_failed_alone(simulator: MujocoC, reference: MujocoC, bad: int) -> None:
    others = torch.arange(simulator.num_envs) != bad
    assert torch.equal(simulator.state.failed, ~others)
    assert all(v.isfinite().all() for v in vars(simulator.state).values())
    assert (
        simulator.state.joint_vel[bad].eq(0).all() and simulator.state.foot_force[bad].eq(0).all()
    )
    assert_same_state(simulator, reference, others)


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


def in_the_air(simulator: MujocoC) -> tuple[torch.Tensor, torch.Tensor]:
    """Put every robot at 1 m with random joint errors and velocities; return qpos, qvel."""
    qpos, qvel = pose(simulator, (0.0, 0.0, 1.0))
    generator = torch.Generator().manual_seed(0)
    qpos[:, 7:] += 0.1 * torch.randn(simulator.num_envs, 12, generator=generator)
    qvel[:, 6:] = torch.randn(simulator.num_envs, 12, generator=generator)
    simulator.reset(torch.ones(simulator.num_envs, dtype=torch.bool), qpos, qvel)
    return qpos[:, 7:], qvel[:, 6:]


def test_the_joint_torque_is_the_pd_law_with_each_robots_gains(
    build: Build, robot: RobotSpec
) -> None:
    simulator = build(4, decimation=1)
    changes = {"kp_scale": 0.8, "kd_scale": 1.3, "motor_strength": 0.5}
    simulator.randomize(MASKED, nominal(4, **changes))
    q, qd = in_the_air(simulator)
    target = targets(simulator, 3, size=0.1)
    simulator.step(target)
    kp, kd = robot.config.kp, robot.config.kd
    torque = kp * (target - q) - kd * qd
    torque[MASKED] = 0.5 * (0.8 * kp * (target - q) - 1.3 * kd * qd)[MASKED]
    torch.testing.assert_close(simulator.state.joint_torque, torque, atol=1e-4, rtol=1e-4)


def test_each_joint_has_its_own_gains_in_the_policys_order(
    robot_config: Callable[[str], RobotConfig],
) -> None:
    config = robot_config("go2")
    config.kp, config.kd = [20.0 + j for j in range(12)], [0.5 + 0.1 * j for j in range(12)]
    ground = build_terrain(TerrainConfig())
    simulator = MujocoC(load_robot(config), ground, SimConfig(threads=1, decimation=1), 4)
    simulator.randomize(MASKED, nominal(4, kp_scale=0.8, kd_scale=1.3))
    q, qd = in_the_air(simulator)
    target = targets(simulator, 3, size=0.05)
    simulator.step(target)
    kp, kd = torch.tensor(config.kp), torch.tensor(config.kd)
    torque = kp * (target - q) - kd * qd
    torque[MASKED] = (0.8 * kp * (target - q) - 1.3 * kd * qd)[MASKED]
    torch.testing.assert_close(simulator.state.joint_torque, torque, atol=1e-4, rtol=1e-4)


def test_torques_stay_within_the_robots_limits(build: Build, robot: RobotSpec) -> None:
    simulator = build(2, decimation=1)
    in_the_air(simulator)
    default = torch.tensor(robot.default_joint_pos).float().repeat(2, 1)
    simulator.step(default + torch.tensor([[10.0], [-10.0]]))
    limit = torch.tensor(robot.torque_limit).float()
    torch.testing.assert_close(simulator.state.joint_torque, torch.stack([limit, -limit]))


def test_feet_carry_the_weight_of_a_standing_robot(build: Build, robot: RobotSpec) -> None:
    simulator = build(4)
    simulator.randomize(MASKED, nominal(4, added_mass=2.0))
    hold(simulator, 6.0)
    weight = GRAVITY * (robot.total_mass + 2.0 * MASKED)
    torch.testing.assert_close(simulator.state.foot_force.sum(1), weight.float(), rtol=0.01, atol=0)
    assert not simulator.state.penalized_contact.any()
    assert not simulator.state.termination_contact.any()


def test_a_shifted_centre_of_mass_loads_the_feet_on_its_side(build: Build) -> None:
    simulator = build(4)
    simulator.randomize(MASKED, nominal(4, com_shift=0.05))
    hold(simulator, 3.0)
    front = simulator.state.foot_force[:, :2].sum(1)
    assert (front[MASKED] > front[~MASKED] + 5.0).all()


def test_low_friction_makes_the_feet_of_the_masked_robots_slip(build: Build) -> None:
    simulator = build(4)
    simulator.randomize(MASKED, nominal(4, friction=0.1))
    hold(simulator, 1.0)
    before = simulator.state.foot_pos
    simulator.push(torch.tensor([[0.6, 0.0]]).repeat(4, 1))
    hold(simulator, 0.4)
    slipped = (simulator.state.foot_pos - before)[..., 0].mean(1)
    assert slipped[MASKED].min() > slipped[~MASKED].max() + 0.05


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


def test_a_robot_on_its_back_touches_with_its_base(build: Build) -> None:
    simulator = build(1)
    upside_down = pose(simulator, (0.0, 0.0, 0.2), (0.0, 1.0, 0.0, 0.0))
    simulator.reset(torch.ones(1, dtype=torch.bool), *upside_down)
    assert not simulator.state.termination_contact.any(), "still in the air"
    hold(simulator, 1.0)
    assert simulator.state.termination_contact.all()
    assert not simulator.state.failed.any()


def test_kneeling_touches_with_the_thighs_alone_and_a_foot_does_not_count(
    build: Build, robot: RobotSpec
) -> None:
    simulator = build(1)
    kneeling = torch.tensor([0.0, 0.0, -1.5] * 4)
    qpos, qvel = pose(simulator, (0.0, 0.0, 0.26))
    qpos[:, 7:] = kneeling
    simulator.reset(torch.ones(1, dtype=torch.bool), qpos, qvel)
    for _ in range(25):
        simulator.step(kneeling[None])
    knees = torch.tensor(["thigh" in name for name in robot.config.penalized_bodies])
    assert torch.equal(simulator.state.penalized_contact[0], knees)
    assert simulator.state.foot_force.max() > 1.0
    assert not simulator.state.termination_contact.any()


def test_a_loaded_state_continues_bit_for_bit(build: Build) -> None:
    latency = torch.tensor([0, 4, 2, 1])
    simulator = build(4)
    simulator.randomize(MASKED, nominal(4, added_mass=1.0, friction=0.5, armature_scale=1.5))
    walk(simulator, range(10), latency)
    saved = simulator.state_dict()
    walk(simulator, range(10, 20), latency)
    resumed = build(4)
    resumed.load_state_dict(saved)
    walk(resumed, range(10, 20), latency)
    assert_same_state(simulator, resumed)


def test_latency_keeps_the_previous_targets_for_that_many_substeps(build: Build) -> None:
    latency = torch.tensor([0, 1, 2, 4])
    simulator, substeps = build(4), build(4, decimation=1)
    previous = targets(simulator, 0, size=0.0)
    simulator.step(previous)
    for _ in range(4):
        substeps.step(previous)
    for step in range(15):
        current = targets(simulator, step)
        simulator.step(current, latency)
        for substep in range(4):
            substeps.step(torch.where((substep < latency)[:, None], previous, current))
        previous = current
    columns = slice(0, 1 + 19 + 18)  # time, qpos, qvel
    np.testing.assert_array_equal(rows(simulator)[:, columns], rows(substeps)[:, columns])
    assert torch.equal(simulator.state.joint_torque, substeps.state.joint_torque)


def test_latency_zero_equals_no_latency(build: Build) -> None:
    without = walk(build(3), range(20))
    zero = walk(build(3), range(20), torch.zeros(3, dtype=torch.int64))
    assert_same_state(without, zero)


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

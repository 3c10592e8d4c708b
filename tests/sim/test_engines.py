"""The CPU engines behind the `Simulator` protocol: resets, actuation, parameters, contacts, latency."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

import numpy as np
import pytest
import torch
from simulators import MASKED, Engine, assert_same_state, hold, nominal, pose, rows, targets, walk

from legged_ppo.config.schema import RobotConfig, SimConfig, TerrainConfig
from legged_ppo.errors import ConfigError
from legged_ppo.robots.spec import RobotSpec, load_robot
from legged_ppo.sim.factory import make_simulator
from legged_ppo.sim.mujoco_c import MujocoC
from legged_ppo.sim.simd.engine import Simd
from legged_ppo.terrain.grid import build_terrain

GRAVITY = 9.81


class Build(Protocol):
    def __call__(self, num_envs: int, **sim: object) -> Engine: ...


@pytest.fixture(scope="module")
def robot(robot_config: Callable[[str], RobotConfig]) -> RobotSpec:
    return load_robot(robot_config("go2"))


@pytest.fixture(params=[MujocoC, Simd])
def engine(request: pytest.FixtureRequest) -> type[Engine]:
    return request.param


@pytest.fixture
def build(robot: RobotSpec, engine: type[Engine]) -> Build:
    plane = build_terrain(TerrainConfig())

    def on_the_plane(num_envs: int, **sim: object) -> Engine:
        config = SimConfig(**{"threads": 1, **sim})  # type: ignore[arg-type]
        return engine(robot, plane, config, num_envs)

    return on_the_plane


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


def in_the_air(simulator: Engine) -> tuple[torch.Tensor, torch.Tensor]:
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
    robot_config: Callable[[str], RobotConfig], engine: type[Engine]
) -> None:
    config = robot_config("go2")
    config.kp, config.kd = [20.0 + j for j in range(12)], [0.5 + 0.1 * j for j in range(12)]
    ground = build_terrain(TerrainConfig())
    simulator = engine(load_robot(config), ground, SimConfig(threads=1, decimation=1), 4)
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
    columns = slice(0, 19 + 18)  # qpos and qvel; MuJoCo C has the time before them
    np.testing.assert_array_equal(rows(simulator)[:, columns], rows(substeps)[:, columns])
    assert torch.equal(simulator.state.joint_torque, substeps.state.joint_torque)


def test_latency_zero_equals_no_latency(build: Build) -> None:
    without = walk(build(3), range(20))
    zero = walk(build(3), range(20), torch.zeros(3, dtype=torch.int64))
    assert_same_state(without, zero)


def test_a_reset_renews_the_masked_robots_and_leaves_the_others_untouched(build: Build) -> None:
    reset, untouched, fresh = build(4), build(4), build(4)
    for simulator in (reset, untouched):
        walk(simulator, range(20))
    for simulator in (reset, fresh):
        simulator.reset(MASKED, *pose(simulator, (1.0, 2.0, 0.3)))
    for _ in range(2):
        assert_same_state(reset, untouched, ~MASKED)
        assert_same_state(reset, fresh, MASKED)
        for simulator in (reset, untouched, fresh):
            walk(simulator, range(5))


def test_only_the_masked_robots_get_new_parameters(build: Build) -> None:
    simulator, untouched = build(4), build(4)
    for each in (simulator, untouched):
        each.randomize(~MASKED, nominal(4, friction=0.5, added_mass=0.5, kp_scale=0.9))
    simulator.randomize(MASKED, nominal(4, friction=0.3, added_mass=1.5, kp_scale=1.1))
    for each in (simulator, untouched):
        walk(each, range(30))
    assert_same_state(simulator, untouched, ~MASKED)
    changed = simulator.state.joint_pos != untouched.state.joint_pos
    assert changed[MASKED].any(1).all()


def test_pushes_add_to_the_planar_world_velocity(build: Build) -> None:
    simulator = build(2)
    before = rows(simulator)
    simulator.push(torch.tensor([[0.3, -0.4], [0.0, 0.0]]))
    after = rows(simulator)
    changed = np.argwhere(after != before)
    assert changed[:, 0].tolist() == [0, 0]
    np.testing.assert_allclose((after - before)[0, changed[:, 1]], [0.3, -0.4], atol=1e-7)


def test_a_translation_moves_the_robot_and_what_was_measured_of_it(build: Build) -> None:
    simulator, still = walk(build(3), range(5)), walk(build(3), range(5))
    shift = torch.tensor([[6.0, 0.0], [0.0, -6.0], [0.0, 0.0]])
    simulator.translate(shift)
    offset = torch.nn.functional.pad(shift, (0, 1))
    for _ in range(2):
        moved, state = simulator.state, still.state
        torch.testing.assert_close(moved.base_pos, state.base_pos + offset)
        torch.testing.assert_close(moved.foot_pos, state.foot_pos + offset[:, None])
        torch.testing.assert_close(moved.joint_pos, state.joint_pos, atol=1e-3, rtol=0)
        for each in (simulator, still):  # the next reset reads the engine's memory again
            each.reset(torch.tensor([False, False, True]), *pose(each))


def test_a_failure_lasts_until_the_robots_own_reset(build: Build) -> None:
    simulator = build(4)
    qpos, qvel = pose(simulator)
    qvel[0, 8] = torch.nan
    simulator.reset(torch.tensor([True, False, False, False]), qpos, qvel)
    walk(simulator, range(1))
    assert all(value.isfinite().all() for value in vars(simulator.state).values())
    simulator.reset(MASKED, *pose(simulator))
    assert simulator.state.failed.tolist() == [True, False, False, False]
    simulator.reset(~MASKED, *pose(simulator))
    assert not simulator.state.failed.any()


def test_the_cpu_engines_refuse_a_gpu(robot: RobotSpec, engine: type[Engine]) -> None:
    name = "simd" if engine is Simd else "mujoco_c"
    with pytest.raises(
        ConfigError, match=f"sim.engine: got '{name}', expected mujoco_warp on cuda"
    ):
        make_simulator(
            SimConfig(engine=name), robot, build_terrain(TerrainConfig()), 1, torch.device("cuda")
        )


def test_auto_trains_in_lanes_or_on_mujoco_where_they_cannot_simulate_the_robot(
    robot: RobotSpec, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    plane, cpu = build_terrain(TerrainConfig()), torch.device("cpu")
    config = SimConfig(engine="auto", threads=1)
    assert isinstance(make_simulator(config, robot, plane, 1, cpu, training=True), Simd)
    assert not caplog.messages
    config = SimConfig(engine="auto", threads=1, cone="elliptic")
    assert isinstance(make_simulator(config, robot, plane, 1, cpu, training=True), MujocoC)
    assert "elliptic" in caplog.text


def test_the_recipe_chooses_the_engine(robot: RobotSpec, engine: type[Engine]) -> None:
    name = "simd" if engine is Simd else "auto"
    config, cpu = SimConfig(engine=name, threads=1), torch.device("cpu")
    simulator = make_simulator(config, robot, build_terrain(TerrainConfig()), 1, cpu)
    assert isinstance(simulator, engine)

"""Randomization: every range matters, an empty list changes nothing, pushes keep time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from legged_ppo.config.schema import Config, RandomizationConfig, RobotConfig
from legged_ppo.env.factory import make_locomotion_env
from legged_ppo.env.locomotion import LocomotionEnv
from legged_ppo.env.randomization import Randomization
from legged_ppo.robots.spec import load_robot

OFF = RandomizationConfig(
    friction=[],
    added_mass=[],
    com_shift=[],
    kp_scale=[],
    kd_scale=[],
    motor_strength=[],
    armature_scale=[],
    latency_s=[],
    push_interval_s=0.0,
    init_joint_pos=0.0,
    init_velocity=0.0,
)
NOMINAL = {
    "friction": 0.8,
    "added_mass": 0.0,
    "com_shift": 0.0,
    "kp_scale": 1.0,
    "kd_scale": 1.0,
    "motor_strength": 1.0,
}
Draw = Callable[..., Randomization]


@pytest.fixture
def draw(robot_config: Callable[[str], RobotConfig]) -> Draw:
    robot = load_robot(robot_config("go2"))

    def build(
        config: RandomizationConfig, num_envs: int = 500, num_bodies: int = 0
    ) -> Randomization:
        generator = torch.Generator().manual_seed(0)
        return Randomization(config, robot, num_envs, 0.02, 0.005, generator, num_bodies)

    return build


@pytest.mark.parametrize("name", NOMINAL)
def test_a_range_is_filled_and_an_empty_one_leaves_the_nominal_value(draw: Draw, name: str) -> None:
    low, high = NOMINAL[name] + 0.1, NOMINAL[name] + 0.3
    drawn = draw(replace(OFF, **{name: [low, high]}))
    for parameter, nominal in NOMINAL.items():
        values = getattr(drawn.parameters, parameter)
        if parameter == name:
            assert low <= values.min() < low + 0.01 and high - 0.01 < values.max() <= high
        else:
            torch.testing.assert_close(values, torch.full_like(values, nominal))
    told = drawn.privileged.std(dim=0) > 0
    assert told.sum() == (3 if name == "com_shift" else 1), "the critic is told what was drawn"
    assert not draw(OFF).privileged.any()


def test_only_masked_robots_draw_anew(draw: Draw) -> None:
    ranges = {name: [0.1, 2.0] for name in NOMINAL}
    delays = {"latency_s": [0.0, 0.02], "armature_scale": [0.5, 2.0]}
    randomization = draw(RandomizationConfig(**ranges, **delays))
    before = {k: v.clone() for k, v in randomization.state_dict().items()}
    told = randomization.privileged.clone()
    mask = torch.arange(500) < 250
    randomization.resample(mask)
    for name, value in randomization.state_dict().items():
        assert torch.equal(value[~mask], before[name][~mask]), name
        if name != "push_clock":
            assert not torch.equal(value[mask], before[name][mask]), name
    assert torch.equal((randomization.privileged != told).any(1), mask)


def test_armatures_are_drawn_within_their_range_and_without_one_not_at_all(draw: Draw) -> None:
    drawn = draw(replace(OFF, armature_scale=[0.5, 2.0]))
    values = drawn.parameters.armature_scale
    assert 0.5 <= values.min() < 0.51 and 1.98 < values.max() <= 2.0
    assert not drawn.privileged.any(), "the critic's inputs stay what they were"
    resumed = draw(replace(OFF, armature_scale=[1.0, 1.0]))
    resumed.load_state_dict(drawn.state_dict())
    assert torch.equal(resumed.parameters.armature_scale, values)
    off = draw(OFF)
    assert torch.equal(off.parameters.armature_scale, torch.ones(500))
    expected = torch.Generator().manual_seed(0)
    for width in (8, 1):  # parameters, push clocks
        torch.rand(500, width, generator=expected)
    assert torch.equal(off._generator.get_state(), expected.get_state())


def test_latency_is_drawn_in_whole_substeps_of_its_range(draw: Draw) -> None:
    assert draw(OFF).latency is None
    latency = draw(replace(OFF, latency_s=[0.004, 0.02])).latency
    assert latency is not None and latency.dtype == torch.int64
    assert latency.unique().tolist() == [1, 2, 3, 4]


def test_initial_states_spread_about_the_default_pose_above_the_tile(draw: Draw) -> None:
    origins = torch.tensor([[8.0, 24.0, 0.5]]).repeat(500, 1)
    config = replace(OFF, init_joint_pos=0.2, init_velocity=0.4)
    qpos, qvel = draw(config).initial_state(origins, torch.full((500,), 2.0))
    offset = qpos[:, :2] - origins[:, :2]
    assert 1.9 < offset.abs().max() <= 2.0
    torch.testing.assert_close(qpos[:, 2], torch.full((500,), 0.85))
    torch.testing.assert_close(qpos[:, 3:7].norm(dim=1), torch.ones(500))
    assert not qpos[:, 4:6].any(), "upright"
    heading = 2 * torch.atan2(qpos[:, 6], qpos[:, 3])
    assert heading.cos().min() < -0.9 and heading.cos().max() > 0.9
    default = torch.tensor(draw(OFF, 1)._robot.default_joint_pos).float()
    assert 0.19 < (qpos[:, 7:] - default).abs().max() <= 0.2 + 1e-6
    assert 0.39 < qvel[:, :6].abs().max() <= 0.4 and not qvel[:, 6:].any()
    still_pos, still_vel = draw(OFF).initial_state(origins, torch.zeros(500))
    assert torch.equal(still_pos[:, 7:], default.expand(500, 12)) and not still_vel.any()
    assert torch.equal(still_pos[:, :2], origins[:, :2])


def test_every_robot_is_pushed_once_per_interval_at_a_phase_of_its_own(draw: Draw) -> None:
    config = replace(OFF, push_interval_s=1.0, push_velocity=0.7)
    randomization, pushes = draw(config), []
    for _ in range(150):
        push = randomization.pushes()
        assert push is not None
        pushes.append(push)
    times = torch.stack(pushes).ne(0).any(-1)  # [steps, N]
    assert (times[:50].sum(0) == 1).float().mean() > 0.9  # float32 clocks may need 51 steps
    assert set(times.sum(0).tolist()) <= {2, 3, 4}
    first = times.float().argmax(0)
    assert first.unique().numel() > 40
    sizes = torch.stack(pushes).abs()
    assert 0.69 < sizes.max() <= 0.7
    gaps = [t.nonzero().flatten().diff() for t in times.T]
    assert all(((gap >= 50) & (gap <= 51)).all() for gap in gaps)


def test_an_interval_of_zero_switches_pushes_off(draw: Draw) -> None:
    assert draw(OFF).pushes() is None


def run(config: Config, randomization: RandomizationConfig, steps: int = 12) -> LocomotionEnv:
    config.task.randomization = randomization
    env = make_locomotion_env(config, 2, seed=0)
    env.start_episodes_together()
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        env.step(2.0 * torch.randn(2, 12, generator=generator))
    return env


CHANGES = [
    ("friction", [0.8, 0.8], [0.1, 0.1]),
    ("added_mass", [0.0, 0.0], [2.0, 2.0]),
    ("com_shift", [0.0, 0.0], [0.05, 0.05]),
    ("kp_scale", [1.0, 1.0], [0.8, 0.8]),
    ("kd_scale", [1.0, 1.0], [1.5, 1.5]),
    ("motor_strength", [1.0, 1.0], [0.8, 0.8]),
    ("armature_scale", [1.0, 1.0], [2.0, 2.0]),
    ("latency_s", [0.0, 0.0], [0.01, 0.01]),
    ("push_velocity", 0.0, 1.0),
    ("init_joint_pos", 0.0, 0.1),
    ("init_velocity", 0.0, 0.5),
]


@pytest.mark.parametrize(("name", "nominal", "other"), CHANGES)
def test_every_key_changes_how_the_robots_move(
    quiet: Config, name: str, nominal: object, other: object
) -> None:
    base = replace(OFF, push_interval_s=0.1)
    a = run(quiet, replace(base, **{name: nominal}))  # type: ignore[arg-type]
    b = run(quiet, replace(base, **{name: other}))  # type: ignore[arg-type]
    assert (a.simulator.state.joint_pos != b.simulator.state.joint_pos).any(1).all()


def test_a_push_changes_the_velocity_of_a_simulated_robot(quiet: Config) -> None:
    config = replace(OFF, push_interval_s=10.0, push_velocity=1.0)
    quiet.task.randomization = config
    env = make_locomotion_env(quiet, 4, seed=0)
    env.start_episodes_together()
    for _ in range(25):
        env.step(torch.zeros(4, 12))
    env.randomization.push_clock.copy_(torch.tensor([0.0, 9.99, 0.0, 9.99]))
    before = env.simulator.state.base_lin_vel
    env.step(torch.zeros(4, 12))
    change = (env.simulator.state.base_lin_vel - before)[:, :2].norm(dim=1)
    assert (change[[1, 3]] > 0.1).all() and (change[[0, 2]] < 0.05).all()
    assert (env.randomization.push_clock < 0.03).all()


def test_kept_bodies_are_what_robots_draw_from(draw: Draw) -> None:
    ranges = {name: [0.1, 2.0] for name in NOMINAL}
    randomization = draw(RandomizationConfig(**ranges, armature_scale=[0.5, 2.0]), num_bodies=20)
    bodies, robots = randomization.bodies, randomization.parameters
    assert bodies is not None and len(bodies.added_mass) == 20
    before = randomization.values.clone()
    mask = torch.arange(500) < 250
    randomization.resample(mask)
    chosen = robots.body
    assert chosen is not None and set(chosen[mask].tolist()) == set(range(20))
    for name in ("added_mass", "com_shift", "armature_scale"):
        assert torch.equal(getattr(robots, name)[mask], getattr(bodies, name)[chosen[mask]]), name
    assert torch.equal(randomization.values[~mask], before[~mask])
    for name in ("friction", "kp_scale", "kd_scale", "motor_strength"):
        assert len(getattr(robots, name)[mask].unique()) > 240, "drawn anew for every robot"

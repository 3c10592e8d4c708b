"""Reward terms by hand-computed values, and how the task adds them up."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable
from dataclasses import fields, replace

import pytest
import torch

from legged_ppo.config.schema import Config, GaitConfig, RewardConfig
from legged_ppo.env import locomotion, rewards
from legged_ppo.env.gait_clock import GaitClock
from legged_ppo.env.locomotion import LocomotionEnv
from legged_ppo.env.rewards import TERMS, RewardInputs

Kinematic = Callable[..., LocomotionEnv]
CONSTANTS = {
    "tracking_sigma": 0.25,
    "air_time_target": 0.15,
    "clearance_target": 0.08,
    "base_height_target": 0.30,
    "soft_joint_limit": 0.9,
}


def only(**weights: float) -> RewardConfig:
    """A `RewardConfig` of these weights; all others are 0."""
    return replace(RewardConfig(**dict.fromkeys(TERMS, 0.0)), **CONSTANTS, **weights)  # type: ignore[arg-type]


@pytest.fixture
def nominal(quiet: Config, kinematic: Kinematic) -> RewardInputs:
    """One robot at rest on its feet, asked to walk forward at 0.5 m/s."""
    env = kinematic(quiet, 1)
    default = torch.tensor(env.robot.default_joint_pos).float()
    clock = GaitClock(GaitConfig(frequency=2.0), 1, 4, 0.02, torch.Generator())
    clock.phase.fill_(0.25)  # FL and RR in the middle of their swing
    return RewardInputs(
        state=env.simulator.state,
        config=only(),
        command=torch.tensor([[0.5, 0.0, 0.0]]),
        path_velocity=torch.zeros(1),
        projected_gravity=torch.tensor([[0.0, 0.0, -1.0]]),
        action=torch.zeros(1, 12),
        last_action=torch.zeros(1, 12),
        last_joint_vel=torch.zeros(1, 12),
        last_foot_force=torch.full((1, 4), 40.0),
        air_time=torch.zeros(1, 4),
        duty=torch.ones(1, 4),
        landed=torch.zeros(1, 4, dtype=torch.bool),
        contact=torch.ones(1, 4, dtype=torch.bool),
        base_height=torch.tensor([0.3]),
        foot_height=torch.full((1, 4), 0.08),
        default_joint_pos=default,
        soft_limits=torch.stack([default - 0.5, default + 0.5], dim=1),
        gait=clock,
        foot_radius=torch.full((4,), 0.02),
        fell=torch.zeros(1, dtype=torch.bool),
        dt=0.02,
    )


def swing(x: RewardInputs) -> None:
    x.landed[0, 1], x.air_time[0, 1] = True, 0.25
    x.air_time[0, 2] = 0.25  # still in the air


def track(x: RewardInputs) -> None:
    x.state.base_lin_vel[0] = torch.tensor([0.4, 9.0, 9.0])
    x.state.base_ang_vel[0, 2] = 0.3


def slide(x: RewardInputs) -> None:
    x.state.foot_vel[0, 0] = torch.tensor([0.3, 0.4, 9.0])
    x.state.foot_vel[0, 1], x.contact[0, 1] = 1.0, False


def touch_down(x: RewardInputs) -> None:
    x.landed[0, 0] = True
    x.state.foot_vel[0, :2] = torch.tensor([0.3, 0.0, -math.sqrt(0.41)])


def lift(x: RewardInputs) -> None:
    x.foot_height[0, 3] = 0.05
    x.state.foot_vel[0, :, :2] = torch.tensor([0.3, 0.4])


def miss(x: RewardInputs) -> None:
    x.foot_height[0] = torch.tensor([0.02, -0.02, -0.02, 0.0])
    x.contact[0, 2] = False  # over the hole


def press(x: RewardInputs) -> None:
    x.state.foot_force[0] += torch.tensor([10.0, -5.0, 0.0, 0.0])


def load(x: RewardInputs) -> None:
    x.state.joint_torque[0, :2] = torch.tensor([3.0, -4.0])
    x.state.joint_vel[0, :3] = torch.tensor([-2.0, -0.5, 7.0])


def bend(x: RewardInputs) -> None:
    x.state.joint_pos[0, :2] += torch.tensor([0.6, -0.8])


def fill(name: str, *values: float) -> Callable[[RewardInputs], None]:
    """Write these values into the first columns of `state.<name>` or else of the input `name`."""

    def change(x: RewardInputs) -> None:
        tensor = getattr(x.state, name, None)
        tensor = getattr(x, name) if tensor is None else tensor
        tensor[0, : len(values)] = torch.tensor(values, dtype=tensor.dtype)

    return change


def stop_and_bend(x: RewardInputs) -> None:
    x.command.zero_()
    bend(x)


def stop_and_step(x: RewardInputs) -> None:
    x.command.zero_()
    x.contact[0] = torch.tensor([True, False, False, True])


CASES: dict[str, tuple[Callable[[RewardInputs], object], float]] = {
    "tracking": (track, 0.5 - 0.1 - 0.3),
    "tracking_lin_vel": (fill("base_lin_vel", 0.5, 0.25, 1.0), 0.77880),  # exp(-1/4)
    "tracking_ang_vel": (fill("base_ang_vel", 1.0, 1.0, -0.5), 0.36788),  # exp(-1)
    "progress": (lambda x: x.path_velocity.fill_(0.2), 0.4),  # of 0.5
    "lin_vel_z": (fill("base_lin_vel", 1.0, 1.0, -0.3), 0.09),
    "ang_vel_xy": (fill("base_ang_vel", 0.3, -0.4, 9.0), 0.25),
    "orientation": (fill("projected_gravity", 0.48, 0.36, -0.8), 0.36),
    "base_height": (lambda x: x.base_height.fill_(0.2), 0.01),
    "torques": (load, 25.0),
    "work": (load, 8.0),
    "joint_acceleration": (fill("joint_vel", 0.1, -0.2), 125.0),
    "action_rate": (fill("action", 0.5, -1.0), 1.25),
    "feet_air_time": (swing, 5.0),  # (0.25 s - 0.15 s) / 0.02 s
    "feet_balance": (fill("duty", 0.5, 0.5, 0.5, 0.1), 0.03),
    "feet_slip": (slide, 0.25),
    "feet_drag": (slide, 0.7),
    "foot_jerk": (press, 15.0),
    "foot_clearance": (lift, 0.00045),
    "collision": (fill("penalized_contact", 0, 1, 1), 2.0),
    "joint_limits": (bend, 0.4),
    "survival": (lambda x: x.fell.fill_(True), 0.0),
    "posture": (bend, 1.0),
    "stand_still": (stop_and_bend, 1.4),
    "stand_contact": (stop_and_step, 2.0),
    "gait_phase": (lambda x: x.contact.copy_(torch.tensor([[False, True, True, False]])), 1.0),
    "swing_height": (lambda x: x.foot_height.fill_(0.055), 0.5),  # 2 (0.035 - 0.07)^2 / 0.07^2
    "foothold": (miss, 1.0),
    "landing": (touch_down, 0.5),
}


@pytest.mark.parametrize("term", TERMS)
def test_a_term_changes_with_its_cause_to_the_value_computed_by_hand(
    nominal: RewardInputs, term: str
) -> None:
    cause, expected = CASES[term]
    before = float(TERMS[term](nominal))
    cause(nominal)
    after = TERMS[term](nominal)
    assert after.shape == (1,)
    assert float(after) == pytest.approx(expected, rel=1e-4, abs=1e-7)
    assert float(after) != pytest.approx(before)


@pytest.mark.parametrize(
    ("velocity", "cost", "expected"),
    [(0.4, 1.0, 0.8), (0.6, 0.0, 1.0), (0.6, 1.0, 0.8), (0.6, 0.5, 0.9), (9.0, 1.0, -1.0)],
)
def test_progress_pays_as_little_for_too_much_as_for_too_little_where_that_costs(
    nominal: RewardInputs, velocity: float, cost: float, expected: float
) -> None:
    nominal.config.overshoot_cost = cost
    nominal.path_velocity.fill_(velocity)  # 0.5 m/s is asked for
    assert float(TERMS["progress"](nominal)) == pytest.approx(expected)


def test_air_time_is_paid_up_to_twice_the_target_and_only_on_the_move(
    nominal: RewardInputs,
) -> None:
    nominal.landed[0, 0] = True
    paid = []
    for seconds in (0.05, 0.15, 0.2, 0.3, 5.0):
        nominal.air_time[0, 0] = seconds
        paid.append(float(rewards.feet_air_time(nominal)) * nominal.dt)
    assert paid == pytest.approx([0.0, 0.0, 0.05, 0.15, 0.15], abs=1e-6)
    nominal.command.zero_()
    assert rewards.feet_air_time(nominal) == 0.0
    nominal.command[0, 2] = -0.5
    assert rewards.feet_air_time(nominal) > 0.0, "turning is moving"


def test_unlimited_joints_cost_nothing(nominal: RewardInputs) -> None:
    nominal.soft_limits = torch.tensor([-torch.inf, torch.inf]).repeat(12, 1)
    assert rewards.joint_limits(nominal) == 0.0


def test_every_reward_key_is_read() -> None:
    names = {field.name for field in fields(RewardConfig)}
    assert set(TERMS) <= names
    source = inspect.getsource(rewards) + inspect.getsource(locomotion)
    for constant in names - set(TERMS):
        assert re.search(rf"(config|rewards)\.{constant}\b", source), constant


def disturbed(kinematic: Kinematic, config: Config, weights: RewardConfig) -> LocomotionEnv:
    """Two robots, one asked to walk, one to stand, after 0.2 s in which every term has a cause."""
    config.task.rewards = weights
    env = kinematic(config, 2)
    env.start_episodes_together()
    env.commands.command.copy_(torch.tensor([[0.5, 0.2, 0.3], [0.0, 0.0, 0.0]]))
    state = env.simulator.state
    state.base_pos[:, 2] += 0.1
    state.foot_pos[:, 2, 2] = -0.05
    state.base_quat = torch.tensor([[0.98, 0.1, 0.1, 0.14]]).repeat(2, 1)
    for name in ("base_lin_vel", "base_ang_vel", "joint_vel", "joint_torque", "foot_vel"):
        setattr(state, name, torch.full_like(getattr(state, name), 0.3))
    state.joint_pos = state.joint_pos + 1.5
    state.penalized_contact[:, 2] = True
    state.foot_force = torch.tensor([[0.0, 40.0, 40.0, 40.0]]).repeat(2, 1)
    for _ in range(9):
        env.step(torch.zeros(2, 12))
    state.foot_force = torch.tensor([[60.0, 60.0, 60.0, 60.0], [60.0, 60.0, 60.0, 0.0]])
    state.joint_vel = state.joint_vel + 0.1
    return env


def last_reward(env: LocomotionEnv) -> torch.Tensor:
    return env.step(torch.full((2, 12), 0.5)).reward


@pytest.mark.parametrize("term", TERMS)
def test_a_weight_multiplies_its_own_term(quiet: Config, kinematic: Kinematic, term: str) -> None:
    once = last_reward(disturbed(kinematic, quiet, only(**{term: 0.5})))
    env = disturbed(kinematic, quiet, only(**{term: -1.0}))
    assert env.reward_terms == {term: -1.0}
    torch.testing.assert_close(last_reward(env), -2.0 * once)
    assert once.any()


def test_terms_add_up_and_are_per_second(quiet: Config, kinematic: Kinematic) -> None:
    weights = only(survival=2.0, collision=-3.0)
    reward = last_reward(disturbed(kinematic, quiet, weights))
    torch.testing.assert_close(reward, torch.full((2,), (2.0 - 3.0) * 0.02))


def test_episode_sums_of_the_terms_add_up_to_the_return(
    quiet: Config, kinematic: Kinematic
) -> None:
    env = disturbed(kinematic, quiet, only(**dict.fromkeys(TERMS, 0.01)))
    env.simulator.state.termination_contact[0] = True
    info = env.step(torch.full((2, 12), 0.5)).info["episode"]
    sums = dict(zip(env.episode_metrics, info, strict=True))
    terms = [value for name, value in sums.items() if name.startswith("Episode/rew_")]
    assert len(terms) == len(TERMS) and sum(term != 0 for term in terms) >= len(TERMS) - 2
    torch.testing.assert_close(sum(terms), sums["return"], rtol=1e-4, atol=1e-5)


def test_only_positive_clips_the_sum_but_not_the_price_of_a_fall(
    quiet: Config, kinematic: Kinematic
) -> None:
    costs = only(collision=-3.0, survival=1.0)
    assert (last_reward(disturbed(kinematic, quiet, costs)) < 0).all()
    clipped = replace(costs, only_positive=True, termination=-5.0)
    assert torch.equal(last_reward(disturbed(kinematic, quiet, clipped)), torch.zeros(2))
    env = disturbed(kinematic, quiet, clipped)
    env.simulator.state.termination_contact[1] = True
    assert last_reward(env).tolist() == [0.0, -5.0]
    earns = replace(clipped, survival=9.0)
    torch.testing.assert_close(
        last_reward(disturbed(kinematic, quiet, earns)), torch.full((2,), 6.0 * 0.02)
    )


def test_a_time_out_does_not_pay_the_price_of_a_fall(quiet: Config, kinematic: Kinematic) -> None:
    env = disturbed(kinematic, quiet, only(termination=-5.0, survival=1.0))
    env.episode_length[0] = env.max_episode_length - 1
    result = env.step(torch.zeros(2, 12))
    assert result.truncated.tolist() == [True, False]
    torch.testing.assert_close(result.reward, torch.full((2,), 0.02))

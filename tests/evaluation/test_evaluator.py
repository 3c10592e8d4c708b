"""What evaluation promises: reproducible figures of first episodes, with the stated meanings."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from legged_ppo.config.schema import Config
from legged_ppo.env.factory import make_locomotion_env
from legged_ppo.evaluation.evaluator import (
    EpisodeMeter,
    collect_episodes,
    evaluate_policy,
    evaluation_config,
)
from legged_ppo.evaluation.statistics import interval_name, ratio_figure, summarize
from legged_ppo.interface import StepResult
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.models.recurrent_policy import RecurrentPolicy
from legged_ppo.runtime.intervals import wilson_interval
from legged_ppo.sim.mujoco_c import MujocoC

FIGURES = [
    "episodes",
    "success_rate",
    "success_ci95",
    "displacement_m",
    "displacement_ci95",
    "time_to_fall_s",
    "time_to_fall_ci95",
    "lin_vel_error",
    "lin_vel_error_ci95",
    "yaw_rate_error",
    "yaw_rate_error_ci95",
    "cost_of_transport",
    "cost_of_transport_ci95",
]


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (5, 10, 0.2366, 0.7634),
        (81, 263, 0.2553, 0.3662),
    ],
)
def test_wilson_interval_has_the_published_values(
    successes: int, trials: int, low: float, high: float
) -> None:
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=1e-4)


def test_the_interval_of_a_mean_is_the_normal_one_and_needs_two_episodes() -> None:
    values = np.array([1.0, 2.0, 4.0, 9.0])
    half = 1.959964 * values.std(ddof=1) / 2.0
    assert ratio_figure(values, np.ones(4)) == (4.0, pytest.approx([4.0 - half, 4.0 + half]))  # type: ignore[comparison-overlap]
    assert ratio_figure(values[:1], np.ones(1)) == (1.0, None)
    assert ratio_figure(values, np.zeros(4)) == (None, None)


def test_the_interval_of_a_pooled_mean_covers_the_truth_in_95_of_100_evaluations() -> None:
    """Episodes of different lengths and different errors: those of many steps weigh more."""
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        steps = rng.integers(50, 1000, 100).astype(np.float64)
        errors = steps * rng.gamma(
            2.0, 0.1, 100
        )  # each episode has an error of its own, 0.2 in the mean
        _, interval = ratio_figure(errors, steps)
        assert interval is not None
        covered += interval[0] < 0.2 < interval[1]
    assert 0.92 < covered / 2000 < 0.965  # 0.005 is the standard deviation of this share


def test_the_same_seed_gives_the_same_figures_and_another_seed_others(
    config: Config, make_policy: Callable[..., ActorCritic]
) -> None:
    policy = make_policy(config)
    first, again, other = (
        evaluate_policy(policy, config, 8, seed, stochastic=True) for seed in (5, 5, 6)
    )
    assert first == again
    assert first["overall"]["lin_vel_error"] != other["overall"]["lin_vel_error"]


def test_figures_are_given_overall_and_by_terrain_type_and_level(
    config: Config, make_policy: Callable[..., ActorCritic]
) -> None:
    result = evaluate_policy(make_policy(config), config, 10, seed=1, num_envs=4)
    assert list(result) == ["overall", "terrain", "terrain_cells", "terrain_fingerprint"]
    assert list(result["terrain"]) == ["flat", "rough"]
    groups = [result["overall"]]
    for group in result["terrain"].values():
        assert list(group) == ["all", "levels", "features"]
        assert sum(g["episodes"] for g in group["levels"].values()) == group["all"]["episodes"]
        groups += [group["all"], *group["levels"].values()]
    assert list(result["terrain"]["rough"]["levels"]) == ["0", "1"]
    assert list(result["terrain"]["flat"]["levels"]) == ["0"]  # the same plane at both levels
    assert result["terrain"]["flat"]["features"] == {"0": ""}
    low, high = (f"{100 * height:g} cm" for height in config.terrain.roughness)
    assert result["terrain"]["rough"]["features"] == {"0": low, "1": high}
    assert all(list(figures) == FIGURES for figures in groups)
    assert result["overall"]["episodes"] == 10  # three rounds: 4 + 4 + 2
    for figures in groups:
        for name in FIGURES[3::2]:
            if figures[name] is not None and figures["episodes"] > 1:
                low, high = figures[interval_name(name)]
                assert low <= figures[name] <= high


def test_evaluation_leaves_the_recipe_and_the_global_generator_alone(
    config: Config, make_policy: Callable[..., ActorCritic]
) -> None:
    policy = make_policy(config)
    before, state = config.task.randomization.push_interval_s, torch.get_rng_state()
    evaluate_policy(policy, config, 2, seed=1, stochastic=True)
    assert config.task.randomization.push_interval_s == before
    assert config.task.episode_length_s == 1.5
    assert torch.equal(torch.get_rng_state(), state)


def test_standing_still_fails_a_command_to_move_and_meets_a_command_to_stand(
    config: Config, make_policy: Callable[..., ActorCritic]
) -> None:
    policy = make_policy(config)
    moving = evaluate_policy(policy, config, 4, seed=1, command=(1.0, 0.0, 0.0))["overall"]
    assert moving["time_to_fall_s"] == pytest.approx(1.5)  # it never fell
    assert moving["success_rate"] == 0.0
    assert moving["lin_vel_error"] == pytest.approx(1.0, abs=0.15)
    standing = evaluate_policy(policy, config, 4, seed=1, command=(0.0, 0.0, 0.0))["overall"]
    assert standing["success_rate"] == 1.0
    assert standing["lin_vel_error"] < 0.3


def test_a_fall_ends_the_measurement_of_its_robot_alone(config: Config) -> None:
    """Robot 0 folds its legs away and falls; its next episode must not count."""
    config.task.max_tilt = 0.5
    env = make_locomotion_env(evaluation_config(config), 4, 3)
    env.start_episodes_together()
    start = env.simulator.state.base_pos[:, :2].clone()
    meter, fall_step, position = EpisodeMeter(env), 0, start[0]
    folded = torch.zeros(4, env.num_actions)
    folded[0, [1, 2, 4, 5]] = torch.tensor([8.0, -8.0, 8.0, -8.0])  # it dives over its front legs
    for step in range(1, env.max_episode_length):
        if meter.alive[0]:
            position = env.simulator.state.base_pos[0, :2].clone()
        result = env.step(folded)
        meter.add(env, result)
        if result.terminated[0] and not fall_step:
            fall_step = step
    assert 0 < fall_step < 60
    episodes = meter.episodes(env)
    assert episodes.fell.tolist() == [True, False, False, False]
    np.testing.assert_allclose(episodes.duration, [fall_step * env.dt, 1.5, 1.5, 1.5], rtol=1e-12)
    assert episodes.steps[0] == fall_step - 1
    assert not episodes.success[0]
    expected = float((position - start[0]).norm())
    assert episodes.displacement[0] == pytest.approx(expected, abs=1e-4)
    assert summarize(episodes)["time_to_fall_s"] == pytest.approx((fall_step * env.dt + 4.5) / 4)


def test_forward_displacement_is_along_the_heading_of_the_start(config: Config) -> None:
    """A robot that walks backwards, round a corner or sideways gets as little forward as that."""
    env = make_locomotion_env(evaluation_config(config), 4, 3)
    env.start_episodes_together()
    yaw, start = env.survey.yaw.clone(), env.position.clone()
    meter = EpisodeMeter(env)
    ahead = torch.stack([torch.cos(yaw), torch.sin(yaw)], dim=1)
    left = torch.stack([-torch.sin(yaw), torch.cos(yaw)], dim=1)
    forward, sideways = torch.tensor([1.0, -1.0, 0.0, 0.3]), torch.tensor([0.0, 0.0, 2.0, -0.4])
    result = env.step(torch.zeros(4, env.num_actions))
    env.survey.yaw = env.survey.yaw + 1.0  # where they look in the end does not count
    here = env.simulator.state.base_pos[:, :2]
    here[:] = start + env.placement.wrapped + forward[:, None] * ahead + sideways[:, None] * left
    meter.add(env, result)
    episodes = meter.episodes(env)
    np.testing.assert_allclose(episodes.forward, forward.numpy(), atol=1e-5)
    np.testing.assert_allclose(episodes.displacement, [1.0, 1.0, 2.0, 0.5], atol=1e-5)


def test_a_robot_commanded_to_stand_must_not_walk_away_or_turn(config: Config) -> None:
    env = make_locomotion_env(evaluation_config(config), 4, 3)
    env.commands.fix((0.0, 0.0, 0.0))
    env.start_episodes_together()
    start = env.position.clone()
    meter = EpisodeMeter(env)
    result = env.step(torch.zeros(4, env.num_actions))
    here, spin = env.simulator.state.base_pos[:, :2], env.simulator.state.base_ang_vel[:, 2]
    here[:] = start + env.placement.wrapped
    here[1, 0] += 0.6
    spin[:] = torch.tensor([0.0, 0.0, 0.7, -0.5]) / env.dt  # rad in this step
    meter.add(env, result)
    assert meter.episodes(env).success.tolist() == [True, False, False, True]


def test_turning_on_the_spot_succeeds_by_the_turn_alone(config: Config) -> None:
    env = make_locomotion_env(evaluation_config(config), 3, 3)
    env.commands.fix((0.0, 0.0, 100.0))  # 2 rad in a step
    env.start_episodes_together()
    meter = EpisodeMeter(env)
    result = env.step(torch.zeros(3, env.num_actions))
    env.simulator.state.base_ang_vel[:, 2] = torch.tensor([2.0, 1.0, 0.0]) / env.dt
    meter.add(env, result)
    assert meter.episodes(env).success.tolist() == [True, True, False]


def test_the_measured_sums_are_those_of_a_plain_loop(config: Config) -> None:
    """Errors, work and path of robots that do not fall, against a float64 accumulation."""
    env = make_locomotion_env(evaluation_config(config), 3, 2)
    env.start_episodes_together()
    meter = EpisodeMeter(env)
    generator = torch.Generator().manual_seed(0)
    error, work, path = (np.zeros(3) for _ in range(3))
    last = env.simulator.state.base_pos.numpy()[:, :2].astype(np.float64)
    for _ in range(env.max_episode_length - 1):
        command = env.commands.command.clone()
        meter.add(env, env.step(0.3 * torch.randn(3, env.num_actions, generator=generator)))
        state = env.simulator.state
        error += (state.base_lin_vel[:, :2] - command[:, :2]).norm(dim=1).numpy()
        work += (state.joint_torque * state.joint_vel).abs().sum(1).numpy() * env.dt
        now = state.base_pos.numpy()[:, :2].astype(np.float64)
        path += np.linalg.norm(now - last, axis=1)
        last = now
    episodes = meter.episodes(env)
    assert not episodes.fell.any()
    np.testing.assert_allclose(episodes.lin_vel_error, error, rtol=1e-5)
    np.testing.assert_allclose(episodes.work, work, rtol=1e-5)
    np.testing.assert_allclose(episodes.path, path, rtol=1e-5)
    assert episodes.steps.tolist() == [75.0] * 3
    cost = work.sum() / (9.81 * (episodes.mass * path).sum())
    assert summarize(episodes)["cost_of_transport"] == pytest.approx(cost, rel=1e-4)


def test_no_time_limit_inside_the_measurement_resets_a_robot(config: Config) -> None:
    """The episode's last step is measured in its own state, not in the next episode's first."""
    env = make_locomotion_env(evaluation_config(config), 2, 0)
    env.start_episodes_together()
    for _ in range(env.max_episode_length - 1):
        result = env.step(torch.zeros(2, env.num_actions))
        assert not result.truncated.any()
    assert env.max_episode_length - 1 == 75
    assert env.step(torch.zeros(2, env.num_actions)).truncated.all()


def test_memory_is_zeroed_exactly_where_an_episode_ended(
    config: Config, make_policy: Callable[..., ActorCritic]
) -> None:
    policy = make_policy(config)
    env = make_locomotion_env(config, 3, 0)
    obs = env.start_episodes_together()
    actor = RecurrentPolicy(policy, 3, env.device)
    actor.act(obs)
    result = env.step(actor.act(obs))
    state = actor.state.clone()
    ended = torch.tensor([False, True, False])
    nothing = torch.zeros(3)
    actor.note_ends(StepResult(obs, nothing, ended, torch.zeros_like(ended), obs, {}))
    actor.act(result.obs)
    fresh = RecurrentPolicy(policy, 3, env.device)
    fresh.act(result.obs)
    torch.testing.assert_close(actor.state[:, 1], fresh.state[:, 1])
    carried = RecurrentPolicy(policy, 3, env.device)
    carried.state, carried.starts = state, torch.zeros(3, dtype=torch.bool)
    carried.act(result.obs)
    torch.testing.assert_close(actor.state[:, [0, 2]], carried.state[:, [0, 2]])


def test_stochastic_evaluation_samples_the_actions(
    config: Config, make_policy: Callable[..., ActorCritic]
) -> None:
    policy = make_policy(config)
    mode, _ = collect_episodes(policy, config, 2, seed=4)
    sampled, _ = collect_episodes(policy, config, 2, seed=4, stochastic=True)
    assert sampled.work.sum() > 2 * mode.work.sum()


def test_contacts_that_were_lost_are_a_warning(
    config: Config,
    make_policy: Callable[..., ActorCritic],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    policy = make_policy(config)
    evaluate_policy(policy, config, 2, seed=1)
    assert not caplog.records
    lost = {"Sim/overflows": torch.tensor(1)}
    monkeypatch.setattr(MujocoC, "metrics", lambda _: lost)
    evaluate_policy(policy, config, 2, seed=1)
    (record,) = caplog.records
    assert "contacts of 1 of 2 robots did not fit" in record.message

"""The control step: observations, ends of episodes, failures, determinism, resume, accounts."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from rollouts import actions, assert_same_results, rollout

from legged_ppo.config.schema import Config, RewardConfig
from legged_ppo.env.factory import make_locomotion_env
from legged_ppo.env.locomotion import LocomotionEnv
from legged_ppo.env.rewards import TERMS
from legged_ppo.interface import StepResult
from legged_ppo.sim.rotations import from_yaw, wrap_to_pi
from legged_ppo.terrain.grid import build_terrain

Kinematic = Callable[..., LocomotionEnv]


def metric(env: LocomotionEnv, result: StepResult, name: str) -> float:
    if name in env.step_metrics:
        return float(result.info["step"][env.step_metrics.index(name)])
    return float(result.info["episode"][env.episode_metrics.index(name)])


def test_results_have_the_promised_shapes_and_types_and_are_finite(busy: Config) -> None:
    env = make_locomotion_env(busy, 6, seed=0)
    first = env.reset()
    kept = {name: group.clone() for name, group in first.items()}
    for obs in (first, *(result.obs for result in rollout(env, range(40)))):
        assert {name: group.shape[1] for name, group in obs.items()} == env.obs_dims
        assert all(group.shape[0] == 6 and group.isfinite().all() for group in obs.values())
        assert all(group.dtype == torch.float32 for group in obs.values())
    dims = {"proprioception": 46, "commands": 3, "scandots": 16, "extrinsics": 8, "privileged": 16}
    assert env.obs_dims == dims
    assert all(torch.equal(first[name], kept[name]) for name in kept), "later steps write elsewhere"
    result = env.step(torch.zeros(6, 12))
    assert result.terminated.dtype == result.truncated.dtype == torch.bool
    assert result.reward.shape == (6,) and result.reward.isfinite().all()
    assert result.info["episode"].shape == (len(env.episode_metrics),)
    assert result.info["step"].shape == (len(env.step_metrics),)
    assert env.episode_metrics[:3] == ["count", "return", "length"]


def test_episode_clocks_are_spread_after_a_reset(quiet: Config) -> None:
    env = make_locomotion_env(quiet, 64, seed=0)
    env.reset()
    clock = env.episode_length.float() / env.max_episode_length
    assert clock.min() >= 0.0 and clock.max() < 1.0
    assert clock.mean() == pytest.approx(0.5, abs=0.15)  # 4 standard deviations
    assert clock.unique().numel() > 50
    env.start_episodes_together()
    assert not env.episode_length.any()


def test_an_episode_times_out_after_its_length_and_starts_anew(quiet: Config) -> None:
    quiet.task.episode_length_s = 0.2
    env = make_locomotion_env(quiet, 3, seed=0)
    env.start_episodes_together()
    for result in rollout(env, range(9), size=0.1):
        assert not (result.terminated | result.truncated).any()
    result = rollout(env, range(9, 10), size=0.1)[0]
    assert result.truncated.all() and not result.terminated.any()
    assert metric(env, result, "count") == 3 and metric(env, result, "length") == 30
    assert metric(env, result, "Episode/fall_rate") == 0
    assert not env.episode_length.any()


def test_a_fall_at_the_time_limit_is_a_fall_alone(quiet: Config, kinematic: Kinematic) -> None:
    env = kinematic(quiet, 2)
    env.start_episodes_together()
    env.episode_length[:] = env.max_episode_length - 1
    env.simulator.state.termination_contact[0] = True
    result = env.step(torch.zeros(2, 12))
    assert result.terminated.tolist() == [True, False]
    assert result.truncated.tolist() == [False, True]
    assert metric(env, result, "Episode/fall_rate") == 1 and metric(env, result, "count") == 2


def test_a_tilt_beyond_the_limit_is_a_fall(quiet: Config, kinematic: Kinematic) -> None:
    env = kinematic(quiet, 4)
    env.start_episodes_together()
    tilts = torch.tensor([0.0, 0.95, 1.05, math.pi])
    zero = torch.zeros(4)
    env.simulator.state.base_quat = torch.stack(
        [torch.cos(tilts / 2), torch.sin(tilts / 2), zero, zero], dim=1
    )
    result = env.step(torch.zeros(4, 12))
    assert result.terminated.tolist() == [False, False, True, True]


def test_final_obs_differ_from_obs_only_where_an_episode_ended(busy: Config) -> None:
    env = make_locomotion_env(busy, 8, seed=0)
    env.reset()
    mixed = 0
    for result in rollout(env, range(40)):
        done = result.terminated | result.truncated
        mixed += int(done.any() and not done.all())
        for name, group in result.obs.items():
            same = (group == result.final_obs[name]).all(1)
            assert same[~done].all(), name
            assert not same[done].any() or name == "commands"
    assert mixed > 3


def test_a_reset_clears_actions_and_history_of_the_robots_that_ended(
    quiet: Config, kinematic: Kinematic
) -> None:
    env = kinematic(quiet, 3)
    env.start_episodes_together()
    env.simulator.state.foot_force[:, 0] = 0.0
    env.simulator.state.joint_vel[:] = 1.0
    for _ in range(5):
        env.step(torch.ones(3, 12))
    ended = torch.tensor([False, True, False])
    env.simulator.state.termination_contact = ended
    result = env.step(torch.full((3, 12), 2.0))
    last_action = slice(30, 42)
    assert (result.final_obs["proprioception"][:, last_action] == 2.0).all()
    assert (result.obs["proprioception"][ended, last_action] == 0.0).all()
    assert (result.obs["proprioception"][~ended, last_action] == 2.0).all()
    buffers = env.owned_tensors() | env.feet.owned_tensors() | env.statistics.owned_tensors()
    buffers["last_action"] = env.last_action
    for name in buffers.keys() - {"duty", "last_foot_force"}:
        buffer = buffers[name].reshape(3, -1)
        assert not buffer[ended].any() and buffer[~ended].any(), name
    assert env.feet.last_foot_force[:, 0].tolist() == [0.0, 40.0, 0.0]
    assert torch.equal(env.simulator.randomized, ended)  # type: ignore[attr-defined]


def test_a_reset_clears_the_distance_of_the_robots_that_ended(
    quiet: Config, kinematic: Kinematic
) -> None:
    env = kinematic(quiet, 3)
    env.start_episodes_together()
    env.simulator.state.base_pos[:, 0] += 1.0
    env.simulator.state.termination_contact = torch.tensor([False, True, False])
    env.step(torch.zeros(3, 12))
    assert env.placement.farthest.tolist() == pytest.approx([1.0, 0.0, 1.0], abs=1e-5)


def test_a_robot_that_crosses_an_edge_leaves_the_distances_of_others(
    quiet: Config, kinematic: Kinematic
) -> None:
    env = kinematic(quiet, 3)
    env.start_episodes_together()
    size = quiet.terrain.tile_size
    for robot in (0, 1):
        env.simulator.state.base_pos[robot, 0] += 0.6 * size
        env.step(torch.zeros(3, 12))
    assert env.placement.wrapped[:, 0].tolist() == [-size, -size, 0.0]
    walked = (env.position - env.placement.start)[:, 0].tolist()
    assert walked == pytest.approx([0.6 * size, 0.6 * size, 0.0], abs=1e-4)


def test_actions_are_clipped_and_move_the_targets_from_the_default_pose(
    quiet: Config, kinematic: Kinematic
) -> None:
    quiet.task.action_clip = 2.0
    env = kinematic(quiet, 2)
    env.start_episodes_together()
    env.step(torch.tensor([[0.5], [-7.0]]).expand(2, 12))
    offset = env.simulator.targets - torch.tensor(quiet.robot.default_joint_pos)  # type: ignore[attr-defined]
    torch.testing.assert_close(offset, torch.tensor([[0.125], [-0.5]]).expand(2, 12))
    assert (env.action[1] == -2.0).all()


def test_noise_reaches_what_sensors_measure_and_never_the_critic(quiet: Config) -> None:
    env = make_locomotion_env(quiet, 4, seed=0)
    env.start_episodes_together()
    first, second = env._observe(), env._observe()
    assert all(torch.equal(first[name], second[name]) for name in first)
    quiet.task.observations.noise = True
    noisy = make_locomotion_env(quiet, 4, seed=0)
    noisy.start_episodes_together()
    first = noisy._observe()
    noisy.survey.take()
    noisy.scandots.step(noisy.survey.clearance)
    second = noisy._observe()
    differs = (first["proprioception"] != second["proprioception"]).any(0)
    assert differs[:30].all() and not differs[30:].any(), "not its own actions and contact flags"
    assert (first["scandots"] != second["scandots"]).any(0).all()
    for name in ("commands", "privileged"):
        assert torch.equal(first[name], second[name])
    draws = torch.stack([noisy._observe()["proprioception"] for _ in range(300)])
    std = draws.std(dim=0).mean(0)
    expected = [0.05 * 0.25] * 3 + [0.02] * 3 + [0.01] * 12 + [0.5 * 0.05] * 12
    torch.testing.assert_close(std[:30], torch.tensor(expected), rtol=0.15, atol=0)


def test_observations_are_scaled_measurements(quiet: Config, kinematic: Kinematic) -> None:
    env = kinematic(quiet, 1)
    env.start_episodes_together()
    state = env.simulator.state
    state.base_ang_vel[:] = torch.tensor([1.0, 2.0, 3.0])
    state.base_lin_vel[:] = torch.tensor([0.5, -0.5, 0.1])
    state.joint_vel[:] = torch.arange(12.0)
    state.joint_pos[:] = torch.tensor(quiet.robot.default_joint_pos) + 0.1
    state.base_pos[0, 2] = 0.4
    state.foot_force[:] = torch.tensor([[50.0, 0.0, 0.5, 2.0]])
    obs = env.step(torch.full((1, 12), 0.5)).obs
    expected = [0.25, 0.5, 0.75, 0.0, 0.0, -1.0, *[0.1] * 12]
    expected += [*(0.05 * torch.arange(12.0)).tolist(), *[0.5] * 12, 1.0, 0.0, 0.0, 1.0]
    torch.testing.assert_close(obs["proprioception"][0], torch.tensor(expected))
    torch.testing.assert_close(obs["scandots"], torch.full((1, 16), 0.5))
    expected = [1.0, -1.0, 0.2, *[0.0] * 8, 0.5, 0.5, 0.0, 0.005, 0.02]
    torch.testing.assert_close(obs["privileged"][0], torch.tensor(expected))


def test_scandots_see_the_ground_ahead_in_the_robots_heading(
    quiet: Config, kinematic: Kinematic
) -> None:
    flat = build_terrain(replace(quiet.terrain, tile_size=16.0))
    slope = 0.1 * np.arange(161, dtype=np.float32)[:, None] * quiet.terrain.height_map_cell
    ramp = replace(flat, heights=np.broadcast_to(slope, flat.heights.shape).copy())
    env = kinematic(quiet, 2, ramp)
    env.start_episodes_together()
    env.simulator.state.base_pos = torch.tensor([[8.0, 8.0, 0.8 + 0.3]]).repeat(2, 1)
    half = 2**-0.5
    env.simulator.state.base_quat = torch.tensor([[1.0, 0.0, 0.0, 0.0], [half, 0.0, 0.0, half]])
    scandots = env.step(torch.zeros(2, 12)).obs["scandots"].reshape(2, 4, 4)
    x, y = (torch.tensor(v) for v in ([0.1, 0.35, 0.6, 0.85], [-0.3, -0.1, 0.1, 0.3]))
    along_x = -0.1 * 5.0 * x[:, None].expand(4, 4)  # robot 0 looks along +x, up the ramp
    along_y = 0.1 * 5.0 * y[None].expand(4, 4)  # robot 1 looks along +y: its left is downhill
    torch.testing.assert_close(scandots, torch.stack([along_x, along_y]), atol=1e-4, rtol=0)


def test_a_robot_whose_physics_fail_ends_alone_and_goes_on(quiet: Config) -> None:
    env, reference = make_locomotion_env(quiet, 3, seed=0), make_locomotion_env(quiet, 3, seed=0)
    for each in (env, reference):
        each.start_episodes_together()
        rollout(each, range(3))
    env.simulator.groups[0].batch.qpos[1, 9] = float("nan")  # type: ignore[attr-defined]
    bad = torch.tensor([False, True, False])
    result, expected = (each.step(actions(each, 3)) for each in (env, reference))
    assert torch.equal(result.terminated, bad) and not result.truncated.any()
    assert metric(env, result, "Sim/nonfinite_resets") == 1
    assert metric(reference, expected, "Sim/nonfinite_resets") == 0
    assert metric(env, result, "count") == metric(env, result, "Episode/fall_rate") == 1
    for group in (result.obs, result.final_obs, result.info, {"reward": result.reward}):
        assert all(value.isfinite().all() for value in group.values())
    assert result.reward[1] == quiet.task.rewards.termination
    for step in range(4, 15):
        for name in result.obs:
            assert torch.equal(result.obs[name][~bad], expected.obs[name][~bad]), name
        result, expected = (each.step(actions(each, step)) for each in (env, reference))
        assert not result.terminated[1] and result.reward.isfinite().all()
        assert metric(env, result, "Sim/nonfinite_resets") == 0
    assert 0.15 < env.simulator.state.base_pos[1, 2] < 0.5
    assert env.episode_length.tolist() == [15, 11, 15]


def nonfinite_action(env: LocomotionEnv, actions: torch.Tensor) -> None:
    actions[1, 3] = torch.nan


def infinite_action(env: LocomotionEnv, actions: torch.Tensor) -> None:
    actions[1, 3] = torch.inf


def nonfinite_sensor(env: LocomotionEnv, actions: torch.Tensor) -> None:
    env.simulator.state.foot_force[1, 0] = torch.nan


def nonfinite_reward(env: LocomotionEnv, actions: torch.Tensor) -> None:
    env.simulator.state.joint_torque[1] = torch.inf


@pytest.mark.parametrize(
    "damage",
    [nonfinite_action, infinite_action, nonfinite_sensor, nonfinite_reward],
)
def test_one_number_that_is_not_finite_ends_its_robot_alone(
    busy: Config, kinematic: Kinematic, damage: Callable[[LocomotionEnv, torch.Tensor], None]
) -> None:
    results = []
    for damaged in (False, True):
        env = kinematic(busy, 4)
        env.start_episodes_together()
        actions = 0.1 * torch.ones(4, 12)
        if damaged:
            damage(env, actions)
        results.append(env.step(actions))
    sound, result = results
    assert result.terminated.tolist() == [False, True, False, False]
    assert not result.truncated.any() and metric(env, result, "Sim/nonfinite_resets") == 1
    assert env.simulator.targets.isfinite().all()  # type: ignore[attr-defined]
    others = torch.tensor([0, 2, 3])
    assert torch.equal(result.reward[others], sound.reward[others])
    assert result.final_obs is not None and result.reward.isfinite().all()
    for name, group in result.obs.items():
        assert torch.equal(group[others], sound.obs[name][others])
        assert group.isfinite().all() and not result.final_obs[name][1].any()
    assert all(sums.isfinite().all() for sums in result.info.values())
    env.simulator.state.joint_torque.zero_()
    later = env.step(torch.zeros(4, 12))
    assert not later.terminated.any() and later.reward.isfinite().all()
    assert all(group.isfinite().all() for group in later.obs.values())
    lasting = env.placement.owned_tensors() | env.statistics.owned_tensors()
    assert all(tensor.isfinite().all() for tensor in lasting.values())


def test_a_sensor_that_no_reward_reads_fails_its_robot(quiet: Config, kinematic: Kinematic) -> None:
    quiet.task.rewards = RewardConfig(**dict.fromkeys(TERMS, 0.0) | {"tracking_lin_vel": 1.0})
    env = kinematic(quiet, 2)
    env.start_episodes_together()
    env.simulator.state.foot_force[1, 0] = torch.nan
    assert env.step(torch.zeros(2, 12)).terminated.tolist() == [False, True]


def test_the_seed_decides_everything(busy: Config) -> None:
    envs = [make_locomotion_env(busy, 4, seed=seed) for seed in (3, 3, 4)]
    first = [env.reset() for env in envs]
    assert all(torch.equal(first[0][name], first[1][name]) for name in first[0])
    results = [rollout(env, range(40)) for env in envs]
    assert_same_results(results[0], results[1])
    assert not torch.equal(results[0][0].reward, results[2][0].reward)


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


@pytest.mark.parametrize("engine", ["mujoco_c", "simd"])
def test_a_loaded_state_continues_bit_for_bit_in_a_fresh_environment(
    busy: Config, engine: str
) -> None:
    busy.sim.engine = engine
    env = make_locomotion_env(busy, 6, seed=0)
    env.reset()
    rollout(env, range(35))
    resumed = make_locomotion_env(busy, 6, seed=99)
    resumed.load_state_dict(through_a_file(env.state_dict()))
    results = rollout(env, range(35, 80))
    assert_same_results(results, rollout(resumed, range(35, 80)))
    assert sum(int(result.truncated.sum()) for result in results) >= 6


def face_east(env: LocomotionEnv) -> None:
    env.simulator.state.base_quat = torch.tensor([[1.0, 0.0, 0.0, 0.0]]).repeat(env.num_envs, 1)
    env.commands.course.zero_()


def test_progress_is_the_way_along_the_commands_of_the_whole_episode(
    quiet: Config, kinematic: Kinematic
) -> None:
    env = kinematic(quiet, 3)
    env.start_episodes_together()
    state, dt = env.simulator.state, env.dt
    face_east(env)

    def walk(command: list[float], velocity: list[float], steps: int) -> StepResult:
        env.commands.command.copy_(torch.tensor([command] * 3))
        state.base_lin_vel = torch.tensor([[*velocity, 0.4]] * 3)
        for _ in range(steps):
            result = env.step(torch.zeros(3, 12))
        return result

    walk([0.5, 0.0, 0.0], [0.4, 0.1], 5)  # forward: 0.4 m/s of the 0.5 asked
    walk([0.0, -0.6, 0.0], [0.3, -0.2], 10)  # then right: 0.2 of 0.6
    walk([0.3, 0.4, 0.0], [-0.3, -0.4], 3)  # then away from the command
    half = 2**-0.5
    state.base_quat = torch.tensor([[half, 0.0, 0.0, half]] * 3)  # nobody asked for this turn
    walk([0.0, 0.0, 0.0], [1.0, 1.0], 4)  # standing asks for no way
    state.termination_contact = torch.tensor([True, False, True])
    result = walk([0.5, 0.0, 0.0], [0.5, 0.0], 1)  # across the path
    progress = (0.4 * 5 + 0.2 * 10 - 0.5 * 3) * dt
    commanded = (0.5 * 5 + 0.6 * 10 + 0.5 * 3 + 0.5) * dt
    assert metric(env, result, "path_distance") == pytest.approx(2 * progress, rel=2e-2)
    assert metric(env, result, "commanded") == pytest.approx(2 * commanded, rel=1e-4)
    assert metric(env, result, "count") == 2 and metric(env, result, "length") == 2 * 23
    assert not env.statistics.totals[[0, 2]].any() and env.statistics.totals[1, 0] == 23


def test_the_commanded_path_turns_as_commanded_and_not_with_the_robot(
    quiet: Config, kinematic: Kinematic
) -> None:
    env = kinematic(quiet, 3)
    env.start_episodes_together()
    state, dt, steps = env.simulator.state, env.dt, 450
    face_east(env)
    asked = torch.tensor([0.0, 0.8, 0.8])
    turning = torch.tensor([0.8, 0.8, 0.0])
    env.commands.command.copy_(torch.stack([torch.full((3,), 0.5), torch.zeros(3), asked], dim=1))
    state.base_lin_vel = torch.tensor([[0.5, 0.0, 0.0]] * 3)
    for step in range(steps):
        state.base_quat = from_yaw(turning * dt * step)
        env.step(torch.zeros(3, 12))
    progress, commanded = (
        env.statistics.totals[:, env.episode_metrics.index(name)]
        for name in ("path_distance", "commanded")
    )
    astray = 0.0
    share = 0.0
    for _ in range(steps):
        share += math.cos(astray) / steps
        astray += dt * (0.8 - astray / 3.0)
    expected = torch.tensor([share, 1.0, share])
    torch.testing.assert_close(progress / commanded, expected, atol=2e-2, rtol=0.0)
    assert share < 0.0


def test_a_course_begins_at_the_robots_heading_with_every_command(
    quiet: Config, kinematic: Kinematic
) -> None:
    quiet.task.commands.resample_time_s = 2.0
    env = kinematic(quiet, 2)
    env.start_episodes_together()
    torch.testing.assert_close(env.commands.course, env.survey.yaw)
    env.simulator.state.base_quat = from_yaw(torch.tensor([1.3, -1.0]))
    rollout(env, range(50))
    assert (wrap_to_pi(env.commands.course - env.survey.yaw).abs() > 0.1).all()
    rollout(env, range(51))
    torch.testing.assert_close(env.commands.course, env.survey.yaw, atol=0.05, rtol=0.0)


def test_tracking_errors_are_sums_over_the_robots(quiet: Config, kinematic: Kinematic) -> None:
    env = kinematic(quiet, 2)
    env.start_episodes_together()
    env.commands.command.copy_(torch.tensor([[0.5, 0.0, 1.0], [0.0, 0.0, 0.0]]))
    env.simulator.state.base_lin_vel = torch.tensor([[0.2, 0.4, 9.0], [0.0, -0.1, 0.0]])
    env.simulator.state.base_ang_vel = torch.tensor([[9.0, 9.0, 0.7], [0.0, 0.0, 0.2]])
    result = env.step(torch.zeros(2, 12))
    assert metric(env, result, "Track/lin_vel_error") == pytest.approx(0.5 + 0.1)
    assert metric(env, result, "Track/yaw_rate_error") == pytest.approx(0.3 + 0.2)


def test_a_swing_is_timed_from_take_off_to_landing(quiet: Config, kinematic: Kinematic) -> None:
    env = kinematic(quiet, 1)
    env.start_episodes_together()
    env.step(torch.zeros(1, 12))
    env.simulator.state.foot_force[0, 2] = 0.5  # below the threshold of 1 N
    for _ in range(7):
        env.step(torch.zeros(1, 12))
        assert not env.feet.landed.any()
    assert float(env.feet.air_time[0, 2]) == pytest.approx(7 * 0.02)
    env.simulator.state.foot_force[0, 2] = 1.5
    env.step(torch.zeros(1, 12))
    assert env.feet.landed.tolist() == [[False, False, True, False]]
    assert (
        float(env.feet.swing_time[0, 2]) == pytest.approx(8 * 0.02) and not env.feet.air_time.any()
    )
    env.step(torch.zeros(1, 12))
    assert not env.feet.landed.any()


def test_a_fixed_command_holds_through_resets_and_is_observed(busy: Config) -> None:
    env = make_locomotion_env(busy, 4, seed=0)
    env.commands.fix((0.5, -0.2, 0.1))
    wanted = torch.tensor([0.5, -0.2, 0.1]).repeat(4, 1)
    assert torch.equal(env.reset()["commands"], wanted)
    for result in rollout(env, range(40)):
        assert torch.equal(result.obs["commands"], wanted)


def test_a_heading_command_steers_the_robot_in_the_observed_yaw_rate(
    quiet: Config, kinematic: Kinematic
) -> None:
    quiet.task.commands.heading, quiet.task.commands.standing_fraction = True, 0.0
    env = kinematic(quiet, 2)
    env.start_episodes_together()
    env.commands.heading.fill_(1.0)
    env.simulator.state.base_quat = torch.tensor(
        [[1.0, 0.0, 0.0, 0.0], [math.cos(0.5), 0.0, 0.0, math.sin(0.5)]]
    )
    obs = env.step(torch.zeros(2, 12)).obs
    torch.testing.assert_close(obs["commands"][:, 2], torch.tensor([0.5, 0.0]), atol=1e-5, rtol=0)

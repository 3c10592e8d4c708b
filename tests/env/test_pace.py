"""Robots that are stuck: they fail in training, not in an evaluation."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from legged_ppo.config.schema import Config
from legged_ppo.env.locomotion import LocomotionEnv
from legged_ppo.env.pace import Pace
from legged_ppo.evaluation.evaluator import evaluation_config

DT = 0.02
WALK = torch.tensor([[0.6, 0.0, 0.0]])


def seconds_until_stuck(path_velocity: float, command: torch.Tensor = WALK) -> float | None:
    pace = Pace(2.0, 1, DT, torch.device("cpu"))
    for step in range(1000):
        pace.step(torch.tensor([path_velocity]), command)
        if bool(pace.stuck()):
            return (step + 1) * DT
    return None


def test_a_robot_that_stops_is_stuck_after_the_time() -> None:
    assert seconds_until_stuck(0.0) == pytest.approx(2.0, abs=0.021)
    assert seconds_until_stuck(-0.6) < 1.5, "one that walks the other way earlier"
    slow = seconds_until_stuck(0.1)
    assert slow is not None and slow > 2.5, "a slow one later"
    assert seconds_until_stuck(0.15) is None, "a quarter of the commanded speed is not stuck"


def test_robots_that_are_to_stand_or_turn_are_never_stuck() -> None:
    for command in ([0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.05, 0.05, 0.0]):
        assert seconds_until_stuck(0.0, torch.tensor([command])) is None


def test_speed_cannot_be_saved_up() -> None:
    pace = Pace(2.0, 1, DT, torch.device("cpu"))
    for _ in range(50):
        pace.step(torch.tensor([3.0]), WALK)
    assert pace.average == 1.0


def standing_robots(config: Config, kinematic: Callable[..., LocomotionEnv]) -> LocomotionEnv:
    """That are commanded to walk; two robots."""
    config.task.episode_length_s = 20.0
    env = kinematic(config, 2)
    env.commands.fix(torch.tensor([[0.6, 0.0, 0.0], [0.0, 0.0, 0.0]]))
    env.start_episodes_together()
    return env


def test_a_stuck_robots_episode_ends_as_a_fall_and_the_next_begins_with_full_pace(
    quiet: Config, kinematic: Callable[..., LocomotionEnv]
) -> None:
    quiet.task.stuck_after_s = 0.4
    quiet.task.rewards.termination = -7.0
    env = standing_robots(quiet, kinematic)
    idle = torch.zeros(2, env.num_actions)
    ends = []
    for step in range(45):
        result = env.step(idle)
        assert not result.terminated[1] and not result.truncated.any()
        if result.terminated[0]:
            ends.append(step)
            assert result.reward[0] < -6.0
    assert ends == [19, 39]
    other = standing_robots(quiet, kinematic)
    other.load_state_dict(env.state_dict())
    assert torch.equal(other.pace.average, env.pace.average) and env.pace.average[0] < 1.0


def test_robots_become_stuck_from_a_share_of_the_training_on(
    quiet: Config, kinematic: Callable[..., LocomotionEnv]
) -> None:
    quiet.task.stuck_after_s, quiet.task.stuck_from = 0.4, 0.6
    env = standing_robots(quiet, kinematic)
    idle = torch.zeros(2, env.num_actions)
    env.set_progress(0.59)
    for _ in range(45):
        assert not env.step(idle).terminated.any()
    env.set_progress(0.6)
    assert env.step(idle).terminated.tolist() == [True, False], "its pace was watched all the time"


def test_an_evaluation_gives_robots_the_whole_time(
    quiet: Config, kinematic: Callable[..., LocomotionEnv]
) -> None:
    quiet.task.stuck_after_s = 0.4
    env = standing_robots(evaluation_config(quiet), kinematic)
    for _ in range(45):
        assert not env.step(torch.zeros(2, env.num_actions)).terminated.any()

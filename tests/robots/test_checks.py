"""Advice about weights that depend on the robot's mass."""

from __future__ import annotations

from legged_ppo.config.schema import RewardConfig
from legged_ppo.robots.checks import weight_warnings


def test_weights_of_a_heavy_robot_are_suggested() -> None:
    rewards = RewardConfig(torques=-1e-4, work=-1e-4)
    assert weight_warnings(15.2 * 1.4, rewards) == weight_warnings(15.2 / 1.4, rewards) == []
    torques, work = weight_warnings(30.4, rewards)
    assert torques.endswith("task.rewards.torques=-2.5e-05")
    assert work.endswith("task.rewards.work=-5e-05")
    rewards.torques = -2.5e-5  # as suggested
    assert weight_warnings(30.4, rewards) == [work]

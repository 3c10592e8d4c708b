"""The record of a gait: footfalls as strings, histograms that hold every sample and the limit."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np

from legged_ppo.config.schema import Config
from legged_ppo.evaluation.gait import gait_report
from legged_ppo.evaluation.motion import BINS, joint_histograms
from legged_ppo.models.actor_critic import ActorCritic


def test_histograms_count_every_sample_and_the_share_at_the_limit() -> None:
    values = np.array([[1.0, 50.0], [-19.9, 0.0], [20.0, -3.0], [0.0, 2.0]])
    found = joint_histograms(values, np.array([20.0, np.inf]))
    assert [sum(each) for each in found["counts"]] == [4, 4]
    assert found["limit"] == [20.0, None] and found["beyond"] == [0.5, None]
    assert found["range"][0] > 20.0 and found["range"][1] > 50.0
    assert found["counts"][0][BINS // 2] == 1, "the upper of the two middle bins holds 0 alone"


def test_a_policys_motion_fits_into_json_with_its_names_and_limits(
    make_policy: Callable[..., ActorCritic], config: Config
) -> None:
    report = gait_report(make_policy(config), config, seed=0, robots=2, speeds=(0.5,))
    motion = json.loads(json.dumps(report["motion"]))
    assert motion["joints"] == config.robot.joints
    footfalls = motion["footfalls"]
    assert footfalls["feet"] == config.robot.foot_geoms and footfalls["dt"] == 0.02
    assert [len(foot) for foot in footfalls["contact"]["0.5"]] == [100] * 4
    assert motion["velocity"]["limit"][:3] == [30.1, 30.1, 15.7]
    assert sum(motion["torque"]["counts"][0]) == 400 * 2


def test_robots_that_all_fell_have_no_motion(
    make_policy: Callable[..., ActorCritic], config: Config
) -> None:
    config.task.max_tilt = 1e-4
    report = gait_report(make_policy(config), config, seed=0, robots=1, speeds=(0.5,))
    assert report["motion"] == {}

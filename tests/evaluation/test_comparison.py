"""Two policies on the same robots, ground and commands, each of which sees with its own eyes."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from legged_ppo.cli import evaluate as evaluate_cli
from legged_ppo.config.schema import Config
from legged_ppo.env.locomotion import LocomotionEnv
from legged_ppo.evaluation.comparison import compare
from legged_ppo.evaluation.evaluator import collect_episodes
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.reports.tables import comparison_table, difference_matrix


def test_differences_are_given_by_type_and_level(
    config: Config, make_policy: Callable[..., ActorCritic]
) -> None:
    config.task.episode_length_s = 0.2
    first, terrain = collect_episodes(make_policy(config), config, 48, seed=3)
    first.success[:] = False
    second = copy.deepcopy(first)
    second.success[(first.terrain_type == 1) & (first.terrain_level == 1)] = True
    result = compare(first, second, terrain)
    levels = result["terrain"]["rough"]["levels"]
    assert list(levels) == ["0", "1"] and list(result["terrain"]["flat"]["levels"]) == ["0"]
    assert levels["1"]["difference"]["success_rate"] == [1.0, 1.0, 1.0]
    assert levels["0"]["difference"]["success_rate"] == [0.0, 0.0, 0.0]
    assert result["terrain"]["rough"]["all"]["difference"]["success_rate"][0] == 0.5
    assert [levels[k]["episodes"] for k in "01"] == [12, 12]
    assert result["terrain"]["rough"]["features"] == {"0": "1 cm", "1": "5 cm"}
    cells = [list(column.cells) for column in difference_matrix(result).columns]
    assert cells == [["flat", "rough"], ["+0.00\nn=24", "+0.00\nn=12"], ["", "+1.00*\nn=12"]]


def test_few_pairs_are_not_marked_as_different(
    config: Config, make_policy: Callable[..., ActorCritic]
) -> None:
    config.task.episode_length_s = 0.2
    first, terrain = collect_episodes(make_policy(config), config, 4, seed=3)
    second = copy.deepcopy(first)
    second.success = ~first.success
    result = compare(first, second, terrain)
    assert all(mark == "" for mark in comparison_table(result, ("a", "b")).columns[-1].cells)


@pytest.fixture
def pairs(monkeypatch: pytest.MonkeyPatch) -> list[LocomotionEnv]:
    """The environments of a comparison as they were when their episodes had just begun."""
    seen: list[LocomotionEnv] = []
    start = LocomotionEnv.start_episodes_together

    def watch(self: LocomotionEnv) -> dict[str, torch.Tensor]:
        obs = start(self)
        self.begin = {  # type: ignore[attr-defined]
            "robots": self.randomization.privileged.clone(),
            "places": self.simulator.state.base_pos.clone(),
            "joints": self.simulator.state.joint_pos.clone(),
            "headings": self.survey.yaw.clone(),
            "commands": self.commands.command.clone(),
            "plan": self.commands._planned.clone(),
        }
        seen.append(self)
        return obs

    monkeypatch.setattr(LocomotionEnv, "start_episodes_together", watch)
    return seen


def test_policies_with_other_eyes_are_compared_on_the_same_episodes(
    tmp_path: Path, config: Config, make_checkpoint: Callable[..., Path], pairs: list[LocomotionEnv]
) -> None:
    first = make_checkpoint(tmp_path / "a.pth", config)
    other = copy.deepcopy(config)
    sight = other.task.observations
    sight.scandots.x, sight.scandots.y = [0.0, 0.2, 0.4], [0.0]
    sight.scandots.latency_s, sight.scandots.noise = [0.0, 0.1], 0.0
    sight.joint_vel_scale = 0.1
    other.task.episode_length_s = 99.0  # a condition, which is A's
    second = make_checkpoint(tmp_path / "b.pth", other)
    file = tmp_path / "difference.json"
    arguments = ["--compare", str(first), str(second), "--envs", "6", "--json", str(file)]
    assert evaluate_cli.main([*arguments, "task.observations.ang_vel_noise=0.2"]) == 0
    a, b = pairs
    assert (a.scandots.size, b.scandots.size) == (16, 3)
    assert b.config.task.observations.joint_vel_scale == 0.1
    assert b.config.task.episode_length_s == a.config.task.episode_length_s < 2.0
    assert [env.config.task.observations.ang_vel_noise for env in pairs] == [0.2, 0.2]
    for name, value in a.begin.items():  # type: ignore[attr-defined]
        assert torch.equal(value, b.begin[name]), name  # type: ignore[attr-defined]
    content = json.loads(file.read_text())
    assert content["terrain"]["rough"]["levels"]["1"]["episodes"] > 0
    assert np.isfinite(content["overall"]["difference"]["lin_vel_error"]).all()


def test_policies_of_robots_with_other_joints_are_refused(
    tmp_path: Path,
    config: Config,
    make_checkpoint: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = make_checkpoint(tmp_path / "a.pth", config)
    config.robot.foot_geoms = config.robot.foot_geoms[:3]
    second = make_checkpoint(tmp_path / "b.pth", config)
    assert evaluate_cli.main(["--compare", str(first), str(second), "--envs", "2"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"number of robot.foot_geoms: got 4, expected 3, as the policy of {second}" in error

"""The comparison of a student with its teacher: ablations of sight, equal episodes, relative success."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from legged_ppo.config.schema import Config
from legged_ppo.env.locomotion import LocomotionEnv
from legged_ppo.evaluation import sight
from legged_ppo.evaluation.students import Contestant, measure
from legged_ppo.evaluation.trained_policy import load_policy
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.reports.tables import as_rows, students_tables


def shown(changed: sight.Sight, steps: int = 5) -> list[float]:
    """What robot 1 of 4 is shown of images that hold 10 times the robot's number plus the step's."""
    robots = torch.arange(4.0)[:, None, None].expand(4, 2, 3)
    other = torch.ones(4, 1)
    found = []
    for t in range(steps):
        obs = changed({"depth": 10 * robots + t, "commands": other})
        assert obs["commands"] is other and obs["depth"].shape == (4, 2, 3)
        found.append(float(obs["depth"][1, 0, 0]))
    return found


def test_ablations_change_the_image_alone() -> None:
    assert shown(sight.blanked()) == [0.5] * 5
    assert shown(sight.of_another_robot()) == [30.0, 31.0, 32.0, 33.0, 34.0]
    assert shown(sight.delayed(2)) == [10.0, 10.0, 10.0, 11.0, 12.0]


@pytest.fixture
def contestants(
    tmp_path: Path, config: Config, make_checkpoint: Callable[..., Path]
) -> list[Contestant]:
    """A policy without a camera, one with it, and that one with a changed image."""
    config.task.episode_length_s = 0.3
    teacher = make_checkpoint(tmp_path / "teacher.pth", config)
    seeing = copy.deepcopy(config)
    camera = seeing.task.observations.depth
    camera.enabled, camera.rows, camera.columns = True, 4, 5
    student = load_policy(make_checkpoint(tmp_path / "student.pth", seeing))
    first = load_policy(teacher, conditions=student.config)
    return [
        Contestant("teacher", first),
        Contestant("student", student),
        Contestant("blanked", student, sight.blanked),
    ]


def test_all_walk_the_same_episodes_and_only_the_ablated_is_shown_something_else(
    contestants: list[Contestant], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[dict[str, torch.Tensor]] = []
    start = LocomotionEnv.start_episodes_together

    def watch(self: LocomotionEnv) -> dict[str, torch.Tensor]:
        obs = start(self)
        begun.append(
            {
                "robots": self.randomization.privileged.clone(),
                "places": self.simulator.state.base_pos.clone(),
                "joints": self.simulator.state.joint_pos.clone(),
                "plan": self.commands._planned.clone(),
            }
        )
        return obs

    monkeypatch.setattr(LocomotionEnv, "start_episodes_together", watch)
    images: list[torch.Tensor] = []
    normalize = ActorCritic.normalize

    def looking(self: ActorCritic, obs: dict[str, Any], observe: bool = False) -> dict[str, Any]:
        if "depth" in self.obs_dims:
            images.append(obs["depth"].clone())
        return normalize(self, obs, observe)

    monkeypatch.setattr(ActorCritic, "normalize", looking)
    measure(contestants, 6, seed=0)
    assert len(begun) == 3
    for other in begun[1:]:
        for name, value in begun[0].items():
            assert torch.equal(other[name], value), name
    half = len(images) // 2
    assert images[0].std() > 0.01 and all((image == 0.5).all() for image in images[half:])


def test_success_is_relative_to_the_first_ones_by_pairs(contestants: list[Contestant]) -> None:
    result = measure(contestants, 8, seed=0)
    assert list(result) == ["teacher", "student", "blanked"]
    for figures in result.values():
        assert list(figures["relative_success"]) == ["overall", "flat", "rough"]
        rate = figures["overall"]["success_rate"]
        reference = result["teacher"]["overall"]["success_rate"]
        ratio = figures["relative_success"]["overall"]["ratio"]
        assert ratio == (pytest.approx(rate / reference) if reference else None)
    rates, relative = (as_rows(table) for table in students_tables(result))
    assert rates[0] == relative[0] == ["terrain", "teacher", "student", "blanked"]
    assert [row[0] for row in relative[1]] == ["overall", "flat", "rough"]
    shares = {"teacher": result["teacher"], "student": result["student"]}
    for column, figures in enumerate(shares.values(), start=1):
        rate = figures["terrain"]["rough"]["all"]["success_rate"]
        assert rates[1][2][column].startswith(f"{rate:.2f}")

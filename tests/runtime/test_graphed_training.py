"""Whole iterations as graphs are the iterations that they were recorded from, to the last bit."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from legged_ppo.algorithms import ppo as update
from legged_ppo.config.loading import CONFIG_DIR, load_config
from legged_ppo.env import factory, locomotion
from legged_ppo.env.factory import make_env
from legged_ppo.interface import StepResult
from legged_ppo.runs.run_directory import RunDirectory
from legged_ppo.runtime import distributed
from legged_ppo.training import trainer
from legged_ppo.training.trainer import Trainer

MakeTrainer = Callable[..., Trainer]
OVERRIDES = [
    "training.cuda_graphs=true",
    "task.episode_length_s=0.2",
    "task.commands.resample_time_s=0.1",
    "task.commands.initial_scale=0.3",
    "ppo.entropy_coef=0.02",
    "ppo.entropy_coef_final=0.001",
]
"""Episodes end, commands are drawn and robots change their tiles within every rollout."""


@pytest.fixture
def make(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_warp: list[str], as_on_gpu: None
) -> MakeTrainer:
    def build(graphs: Any, *overrides: str, checkpoint: Any = None) -> Trainer:
        monkeypatch.setattr(trainer, "cuda_graphs", lambda device: graphs)
        config = load_config(CONFIG_DIR / "phase1_fast.yaml", [*small_warp, *OVERRIDES, *overrides])
        env = make_env(config, config.training.num_envs, seed=0)
        run = RunDirectory(tmp_path / f"run{len(list(tmp_path.iterdir()))}")
        return Trainer(config, env, run, checkpoint, scorer=None)

    return build


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(value, (dict, list, tuple)):
        return {path: value}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return {k: v for name, item in items for k, v in leaves(item, f"{path}/{name}").items()}


def assert_same(ours: Any, theirs: Any) -> None:
    ours, theirs = leaves(ours), leaves(theirs)
    assert ours.keys() == theirs.keys()
    for path, value in ours.items():
        if path.split("/")[1] not in ("config", "counters"):
            same = torch.equal if isinstance(value, torch.Tensor) else lambda a, b: a == b
            assert same(value, theirs[path]), path


def without_times(metrics: dict[str, float]) -> dict[str, float]:
    return {k: v for k, v in metrics.items() if not k.startswith(("Perf/", "wall_time"))}


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("ppo.schedule=cosine", "ppo.num_minibatches=3", "ppo.gradient_accumulation=2"),
        ("ppo.symmetry=augmentation", "ppo.precision=bfloat16"),
    ],
    ids=["adaptive", "minibatches of two sizes", "symmetry in bfloat16"],
)
def test_iterations_of_graphs_are_the_same(
    make: MakeTrainer, graphs: Any, capsys: pytest.CaptureFixture[str], overrides: tuple[str, ...]
) -> None:
    plain, captured = make(None, *overrides), make(graphs, *overrides)
    for _ in range(5):
        assert without_times(captured._iterate()) == without_times(plain._iterate())
    assert_same(captured._payload(), plain._payload())
    assert graphs.recordings == (3 if "ppo.num_minibatches=3" in overrides else 2)
    assert "no CUDA graph" not in capsys.readouterr().err


def test_rollouts_of_environments_that_promise_nothing_are_not_recorded(
    make: MakeTrainer, graphs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locomotion.LocomotionEnv, "fits_graphs", False)
    captured = make(graphs)
    for _ in range(2):
        captured._iterate()
    assert graphs.recordings == 1  # the update's


class Average:
    def __init__(self) -> None:
        self.value = torch.zeros(())


class OwnEnv(locomotion.LocomotionEnv):
    """With state of its own, some of it in an object of its own."""

    def _place_robots(self) -> None:
        super()._place_robots()
        self.average = Average()

    def step(self, actions: torch.Tensor) -> StepResult:
        result = super().step(actions)
        self.average.value = torch.lerp(self.average.value, result.reward.mean(), 0.1)
        return replace(result, reward=result.reward - self.average.value)


def test_an_environment_of_ones_own_is_the_same_in_graphs(
    make: MakeTrainer, graphs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(factory, "LocomotionEnv", OwnEnv)
    plain, captured = make(None), make(graphs)
    for _ in range(4):
        assert without_times(captured._iterate()) == without_times(plain._iterate())
    assert torch.equal(captured.env.average.value, plain.env.average.value)  # type: ignore[attr-defined]
    assert graphs.recordings == 2


def test_gradients_are_averaged_between_graphs(
    make: MakeTrainer, graphs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def halve(gradients: list[torch.Tensor]) -> None:
        calls.append(len(gradients))
        for gradient in gradients:
            gradient.mul_(0.5)

    calls: list[int] = []
    two = {"world_size": lambda: 2, "average_": halve}
    monkeypatch.setattr(update, "distributed", SimpleNamespace(**(vars(distributed) | two)))
    plain, captured = make(None), make(graphs)
    for _ in range(3):
        assert without_times(captured._iterate()) == without_times(plain._iterate())
    assert_same(captured._payload(), plain._payload())
    minibatches = 3 * plain.config.ppo.num_epochs * plain.config.ppo.num_minibatches
    assert calls == 2 * minibatches * [
        len(list(plain.policy.parameters())) + 1
    ]  # the gradients and the loss
    assert graphs.recordings == 2


def test_a_run_of_graphs_goes_on_from_its_checkpoint(make: MakeTrainer, graphs: Any) -> None:
    whole, first = make(graphs), make(graphs)
    for _ in range(3):
        whole._iterate()
        first._iterate()
    payload = first._payload()
    resumed = make(graphs, checkpoint=payload)
    for _ in range(3):
        assert without_times(whole._iterate()) == without_times(resumed._iterate())
    assert_same(whole._payload(), resumed._payload())


def test_new_episodes_and_other_physics_in_between_are_taken_over(
    make: MakeTrainer, graphs: Any
) -> None:
    plain, captured = make(None), make(graphs)
    for i in range(6):
        if i == 3:
            for each in (plain, captured):
                each.env.load_state_dict(each.env.state_dict())
                each.collector.restart()
                each.ppo.load_state_dict(copy.deepcopy(each.ppo.state_dict()))
        if i == 4:
            for each in (plain, captured):
                each.env.step(torch.zeros(each.env.num_envs, each.env.num_actions))
        assert without_times(captured._iterate()) == without_times(plain._iterate())
    assert_same(captured._payload(), plain._payload())

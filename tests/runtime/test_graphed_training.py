"""Whole iterations as graphs are the iterations that they were recorded from, to the last bit."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from legged_ppo.algorithms import optimizer
from legged_ppo.config.loading import CONFIG_DIR, load_config
from legged_ppo.env import factory
from legged_ppo.env.locomotion import LocomotionEnv
from legged_ppo.interface import Environment
from legged_ppo.models import recurrence
from legged_ppo.models.gru import GRU
from legged_ppo.runs.run_directory import RunDirectory
from legged_ppo.runtime import distributed
from legged_ppo.runtime.fusion.warp_launch import WarpLaunch
from legged_ppo.training import trainer
from legged_ppo.training.trainer import Trainer

MakeTrainer = Callable[..., Trainer]
OVERRIDES = [
    "training.cuda_graphs=true",
    "training.num_envs=6",
    "ppo.rollout_length=8",
    "ppo.bptt_length=4",
    "ppo.num_epochs=2",
    "task.episode_length_s=0.1",
    "task.commands.resample_time_s=0.04",
    "task.commands.initial_scale=0.3",
    "terrain.curriculum.rule=success",
    "terrain.curriculum.distance=0",
    "ppo.entropy_coef=0.02",
    "ppo.entropy_coef_final=0.001",
]
"""Episodes end, commands are drawn and robots change their tiles within every rollout."""
SMALL = [
    "training.cuda_graphs=true",
    "ppo.symmetry=none",
    "ppo.rollout_length=8",
    "ppo.bptt_length=4",
    "ppo.num_epochs=2",
    "policy.gru_hidden=8",
    "policy.actor_hidden=[8]",
]


@pytest.fixture
def make(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_warp: list[str], as_on_gpu: None
) -> MakeTrainer:
    def build(recorder: Any, *overrides: str) -> Trainer:
        recorded_by(recorder, monkeypatch)
        config = load_config(CONFIG_DIR / "phase1_fast.yaml", [*small_warp, *OVERRIDES, *overrides])
        env = factory.make_locomotion_env(config, config.training.num_envs, seed=0)
        run = RunDirectory(tmp_path / f"run{len(list(tmp_path.iterdir()))}")
        return Trainer(config, env, run, scorer=None)

    return build


@pytest.fixture
def make_small(
    make_env: Callable[..., Environment],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    as_on_gpu: None,
) -> MakeTrainer:
    """On an environment without physics, which promises to fit graphs."""

    def build(
        recorder: Any, *overrides: str, kind: Callable[..., Environment] = make_env
    ) -> Trainer:
        recorded_by(recorder, monkeypatch)
        config = load_config(CONFIG_DIR / "phase1_quickstart.yaml", [*SMALL, *overrides])
        run = RunDirectory(tmp_path / f"run{len(list(tmp_path.iterdir()))}")
        return Trainer(config, kind(8), run, scorer=None)

    return build


def recorded_by(recorder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What trainers record with from now on; None for nothing."""

    def emulated(device: torch.device, generators: list[torch.Generator]) -> Any:
        if recorder is not None:
            recorder.generators = generators
        return recorder

    monkeypatch.setattr(trainer, "cuda_recorder", emulated)


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


def iterate(plain: Trainer, captured: Trainer) -> None:
    """One iteration of both, with the same metrics."""
    ours, theirs = captured.iterate(), plain.iterate()
    for name, value in theirs.items():
        if not name.startswith(("Perf/", "wall_time")):
            assert ours[name] == value, name


def test_iterations_of_graphs_are_the_same_and_take_over_new_episodes_and_states(
    make: MakeTrainer, recorder: Any, caplog: pytest.LogCaptureFixture
) -> None:
    changes = ("ppo.symmetry=augmentation", "ppo.precision=bfloat16")
    plain, captured = make(None, *changes), make(recorder, *changes)
    assert isinstance(captured.env, LocomotionEnv)
    for i in range(4):
        if i == 2:
            for each in (plain, captured):
                each.env.load_state_dict(each.env.state_dict())
                each.collector.restart()
                each.ppo.load_state_dict(copy.deepcopy(each.ppo.state_dict()))
                each.env.step(torch.zeros(each.env.num_envs, each.env.num_actions))
        iterate(plain, captured)
    assert_same(captured.state_dict(), plain.state_dict())
    assert recorder.recordings == 3, "the rollout, and the update before and after its new moments"
    assert all(record.levelno < logging.WARNING for record in caplog.records)


@pytest.mark.parametrize(
    ("overrides", "sizes"),
    [
        (("ppo.schedule=adaptive", "ppo.num_minibatches=2"), 1),
        (("ppo.schedule=cosine", "ppo.num_minibatches=3", "ppo.gradient_accumulation=2"), 2),
    ],
    ids=["adaptive", "minibatches of two sizes"],
)
def test_updates_of_graphs_are_the_same(
    make_small: MakeTrainer, recorder: Any, overrides: tuple[str, ...], sizes: int
) -> None:
    plain, captured = make_small(None, *overrides), make_small(recorder, *overrides)
    for _ in range(4):
        iterate(plain, captured)
    assert_same(captured.state_dict(), plain.state_dict())
    assert recorder.recordings == 1 + sizes


@pytest.mark.parametrize("wanted", [True, False])
def test_the_grus_kernels_are_in_the_graphs_where_they_are_wanted(
    make_small: MakeTrainer, recorder: Any, monkeypatch: pytest.MonkeyPatch, wanted: bool
) -> None:
    monkeypatch.setattr(recurrence, "has_kernels_for", lambda x: True)
    monkeypatch.setattr(recurrence, "multiprocessors", lambda device: 1)
    launches = 0

    def counted(*arguments: Any) -> None:
        nonlocal launches
        launches += 1
        run(*arguments)

    run = WarpLaunch.run
    monkeypatch.setattr(WarpLaunch, "run", counted)
    changes = ("policy.gru_hidden=16", f"training.fused_gru={wanted}", "training.average_decay=0.9")
    plain, captured = (make_small(each, *changes) for each in (None, recorder))
    for _ in range(3):
        iterate(plain, captured)
    assert_same(captured.state_dict(), plain.state_dict())
    launches, recordings = 0, recorder.recordings
    captured.iterate()
    config = captured.config.ppo
    steps = config.num_epochs * config.num_minibatches
    assert recorder.recordings == recordings > 0, "it is replayed"
    assert launches >= 2 * steps + config.rollout_length if wanted else launches == 0
    (gru,) = (m for m in captured.judged_policy().modules() if isinstance(m, GRU))
    assert gru.fused is wanted, "the average is judged as it is trained"


def test_gradients_are_averaged_between_graphs(
    make_small: MakeTrainer, recorder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def halve(gradients: list[torch.Tensor]) -> None:
        calls.append(len(gradients))
        for gradient in gradients:
            gradient.mul_(0.5)

    calls: list[int] = []
    two = {"world_size": lambda: 2, "average_": halve}
    monkeypatch.setattr(optimizer, "distributed", SimpleNamespace(**(vars(distributed) | two)))
    plain, captured = make_small(None), make_small(recorder)
    for _ in range(3):
        iterate(plain, captured)
    assert_same(captured.state_dict(), plain.state_dict())
    steps = 3 * plain.config.ppo.num_epochs * plain.config.ppo.num_minibatches
    gradients_and_loss = len(list(plain.policy.parameters())) + 1
    assert calls == 2 * steps * [gradients_and_loss]


def test_rollouts_are_recorded_where_the_class_of_the_environment_itself_promises_to_fit(
    make_env: type[Environment], make_small: MakeTrainer, recorder: Any
) -> None:
    class WithStateOfItsOwn(make_env):  # type: ignore[misc,valid-type]
        pass

    for kind, recordings in ((make_env, 2), (WithStateOfItsOwn, 1)):
        recorder.recordings = 0
        captured = make_small(recorder, "ppo.num_minibatches=2", kind=kind)
        for _ in range(2):
            captured.iterate()
        assert recorder.recordings == recordings, "the update, and the rollout if promised"

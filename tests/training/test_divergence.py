"""A run whose numbers are no longer finite stops before a checkpoint is overwritten."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from legged_ppo.config.loading import CONFIG_DIR, load_config
from legged_ppo.env.factory import make_locomotion_env
from legged_ppo.runs.checkpoint import load_checkpoint
from legged_ppo.runs.run_directory import LATEST, RunDirectory
from legged_ppo.training.divergence import (
    MAX_IDLE_ITERATIONS,
    OPTIMIZER_STEPS,
    WEIGHTS_FINITE,
    DivergenceMonitor,
    TrainingDiverged,
)
from legged_ppo.training.trainer import Trainer


def make_trainer(folder: Path, *changes: str) -> Trainer:
    debug = [
        "+preset=debug",
        "terrain=flat",
        "training.checkpoint_freq=1",
        "training.wandb=disabled",
    ]
    config = load_config(CONFIG_DIR / "phase1_quickstart.yaml", [*debug, *changes])
    run = RunDirectory(folder / "run")
    run.checkpoints.mkdir(parents=True)
    env = make_locomotion_env(config, config.training.num_envs, seed=0)
    return Trainer(config, env, run, scorer=None)


def row(finite: float, steps: float) -> dict[str, float]:
    return {"iteration": 7, WEIGHTS_FINITE: finite, OPTIMIZER_STEPS: steps}


def test_only_iterations_in_a_row_without_a_step_stop_a_run(tmp_path: Path) -> None:
    monitor = DivergenceMonitor(tmp_path / "latest.pth")
    for _ in range(2):
        assert all(monitor.check(row(1.0, 0.0)) is None for _ in range(MAX_IDLE_ITERATIONS - 1))
        assert monitor.check(row(1.0, 1.0)) is None
    reasons = [monitor.check(row(1.0, 0.0)) for _ in range(MAX_IDLE_ITERATIONS)]
    assert reasons[-2] is None and "iteration 7" in str(reasons[-1])


def test_weights_that_are_not_finite_stop_a_run_at_once(tmp_path: Path) -> None:
    monitor, latest = DivergenceMonitor(tmp_path / "latest.pth"), tmp_path / "latest.pth"
    assert str(latest) not in str(monitor.check(row(0.0, 1.0)))
    latest.touch()
    reason = str(monitor.check(row(0.0, 1.0)))
    assert str(latest) in reason and "\n" not in reason


@pytest.mark.parametrize("name", ["value.weight", "normalizer.mean"])
def test_weights_that_are_not_finite_are_never_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    trainer = make_trainer(tmp_path)
    update = trainer.ppo.update
    calls: list[None] = []

    def damaging(*args: Any, **kwargs: Any) -> dict[str, Any]:
        calls.append(None)
        metrics = update(*args, **kwargs)
        if len(calls) == 2:
            trainer.policy.state_dict()[name].flatten()[0] = math.nan
        return metrics

    monkeypatch.setattr(trainer.ppo, "update", damaging)
    with pytest.raises(TrainingDiverged, match=r"iteration 2: .*not finite"):
        trainer.train()
    weights = load_checkpoint(trainer.run.checkpoints / LATEST)["policy"]
    assert all(torch.isfinite(w).all() for w in weights.values())
    assert len(list(trainer.run.checkpoints.glob("phase1_step_*"))) == 1


def test_a_learning_rate_that_is_far_too_large_stops_with_a_finite_checkpoint(
    tmp_path: Path,
) -> None:
    changes = ["ppo.learning_rate=1e6", "ppo.schedule=constant", "training.total_timesteps=1000000"]
    trainer = make_trainer(tmp_path, *changes)
    with pytest.raises(TrainingDiverged):
        trainer.train()
    weights = load_checkpoint(trainer.run.checkpoints / LATEST)["policy"]
    assert all(torch.isfinite(w).all() for w in weights.values())

"""A run's folder while it is written, and after an error: one writer, the reason of the end, the best figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from legged_ppo.config.loading import CONFIG_DIR, load_config
from legged_ppo.config.schema import Config
from legged_ppo.errors import UsageError
from legged_ppo.runs.checkpoint import load_checkpoint
from legged_ppo.runs.listing import read_state
from legged_ppo.runs.run_lock import is_locked, run_lock
from legged_ppo.training.run import train


@pytest.fixture
def recipe(tmp_path: Path) -> Config:
    """Four iterations with a checkpoint after every one."""
    tiny = ["+preset=debug", "training.num_envs=4", "training.report=false", "terrain=flat"]
    config = load_config(CONFIG_DIR / "phase1_quickstart.yaml", tiny)
    config.training.evaluation_episodes, config.task.episode_length_s = 2, 0.2
    config.training.log_dir, config.training.run_name = str(tmp_path), "run"
    steps = 4 * config.ppo.rollout_length
    config.training.total_timesteps, config.training.checkpoint_freq = 4 * steps, steps
    return config


def fail_at(iteration: int) -> Any:
    def callback(trainer: Any, metrics: dict[str, float]) -> None:
        if metrics["iteration"] == iteration:
            raise FloatingPointError("the third\niteration")

    return callback


def test_an_error_leaves_its_reason_until_the_run_goes_on(recipe: Config) -> None:
    root = Path(recipe.training.log_dir) / "run"
    with pytest.raises(FloatingPointError):
        train(recipe, device="cpu", callbacks=[fail_at(3)])
    state = read_state(root)
    assert state.state == "failed" and state.failure == "FloatingPointError: the third iteration"
    assert "test_ownership.py" in (root / "failure.txt").read_text(), "with the traceback"
    locked: list[bool] = []
    train(recipe, device="cpu", resume=root, callbacks=[lambda *_: locked.append(is_locked(root))])
    assert locked and all(locked)
    assert read_state(root).state == "finished" and not (root / "failure.txt").exists()


def test_a_second_process_is_refused_and_changes_nothing(recipe: Config) -> None:
    root = train(recipe, device="cpu")
    recipe.training.total_timesteps *= 2
    with run_lock(root):
        before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
        with pytest.raises(UsageError, match="is being written by process"):
            train(recipe, device="cpu", resume=root)
        after = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert after == before


def test_the_figures_of_the_best_checkpoint_lie_beside_it(recipe: Config) -> None:
    root = train(recipe, device="cpu")
    best = json.loads((root / "best.json").read_text())
    counters = load_checkpoint(root / "checkpoints" / "phase1_best.pth")["counters"]
    assert best["env_steps"] == counters["env_steps"]
    assert best["score"] == pytest.approx(counters["best_score"])
    rows = [json.loads(line) for line in (root / "metrics.jsonl").read_text().splitlines()]
    (row,) = (each for each in rows if each["env_steps"] == best["env_steps"])
    assert best["figures"] == {key: row[key] for key in row if key.startswith("Eval/")}
    assert read_state(root).success == row["Eval/success_rate"]

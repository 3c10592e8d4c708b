"""A run that was killed after its last training step gets its end from a resume."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from legged_ppo.config.loading import CONFIG_DIR, load_config
from legged_ppo.config.schema import Config
from legged_ppo.errors import ConfigError
from legged_ppo.reports import run_report
from legged_ppo.runs.checkpoint import load_checkpoint, save_checkpoint
from legged_ppo.training import report_logger, trainer
from legged_ppo.training.run import train


@pytest.fixture
def recipe(tmp_path: Path) -> Config:
    tiny = ["+preset=debug", "training.num_envs=4", "training.report=false", "terrain=flat"]
    config = load_config(CONFIG_DIR / "phase1_quickstart.yaml", tiny)
    config.training.evaluation_episodes, config.task.episode_length_s = 1, 0.2
    config.training.log_dir, config.training.run_name = str(tmp_path), "run"
    config.training.total_timesteps = 8 * config.ppo.rollout_length
    config.training.checkpoint_freq = 4 * config.ppo.rollout_length
    return config


class Killed(BaseException):
    pass


def killed(*_: object, **__: object) -> None:
    raise Killed


def test_a_kill_before_the_end_is_made_up_for(
    recipe: Config, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(trainer, "close_run", killed)
        train(recipe, device="cpu")
    run = Path(recipe.training.log_dir) / "run"
    final, summary = run / "checkpoints" / "phase1_final.pth", run / "summary.json"
    assert not final.exists() and not summary.exists()
    early = run / "checkpoints" / f"phase1_step_{recipe.training.checkpoint_freq}.pth"
    shorter = load_config(run / "config.yaml")
    shorter.training.total_timesteps = recipe.training.checkpoint_freq
    assert train(shorter, device="cpu", resume=early) == run and not final.exists()

    caplog.set_level(logging.INFO)
    assert train(recipe, device="cpu", resume="latest") == run
    assert "complete now" in caplog.text
    assert load_checkpoint(final)["counters"]["env_steps"] == recipe.training.total_timesteps
    content = json.loads(summary.read_text())
    row = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert content["env_steps"] == row["env_steps"] == recipe.training.total_timesteps
    assert content["iterations"] == 2 and content["peak_memory_gb"] is None
    assert content["final"]["Loss/value"] == row["Loss/value"]
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    train(recipe, device="cpu", resume="latest")
    assert "this run is complete (" in caplog.text
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


@pytest.mark.parametrize(("key", "value"), [("extensions", ["evil"]), ("gym", {"id": "evil:Env"})])
def test_a_best_checkpoint_imports_nothing_that_the_run_does_not(
    recipe: Config, monkeypatch: pytest.MonkeyPatch, key: str, value: object
) -> None:
    recipe.training.report = True
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(run_report, "write_report", killed)
        train(recipe, device="cpu")
    best = Path(recipe.training.log_dir) / "run" / "checkpoints" / "phase1_best.pth"
    payload = load_checkpoint(best)
    if isinstance(value, dict):
        payload["config"][key] |= value
    else:
        payload["config"][key] = value
    save_checkpoint(best, payload)
    with pytest.raises(ConfigError, match=rf"phase1_best.pth: {key}.*evil"):
        train(recipe, device="cpu", resume="latest")


def test_a_kill_within_the_report_is_made_up_for(
    recipe: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe.training.report, recipe.training.report_episodes = True, 2
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(run_report, "write_report", killed)
        train(recipe, device="cpu")
    reported: list[Path] = []

    def report(root: Path, *_: object) -> list[str]:
        reported.append(root)
        return []

    monkeypatch.setattr(run_report, "write_report", report)
    monkeypatch.setattr(report_logger, "log_report", lambda *_: None)
    run = train(recipe, device="cpu", resume="latest")
    assert reported == [run]
    assert json.loads((run / "summary.json").read_text())["report_written"] is True
    train(recipe, device="cpu", resume="latest")
    assert reported == [run], "once"

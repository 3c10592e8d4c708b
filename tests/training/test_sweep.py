"""A sweep trains its trials in processes, goes on where it was stopped, and reports."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import yaml

from legged_ppo.cli.sweep import main
from legged_ppo.config.sweep import read_sweep
from legged_ppo.errors import UsageError
from legged_ppo.training.sweep import run_sweep

pytest.importorskip("optuna")

TINY = [
    "training.num_envs=2",
    "training.total_timesteps=128",
    "training.checkpoint_freq=64",
    "training.evaluation_episodes=1",
    "training.wandb=disabled",
    "ppo.num_epochs=1",
]


def write(path: Path, trials: int, *overrides: str, **changes: object) -> Path:
    content = {
        "recipe": "gym/cartpole_ppo",
        "metric": "Eval/mean_return",
        "parameters": {
            "ppo.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
            "policy.activation": ["tanh", "relu"],
        },
        "trials": trials,
        "overrides": [*TINY, *overrides],
        **changes,
    }
    path.write_text(yaml.safe_dump(content))
    return path


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_sweep_runs_goes_on_and_reports(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "sweep"
    file = write(tmp_path / "sweep.yaml", 1)
    assert main([str(file), "--folder", str(folder), "--device", "cpu"]) == 0
    write(file, 2)
    assert main([str(file), "--folder", str(folder), "--device", "cpu"]) == 0
    found = rows(folder)
    assert [row["trial"] for row in found] == ["0", "1"]
    assert (found[0]["ppo.learning_rate"], found[0]["policy.activation"]) == ("0.001", "tanh")
    assert found[1]["ppo.learning_rate"] != "0.001", "the recipe's own values come first, once"
    report = (folder / "sweep.md").read_text()
    assert report in capsys.readouterr().out
    best = max(found, key=lambda row: float(row["score"]))
    assert f"policy.activation={best['policy.activation']}" in report
    assert (folder / "sweep.png").stat().st_size > 5000
    config = yaml.safe_load((folder / "runs" / "trial0001_s1" / "config.yaml").read_text())
    assert config["ppo"]["learning_rate"] == pytest.approx(float(found[1]["ppo.learning_rate"]))


def test_runs_that_fail_end_the_sweep_with_their_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("legged_ppo.training.sweep._MOST_FAILURES", 2)
    file = write(tmp_path / "sweep.yaml", 4, metric="Eval/none", processes=2)
    with pytest.raises(UsageError, match="2 runs failed"):
        run_sweep(read_sweep(file), tmp_path / "sweep", "cpu")
    assert "has no Eval/none" in caplog.text

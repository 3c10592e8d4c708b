"""The example of research code outside the package: trained, killed, resumed, evaluated and played."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imageio
import pytest
import torch

from legged_ppo.cli import evaluate as evaluate_cli
from legged_ppo.cli import play as play_cli
from legged_ppo.cli import train as train_cli

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
RECIPE = ["--config", str(EXAMPLES / "my_recipe.yaml")]
ITERATIONS = 14
SIZES = [
    "+preset=debug",
    "ppo.symmetry=augmentation",
    "ppo.rollout_length=8",
    "ppo.bptt_length=8",
    f"training.total_timesteps={ITERATIONS * 16 * 8}",
    f"training.checkpoint_freq={5 * 16 * 8}",
    "training.evaluation_freq=100_000",
    "training.run_name=run",
    "task.episode_length_s=0.5",
]


@pytest.fixture(autouse=True)
def imported_anew() -> Iterator[None]:
    """Each test imports the example as a new process does."""
    sys.modules.pop("my_terms", None)
    yield
    sys.modules.pop("my_terms", None)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log folder of a run in one go."""
    log_dir = tmp_path_factory.mktemp("finished")
    assert train_cli.main([*RECIPE, *SIZES, f"training.log_dir={log_dir}"]) == 0
    return log_dir


def metrics(log_dir: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (log_dir / "run" / "metrics.jsonl").open()]
    timings = ("wall_time_s", "Perf/")
    return [{k: v for k, v in row.items() if not k.startswith(timings)} for row in rows]


def weights(log_dir: Path) -> dict[str, torch.Tensor]:
    path = log_dir / "run" / "checkpoints" / "phase1_final.pth"
    policy: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["policy"]
    return policy


def test_a_killed_and_resumed_run_equals_one_that_was_not(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    command = [sys.executable, str(ROOT / "train_phase1.py"), *RECIPE, *SIZES]
    process = subprocess.Popen(
        [*command, f"training.log_dir={tmp_path}"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
    )
    rows, deadline = tmp_path / "run" / "metrics.jsonl", time.monotonic() + 120
    while not rows.is_file() or len(rows.read_text().splitlines()) < 7:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "run" / "checkpoints" / "phase1_final.pth").exists()

    resume = ["--resume", "latest", f"training.log_dir={tmp_path}"]
    assert train_cli.main(resume) == 2
    assert "expected extensions=[my_terms] among the overrides" in capsys.readouterr().err
    monkeypatch.chdir(EXAMPLES)
    assert train_cli.main([*resume, "extensions=[my_terms]"]) == 0
    assert metrics(tmp_path) == metrics(finished)
    for name, value in weights(finished).items():
        assert torch.equal(value, weights(tmp_path)[name]), name
    last = metrics(finished)[-1]
    assert last["Episode/rew_action_jerk"] < 0.0
    config = (finished / "run" / "config.yaml").read_text()
    assert "action_jerk: -0.005" in config and "extensions:\n- my_terms" in config


def test_the_policy_is_evaluated_and_recorded_on_the_extensions_terrain(
    finished: Path,
    backend: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.chdir(EXAMPLES)
    figures, video = tmp_path / "figures.json", tmp_path / "walk.mp4"
    policy = ["--checkpoint", str(finished / "run"), "--terrain", "bumps", "extensions=[my_terms]"]
    assert evaluate_cli.main([*policy, "--episodes-per-cell", "2", "--json", str(figures)]) == 0
    assert "level 2: 4 cm" in capsys.readouterr().out
    assert list(json.loads(figures.read_text())["terrain"]) == ["bumps"]
    assert play_cli.main([*policy, "--video", str(video), "task.episode_length_s=0.2"]) == 0
    assert len(imageio.mimread(video, memtest=False)) > 1


def test_the_example_is_short() -> None:
    assert len((EXAMPLES / "my_terms.py").read_text().splitlines()) <= 60

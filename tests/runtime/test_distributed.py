"""Training in two processes on gloo: the same gradients, one log, and checkpoints for any number."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import halved_update
import pytest
import torch

from legged_ppo.config.loading import CONFIG_DIR, load_config
from legged_ppo.errors import ConfigError
from legged_ppo.runtime import distributed
from legged_ppo.training import run

ROOT = Path(__file__).resolve().parents[2]
ROBOTS, LENGTH = 24, 16
TIMINGS = ("wall_time_s", "Perf/")


def launch(ranks: int, script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}"]
    command = [sys.executable, *(torchrun if ranks > 1 else []), str(script), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}  # a script's own folder comes first
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240
    )


def train(ranks: int, folder: Path, iterations: int, *more: str) -> None:
    result = launch(
        ranks,
        ROOT / "train_phase1.py",
        "--config",
        "configs/phase1_quickstart.yaml",
        "--device",
        "cpu",
        f"training.num_envs={ROBOTS}",
        f"training.total_timesteps={iterations * ROBOTS * LENGTH}",
        f"training.log_dir={folder}",
        "training.checkpoint_freq=100_000_000",
        "training.evaluation_episodes=2",
        "task.episode_length_s=0.4",
        "terrain=course",
        "terrain.curriculum.rule=success",
        "terrain.curriculum.distance=0",
        "training.report=false",
        "training.run_name=run",
        # Nothing that depends on where the run is to end.
        "ppo.entropy_coef=0.004",
        "ppo.entropy_coef_final=0.004",
        "ppo.desired_kl=0.015",
        "ppo.desired_kl_final=0.015",
        *more,
    )
    assert result.returncode == 0, result.stderr


def rows(folder: Path) -> list[dict[str, Any]]:
    parsed = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").open()]
    return [{k: v for k, v in r.items() if not k.startswith(TIMINGS)} for r in parsed]


def robots_by_level(folder: Path) -> torch.Tensor:
    checkpoint = torch.load(folder / "run" / "checkpoints" / "phase1_latest.pth", weights_only=True)
    levels = [rank["env"]["curriculum"]["levels"] for rank in checkpoint["ranks"]]
    return torch.cat(levels).bincount(minlength=10)


def test_two_halves_learn_as_the_whole(tmp_path: Path) -> None:
    halved_update.main(tmp_path)
    result = launch(2, Path(halved_update.__file__), str(tmp_path))
    assert result.returncode == 0, result.stderr
    whole, *halves = (torch.load(tmp_path / f"{name}.pt") for name in ("1_0", "2_0", "2_1"))
    rates = [update["metrics"]["Loss/learning_rate"] for update in whole]
    assert len(set(rates)) > 1, "the rate was never adapted"
    for half in halves:
        assert len(half) == len(whole) > 1
        for one, other in zip(whole, half, strict=True):
            same_update(one, other)


def same_update(whole: dict[str, Any], half: dict[str, Any]) -> None:
    assert max(gradient.abs().max() for gradient in whole["gradients"]) > 1e-2
    for one, other in zip(whole["gradients"], half["gradients"], strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=1e-5)
    for name, value in whole["statistics"].items():
        torch.testing.assert_close(half["statistics"][name], value, rtol=1e-5, atol=1e-6)
    assert half["learning_rate"] == whole["learning_rate"]
    # Losses and KL are averaged over the ranks, numbers of robots added up.
    assert half["metrics"] == pytest.approx(whole["metrics"], rel=1e-4, abs=1e-6)
    assert half["metrics"]["robots"] == whole["metrics"]["robots"]


def test_ranks_that_begin_with_other_weights_take_the_first_ones(tmp_path: Path) -> None:
    result = launch(2, ROOT / "tests" / "training" / "unequal_ranks.py", str(tmp_path))
    assert result.returncode == 0, result.stderr
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert not torch.equal(first["before"]["value.weight"], second["before"]["value.weight"])
    assert "normalizer.mean" in first["after"]
    for name, value in first["before"].items():
        assert torch.equal(first["after"][name], value) and torch.equal(
            second["after"][name], value
        )


def test_two_processes_train_resume_and_hand_over_to_one(tmp_path: Path) -> None:
    through, parted = tmp_path / "through", tmp_path / "parted"
    train(2, through, 6)
    train(2, parted, 3)
    checkpoint = str(parted / "run" / "checkpoints" / "phase1_latest.pth")
    before = robots_by_level(parted)
    train(2, parted, 6, "--resume", checkpoint)
    assert rows(parted)[3:] == rows(through)[3:]
    steps = [row["env_steps"] for row in rows(through)]
    assert steps == [ROBOTS * LENGTH * (i + 1) for i in range(6)]
    assert before.sum() == robots_by_level(parted).sum() == ROBOTS
    report = json.loads((parted / "run" / "curriculum.json").read_text())
    assert torch.equal(torch.tensor(report["robots"]).sum(0), robots_by_level(parted))
    saved = torch.load(checkpoint, weights_only=True)["ranks"]
    episodes = [rank["env"]["curriculum"]["episodes"] for rank in saved]
    assert all(part.sum() > 0 for part in episodes)
    assert torch.equal(torch.tensor(report["episodes"]), sum(episodes).long())

    train(1, parted, 7, "--resume", checkpoint)
    assert len(rows(parted)) == 7
    before = robots_by_level(parted)
    assert before.sum() == ROBOTS

    train(2, parted, 8, "--resume", checkpoint, "task.episode_length_s=20")
    assert len(rows(parted)) == 8
    saved = torch.load(checkpoint, weights_only=True)["ranks"]
    assert [len(rank["env"]["curriculum"]["levels"]) for rank in saved] == [ROBOTS // 2] * 2
    moved = (robots_by_level(parted) - before).abs().sum()
    assert moved <= 4, "levels are divided over the ranks; two robots at most have fallen since"


def test_gathered_states_come_to_the_cpu_whatever_gpu_they_were_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    places = []

    def load(file: io.BytesIO, **kwargs: Any) -> Any:
        places.append(kwargs["map_location"])
        return original(file, **kwargs)

    def gather(sent: bytes, found: list[bytes]) -> None:
        found[:] = [sent, sent]

    original = torch.load
    monkeypatch.setattr(torch, "load", load)
    monkeypatch.setattr(torch.distributed, "gather_object", gather)
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    states = distributed.gather({"x": torch.arange(3)})
    assert [state["x"].tolist() for state in states] == [[0, 1, 2]] * 2
    assert places == ["cpu", "cpu"]


def test_robots_must_divide_evenly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    overrides = ["+preset=debug", "training.num_envs=7", f"training.log_dir={tmp_path}"]
    config = load_config(CONFIG_DIR / "phase1_quickstart.yaml", overrides)
    with pytest.raises(ConfigError, match=r"training\.num_envs: .* a multiple of the 2 processes"):
        run.train(config, device="cpu")
    assert not list(tmp_path.iterdir())

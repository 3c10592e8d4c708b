"""Small runs to be broken: their recipes, how they are started, and what must hold of their folder."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from legged_ppo.cli.output import surviving_output
from legged_ppo.cli.parser import OneLineParser, run_command
from legged_ppo.config.loading import CONFIG_DIR, load_config
from legged_ppo.config.schema import Config
from legged_ppo.runs.checkpoint import load_checkpoint
from legged_ppo.runs.checkpoint_contents import ContentError, check_archive
from legged_ppo.training.run import train
from legged_ppo.training.trainer import Callback

SUBJECTS = ("point", "mujoco_c", "simd")
"""An environment without physics, which trains in a tenth of a second, and four robots on each engine."""
ITERATIONS, INTERVAL = 6, 2
"""Of a run, and between its checkpoints."""
_SMALL = (
    "+preset=debug",
    "ppo.symmetry=none",
    "ppo.num_epochs=1",
    "ppo.num_minibatches=1",
    "policy.gru_hidden=8",
    "policy.actor_hidden=[8]",
    "policy.critic_hidden=[8]",
    "training.num_envs=4",
    "training.evaluation_episodes=1",
    "training.run_name=run",
    "sim.threads=1",
)
_POINT = (
    "extensions=[tests.faults.point]",
    "environment=point",
    "policy.critic_privileged=false",
    "ppo.rollout_length=8",
    "ppo.bptt_length=8",
)
_ROBOTS = (
    "terrain=mild",
    "terrain.num_levels=2",
    "terrain.max_initial_level=1",
    "task.episode_length_s=0.2",
    "ppo.rollout_length=8",
    "ppo.bptt_length=8",
)
_RECIPE = CONFIG_DIR / "phase1_quickstart.yaml"


def recipe(subject: str, log_dir: Path, iterations: int = ITERATIONS) -> Config:
    """The recipe of a subject's run."""
    own = _POINT if subject == "point" else (*_ROBOTS, f"sim.engine={subject}")
    config = load_config(_RECIPE, [*_SMALL, *own])
    samples = config.training.num_envs * config.ppo.rollout_length
    config.training.log_dir = str(log_dir)
    config.training.total_timesteps = iterations * samples
    config.training.checkpoint_freq = INTERVAL * samples
    config.training.evaluation_freq = 2 * INTERVAL * samples
    config.training.log_interval = 1
    return config


def run(config: Config, resume: str | None = None, callbacks: Sequence[Callback] = ()) -> int:
    """Train as the command does, with its exit codes and its one-line errors."""

    def body(_: object) -> int:
        with surviving_output():
            train(config, device="cpu", resume=resume, callbacks=callbacks)
        return 0

    return run_command(OneLineParser(), body, [])


@dataclass(frozen=True)
class Result:
    """What a run has come to: its rows without timings, its final weights and the names of its files."""

    rows: list[dict[str, Any]]
    weights: dict[str, torch.Tensor]
    files: frozenset[str]

    def differences(self, other: Result, checkpoints: bool = True) -> list[str]:
        """In what two complete runs differ.

        Args:
            checkpoints: whether both must have the same checkpoints of the way.
        """
        found = []
        if self.rows != other.rows:
            found.append(f"{len(self.rows)} rows differ from {len(other.rows)}")
        if not same_weights(self.weights, other.weights):
            found.append("the final weights differ")
        odd = set(self.files ^ other.files)
        if not checkpoints:
            odd = {name for name in odd if "phase1_step_" not in name or ".tmp" in name}
        if odd:
            found.append(f"files differ: {sorted(odd)}")
        return found


def same_weights(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Whether two policies are equal bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def result(log_dir: Path) -> Result:
    """The result of a complete run; event files, whose names hold the time, are left out."""
    run = log_dir / "run"
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    kept = [
        {k: v for k, v in row.items() if not k.startswith("Perf/") and k != "wall_time_s"}
        for row in rows
    ]
    names = (str(path.relative_to(log_dir)) for path in log_dir.rglob("*"))
    files = frozenset(name for name in names if "tfevents" not in name)
    final = load_checkpoint(run / "checkpoints" / "phase1_final.pth")
    return Result(kept, final["policy"], files)


def checkpoints(log_dir: Path) -> list[Path]:
    """All checkpoints of the run, without what is half written."""
    return sorted((log_dir / "run" / "checkpoints").glob("phase1_*.pth"))


def damages(log_dir: Path, config_text: str, most_lost: int = INTERVAL) -> list[str]:
    """Files of an interrupted run that cannot be read, and more than `most_lost` iterations to repeat.

    Args:
        config_text: what its config.yaml must end with.
    """
    folder, found = log_dir / "run", []
    for path in checkpoints(log_dir):
        try:
            counters_of(path)
        except (ContentError, pickle.UnpicklingError, RuntimeError) as error:
            found.append(f"{path.name}: {error}")
    for path in folder.glob("*.json"):
        try:
            json.loads(path.read_text())
        except ValueError as error:
            found.append(f"{path.name}: {error}")
    for path in folder.rglob("*.png"):
        try:
            Image.open(path).load()
        except OSError as error:
            found.append(f"{path.name}: {error}")
    config = folder / "config.yaml"
    if config.is_file() and not config.read_text().endswith(config_text):
        found.append("config.yaml is not the run's")
    lost = last_row(log_dir) - saved_iteration(log_dir)
    if lost > most_lost:
        found.append(f"{lost} iterations lost, at most {most_lost} are allowed")
    return found


def saved_iteration(log_dir: Path) -> int:
    """The iteration from which a resume goes on; 0 without a checkpoint."""
    latest = log_dir / "run" / "checkpoints" / "phase1_latest.pth"
    return int(counters_of(latest)["iteration"]) if latest.is_file() else 0


def counters_of(checkpoint: Path) -> dict[str, Any]:
    """The counters of a checkpoint whose bytes are whole; what else it holds is the resume's to check.

    Raises:
        ContentError: a byte differs.
    """
    check_archive(checkpoint)
    return dict(torch.load(checkpoint, weights_only=True)["counters"])


def last_row(log_dir: Path) -> int:
    """The iteration of the last whole row."""
    path = log_dir / "run" / "metrics.jsonl"
    lines = path.read_bytes().split(b"\n")[:-1] if path.is_file() else []
    return int(json.loads(lines[-1])["iteration"]) if lines else 0

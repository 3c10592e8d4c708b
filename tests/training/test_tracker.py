"""Runs in wandb, offline, and in trackio; and trackers that fail, hang or are not reached.

Nothing is replaced: wandb's own process writes the files that its own reader reads. What needs an account (runs online,
`wandb sync`, downloads) is not tested.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import wandb
from PIL import Image

from legged_ppo.config.loading import load_config
from legged_ppo.config.schema import Config
from legged_ppo.errors import ConfigError, UsageError
from legged_ppo.runs.checkpoint import load_checkpoint
from legged_ppo.runs.run_directory import TO_RESUME, RunDirectory, find_checkpoint
from legged_ppo.training import tracker
from legged_ppo.training.logger import MetricLogger
from legged_ppo.training.run import train
from legged_ppo.training.tracker import Tracker, check_tracker

ROOT = Path(__file__).resolve().parents[2]
TINY = [
    "training.num_envs=2",
    "ppo.rollout_length=32",
    "ppo.num_epochs=1",
    "training.checkpoint_freq=64",
    "training.evaluation_episodes=1",
    "training.report=false",
    "training.total_timesteps=128",
    "training.run_name=tiny",
]


def recipe(log_dir: Path, *overrides: str) -> Config:
    """CartPole in 4 iterations of 64 steps."""
    path = ROOT / "configs" / "gym" / "cartpole_ppo.yaml"
    return load_config(path, [*TINY, f"training.log_dir={log_dir}", *overrides])


def offline() -> Config:
    config = Config()
    config.training.wandb = "offline"
    return config


def records(root: Path) -> list[list[dict[str, Any]]]:
    """What wandb wrote, by its own reader: the records of each offline session of a run, oldest first."""
    found = []
    for file in sorted(root.glob("wandb/offline-run-*/*.wandb")):
        command = [Path(sys.executable).with_name("wandb"), "leet", "inspect", "--json", file]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found.append([json.loads(line) for line in text.splitlines()])
    return found


def service() -> int:
    """The process id of wandb's service, a child of this process."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        text = stat.read_text()
        if "(wandb-core)" in text and int(text.rpartition(")")[2].split()[1]) == os.getpid():
            return int(stat.parent.name)
    raise AssertionError("wandb's service does not run")


def started(root: Path, config: Config) -> Tracker:
    """A tracker whose run has begun."""
    found = Tracker(root, config)
    assert found._calls is not None and found._calls.wait(60)
    return found

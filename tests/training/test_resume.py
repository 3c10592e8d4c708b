"""What a resumed trainer takes over from its checkpoint."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch

from legged_ppo.config.loading import CONFIG_DIR, load_config
from legged_ppo.env.factory import make_locomotion_env
from legged_ppo.runs.checkpoint import load_checkpoint
from legged_ppo.runs.run_directory import LATEST, RunDirectory
from legged_ppo.training.trainer import Trainer


def drawn() -> tuple[float, float, float]:
    return random.random(), float(np.random.random()), float(torch.rand(()))


def test_a_resume_restores_health_streaks_and_global_random_numbers(tmp_path: Path) -> None:
    config = load_config(CONFIG_DIR / "phase1_quickstart.yaml", ["+preset=debug", "terrain=flat"])
    env, run = make_locomotion_env(config, config.training.num_envs, seed=0), RunDirectory(tmp_path)
    run.checkpoints.mkdir()
    trainer = Trainer(config, env, run, scorer=None)
    trainer.health.check({"Policy/approx_kl": 0.3, "Policy/mean_std": 0.5}, 1)
    drawn()
    trainer._save()
    streaks, expected = dict(trainer.health.streaks), drawn()
    assert sum(streaks.values()) == 1
    resumed = Trainer(config, env, run, load_checkpoint(run.checkpoints / LATEST), scorer=None)
    assert drawn() == expected
    assert resumed.health.streaks == streaks

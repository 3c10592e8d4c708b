"""Training as a function, without a command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from legged_ppo.config.loading import load_config
from legged_ppo.errors import UsageError
from legged_ppo.runs.checkpoint import load_checkpoint
from legged_ppo.runs.provenance import provenance
from legged_ppo.training.run import train

RECIPE = Path(__file__).resolve().parents[2] / "configs" / "phase1_quickstart.yaml"


def test_train_returns_the_run_directory_and_resume_continues_it(tmp_path: Path) -> None:
    tiny = ["+preset=debug", "training.num_envs=4", "training.report=false"]
    config = load_config(RECIPE, [*tiny, f"training.log_dir={tmp_path}"])
    config.training.total_timesteps = 4 * config.ppo.rollout_length
    run = train(config, device="cpu", name="tiny")
    assert run.parent == tmp_path and run.name.startswith("tiny_go2")
    config.training.total_timesteps *= 2
    assert train(config, device="cpu", resume="latest") == run
    counters = load_checkpoint(run / "checkpoints" / "phase1_final.pth")["counters"]
    assert counters["env_steps"] == config.training.total_timesteps
    assert json.loads((run / "summary.json").read_text())["provenance"] == provenance()
    assert train(config, device="cpu", resume=run) == run  # complete: nothing more to do

    with pytest.raises(UsageError, match="cannot be combined with --resume"):
        train(config, device="cpu", resume=run, init_from=run)

"""Training as a function, without a command line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import wandb

from legged_ppo.config.loading import load_config
from legged_ppo.errors import UsageError
from legged_ppo.robots.spec import mjcf_path
from legged_ppo.runs.checkpoint import load_checkpoint
from legged_ppo.runs.provenance import provenance
from legged_ppo.training.run import train

RECIPE = Path(__file__).resolve().parents[2] / "configs" / "phase1_quickstart.yaml"
SHORT = ["training.evaluation_episodes=1", "task.episode_length_s=0.2"]


def test_train_returns_the_run_directory_and_resume_continues_it(tmp_path: Path) -> None:
    tiny = ["+preset=debug", "training.num_envs=4", "training.report=false", *SHORT]
    config = load_config(RECIPE, [*tiny, f"training.log_dir={tmp_path}"])
    config.training.total_timesteps = 4 * config.ppo.rollout_length
    config.training.wandb = "offline"
    run = train(config, device="cpu", name="tiny")
    assert wandb.run is None and list(run.glob("wandb/offline-run-*/*.wandb"))
    config.training.wandb = "disabled"
    assert run.parent == tmp_path and run.name.startswith("tiny_go2")
    config.training.total_timesteps *= 2
    assert train(config, device="cpu", resume="latest") == run
    counters = load_checkpoint(run / "checkpoints" / "phase1_final.pth")["counters"]
    assert counters["env_steps"] == config.training.total_timesteps
    assert json.loads((run / "summary.json").read_text())["provenance"] == provenance()
    assert train(config, device="cpu", resume=run) == run  # complete: nothing more to do

    with pytest.raises(UsageError, match="cannot be combined with --resume"):
        train(config, device="cpu", resume=run, init_from=run)


def test_physics_that_blows_up_is_a_line_for_each_kind_and_a_file_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    text = re.sub(r'actuatorfrcrange="[^"]*"', "", mjcf_path("go2").read_text())
    (tmp_path / "strong.xml").write_text(text)
    stiff = [f"robot.mjcf={tmp_path}/strong.xml", "robot.kp=1e6", "sim.integrator=euler"]
    stiff.append("sim.engine=mujoco_c")
    tiny = ["+preset=debug", "training.num_envs=16", "training.report=false", *stiff]
    config = load_config(RECIPE, [*tiny, "training.log_dir=logs", *SHORT])
    config.training.total_timesteps = 16 * config.ppo.rollout_length
    run = train(config, device="cpu")
    assert [path.name for path in Path().iterdir()] == ["logs"]
    assert "unstable" in (run / "MUJOCO_LOG.TXT").read_text()
    warned = [line for line in caplog.messages if line.startswith("MuJoCo warn")]
    assert 1 <= len(warned) <= 6 and any("times" in line for line in warned)

"""Policies that come with the package act, and a run's checkpoint becomes a small file like them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from legged_ppo import load_policy
from legged_ppo.cli import train
from legged_ppo.config.schema import Config
from legged_ppo.errors import ConfigError
from legged_ppo.runs.pretrained import pretrained_card, pretrained_names, pretrained_path
from legged_ppo.training.run import train as run_training


def test_every_policy_is_a_small_file_without_an_optimizer_and_has_a_card() -> None:
    assert {"go2_flat", "go2_rough"} <= set(pretrained_names())
    for name in pretrained_names():
        path = pretrained_path(f"pretrained:{name}")
        assert path.stat().st_size <= 3e6
        held = torch.load(path, weights_only=True)
        assert {"config", "policy", "provenance"} <= held.keys()
        assert held.keys().isdisjoint(("ppo", "ranks"))  # optimizer; states of the robots
        card = pretrained_card(name)
        assert all(card[key] for key in ("robot", "training", "machine", "ground", "limits"))


def test_a_name_that_is_none_is_refused_with_those_that_are() -> None:
    with pytest.raises(ConfigError, match=r"--checkpoint.*pretrained:go3.*pretrained:go2_flat"):
        pretrained_path("pretrained:go3")


def test_no_training_resumes_from_a_policy_alone(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert train.main(["--resume", "pretrained:go2_flat", f"training.log_dir={tmp_path}"]) == 2
    assert "a policy alone, for --init-from" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_saved_policy_acts_alike_and_begins_another_run(quiet: Config, tmp_path: Path) -> None:
    quiet.training.log_dir, quiet.training.wandb = str(tmp_path / "logs"), "disabled"
    quiet.training.num_envs, quiet.training.total_timesteps = 8, 8 * quiet.ppo.rollout_length
    quiet.training.report = False
    policy = load_policy(run_training(quiet, device="cpu"))
    policy.save(tmp_path / "alone.pth")
    alone = load_policy(tmp_path / "alone.pth")
    assert alone.env_steps == policy.env_steps and alone.config == policy.config
    for name, value in policy.network.state_dict().items():
        torch.testing.assert_close(alone.network.state_dict()[name], value, rtol=0, atol=0)
    assert (tmp_path / "alone.pth").stat().st_size < policy.path.stat().st_size / 2
    quiet.training.run_name = "second"
    started = run_training(quiet, device="cpu", init_from=tmp_path / "alone.pth")
    assert (started / "summary.json").is_file()

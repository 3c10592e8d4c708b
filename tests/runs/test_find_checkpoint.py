"""A checkpoint can be named by its file, its run or `latest`, wherever one is asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from legged_ppo.cli import evaluate, play
from legged_ppo.config.schema import Config
from legged_ppo.errors import ConfigError
from legged_ppo.runs.run_directory import BEST, LATEST, TO_RESUME, RunDirectory, find_checkpoint
from legged_ppo.training.run import train


@pytest.fixture
def run(tmp_path: Path, config: Config) -> RunDirectory:
    config.training.log_dir, config.training.run_name = str(tmp_path / "logs"), "run"
    return RunDirectory.create(config, "recipe")


def test_a_run_is_named_by_its_folders_its_files_and_latest(run: RunDirectory) -> None:
    log_dir = str(run.root.parent)
    folders = ("latest", run.root, str(run.root), run.checkpoints)
    (run.checkpoints / LATEST).touch()
    for name in folders:
        assert find_checkpoint(name, log_dir) == run.checkpoints / LATEST
    (run.checkpoints / BEST).touch()
    for name in folders:
        assert find_checkpoint(name, log_dir) == run.checkpoints / BEST
        assert find_checkpoint(name, log_dir, names=TO_RESUME) == run.checkpoints / LATEST
    file = run.checkpoints / LATEST
    assert find_checkpoint(file, log_dir) == file


def test_what_is_missing_is_named(run: RunDirectory, tmp_path: Path) -> None:
    for name, missing in (
        ("latest", "phase1_latest.pth in"),
        (str(run.root), "phase1_best.pth or phase1_latest.pth in"),
        (str(tmp_path / "none.pth"), "none.pth"),
    ):
        with pytest.raises(ConfigError, match=f"--some: got .*there is no .*{missing}"):
            find_checkpoint(name, str(run.root.parent), "--some")


def test_every_command_takes_a_runs_folder(
    run: RunDirectory,
    config: Config,
    make_checkpoint: Callable[[Path, Config], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_checkpoint(run.checkpoints / BEST, config)
    folder, logs = str(run.root), str(run.root.parent)
    short = ["task.episode_length_s=0.1", "--envs", "2", "--log-dir", logs]
    assert evaluate.main(["--compare", folder, "latest", *short]) == 0
    assert evaluate.main(["--checkpoint", folder, *short]) == 0
    video = str(tmp_path / "none" / "x.mp4")
    assert play.main(["--checkpoint", folder, "--video", video]) == 2
    assert "--video" in capsys.readouterr().err
    config.training.report = False
    config.training.total_timesteps, config.training.num_envs = 16, 2
    config.ppo.rollout_length = config.ppo.bptt_length = 8
    config.ppo.num_minibatches, config.training.evaluation_episodes = 1, 2
    for source in (folder, "latest"):
        assert (train(config, device="cpu", init_from=source) / "checkpoints" / BEST).is_file()

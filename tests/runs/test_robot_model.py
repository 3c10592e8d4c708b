"""A checkpoint holds its robot: it acts, and its run goes on, without the robot's files."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from legged_ppo.cli import evaluate
from legged_ppo.config.loading import CONFIG_DIR, load_config
from legged_ppo.config.schema import Config
from legged_ppo.env.factory import make_locomotion_env
from legged_ppo.errors import ConfigError
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.robots.spec import load_robot, mjcf_path
from legged_ppo.runs.checkpoint import load_checkpoint, read_policy, save_checkpoint
from legged_ppo.runs.robot_model import read_model, same_model
from legged_ppo.training.run import train

MESH = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def mjcf(tmp_path: Path) -> Path:
    """A Go2 in two files and a mesh, in sibling folders."""
    for name in ("xml", "meshes"):
        (tmp_path / "robot" / name).mkdir(parents=True)
    main = tmp_path / "robot" / "xml" / "mine.xml"
    main.write_text(
        "<mujoco><compiler meshdir='../meshes'/><asset><mesh file='part.obj'/></asset>"
        "<include file='go2.xml'/></mujoco>"
    )
    (main.parent / "go2.xml").write_text(mjcf_path("go2").read_text())
    (tmp_path / "robot" / "meshes" / "part.obj").write_text(MESH)
    return main


def write(path: Path, config: Config, model: dict[str, Any] | None) -> Path:
    """An untrained policy's checkpoint that holds `model`."""
    env = make_locomotion_env(config, 1, 0)
    policy = ActorCritic(env.obs_dims, env.num_actions, config.policy)
    sizes = {"obs_dims": env.obs_dims, "num_actions": env.num_actions}
    counters = {"iteration": 3, "env_steps": 4096}
    parts = {"policy": policy.state_dict(), "counters": counters, "robot_model": model}
    save_checkpoint(path, {"config": asdict(config), **sizes, **parts})
    return path


def test_a_checkpoint_acts_without_the_robots_files(
    mjcf: Path, config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.robot.mjcf = str(mjcf)
    before = load_robot(config.robot)
    model = read_model(config)
    assert set(model["files"]) == {"xml/mine.xml", "xml/go2.xml", "meshes/part.obj"}
    path = write(tmp_path / "moved.pth", config, model)
    assert read_policy(path)[1] == config, "the files are still there"
    mjcf.parents[1].rename(tmp_path / "gone")
    short = ["--envs", "2", "task.episode_length_s=0.1"]
    assert evaluate.main(["--checkpoint", str(path), *short]) == 0
    after = load_robot(read_policy(path)[1].robot)
    assert after.total_mass == before.total_mass and after.path != before.path
    assert same_model(read_model(read_policy(path)[1]), model)
    assert "robot.mjcf" not in capsys.readouterr().err
    old = write(tmp_path / "old.pth", config=read_policy(path)[1], model=None)
    assert evaluate.main(["--checkpoint", str(old), *short]) == 0


def test_a_file_that_has_changed_is_named_and_not_used(
    mjcf: Path, config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config.robot.mjcf = str(mjcf)
    path = write(tmp_path / "policy.pth", config, read_model(config))
    mass = load_robot(config.robot).total_mass
    part = mjcf.parent / "go2.xml"
    part.write_text(part.read_text().replace('name="base"', 'name="base" gravcomp="1"', 1))
    assert part.read_text() != mjcf_path("go2").read_text()
    with caplog.at_level(logging.WARNING):
        used = read_policy(path)[1].robot
    assert len(caplog.records) == 1 and str(mjcf) in caplog.text and str(path) in caplog.text
    assert load_robot(used).total_mass == mass
    assert "gravcomp" not in (Path(used.mjcf).parent / "go2.xml").read_text()
    # A robot that an override names is not the checkpoint's.
    short = ["--envs", "1", "task.episode_length_s=0.1", "robot.mjcf=none.xml"]
    assert evaluate.main(["--checkpoint", str(path), *short]) == 2


HOSTILE = {
    "no XML": ("<mujoco><worldbody>", "XML"),
    "another file": ("<mujoco><include file='{away}'/></mujoco>", "reads"),
    "no such mesh": ("<mujoco><asset><mesh file='none.obj'/></asset></mujoco>", "none.obj"),
    "an endless loop": ("<mujoco><include file='x.xml'/></mujoco>", "already included"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_model_that_does_not_compile_is_one_line_and_leaves_nothing(
    name: str,
    config: Config,
    tmp_path: Path,
    cache: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    away = tmp_path / "away.xml"
    away.write_text(mjcf_path("go2").read_text())
    xml, reason = HOSTILE[name]
    text = xml.format(away=away).encode()
    model = {"main": "x.xml", "files": {"x.xml": torch.tensor(list(text), dtype=torch.uint8)}}
    path = write(tmp_path / "policy.pth", config, model)
    assert evaluate.main(["--checkpoint", str(path), "--envs", "1"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: checkpoint: got") and path.name in error and reason in error
    assert not [each for each in cache.rglob("*") if each.is_file()]


def test_a_name_that_is_a_file_and_a_folder_is_refused(config: Config, tmp_path: Path) -> None:
    files = {name: torch.zeros(1, dtype=torch.uint8) for name in ("x", "x/y")}
    path = write(tmp_path / "policy.pth", config, {"main": "x", "files": files})
    with pytest.raises(ConfigError, match="is a file and a folder"):
        read_policy(path)


def test_a_cached_model_that_was_changed_is_written_anew(
    mjcf: Path, config: Config, tmp_path: Path
) -> None:
    config.robot.mjcf = str(mjcf)
    path = write(tmp_path / "policy.pth", config, read_model(config))
    mjcf.unlink()
    cached = Path(read_policy(path)[1].robot.mjcf)
    text = cached.read_text()
    cached.write_text("<mujoco/>")
    assert read_policy(path)[1].robot.mjcf == str(cached) and cached.read_text() == text


def test_files_beyond_the_bound_stay_out_of_the_checkpoint(
    mjcf: Path, config: Config, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("legged_ppo.runs.robot_model.MODEL_BYTES", 100)
    config.robot.mjcf = str(mjcf)
    assert read_model(config) is None and "checkpoints do not hold the robot" in caplog.text


def test_a_moved_run_goes_on_without_the_robots_files(
    mjcf: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_checkpoint: Callable[[Path, Config], Path],
) -> None:
    tiny = ["+preset=debug", "training.num_envs=4", "training.report=false", "terrain=flat"]
    config = load_config(CONFIG_DIR / "phase1_quickstart.yaml", tiny)
    config.training.evaluation_episodes, config.task.episode_length_s = 1, 0.2
    config.training.log_dir, config.robot.mjcf = str(tmp_path / "logs"), str(mjcf)
    config.training.total_timesteps = 4 * config.ppo.rollout_length
    run = train(config, device="cpu")
    moved = (run / "checkpoints" / "phase1_latest.pth").rename(tmp_path / "moved.pth")
    stored = load_checkpoint(moved)["robot_model"]
    # A copy of the robot in another place is the same robot.
    copied = copy.deepcopy(config)
    copied.robot.mjcf = str((mjcf.parents[1].rename(tmp_path / "other")) / "xml" / "mine.xml")
    copied.training.total_timesteps *= 2
    train(copied, device="cpu", resume=moved)
    (tmp_path / "other").rename(tmp_path / "gone")
    with pytest.raises(ConfigError, match=r"robot\.mjcf"):
        train(copied, device="cpu", resume=moved)
    config.training.total_timesteps *= 2
    run = train(config, device="cpu", resume=moved)
    assert same_model(
        load_checkpoint(run / "checkpoints" / "phase1_final.pth")["robot_model"], stored
    )

"""evaluate.py and play.py as a user meets them: help, results, and one line for bad input."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import imageio.v2 as imageio
import numpy as np
import pytest

from legged_ppo.cli import evaluate as evaluate_cli
from legged_ppo.cli import play as play_cli
from legged_ppo.cli import terrain as gallery_cli
from legged_ppo.cli import train as train_cli
from legged_ppo.config.schema import Config, TerrainConfig
from legged_ppo.env import factory
from legged_ppo.evaluation.evaluator import evaluation_config
from legged_ppo.robots.spec import mjcf_path
from legged_ppo.runs.checkpoint import read_policy
from legged_ppo.terrain.grid import Terrain, build_terrain
from legged_ppo.viewer import gl_backend

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkpoint(tmp_path: Path, config: Config, make_checkpoint: Callable[..., Path]) -> Path:
    return make_checkpoint(tmp_path / "policy.pth", config)


@pytest.mark.parametrize("script", ["evaluate.py", "play.py", "train_phase1.py"])
def test_help_imports_nothing_heavy(script: str) -> None:
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['{script}', '--help']\n"
        "try:\n"
        f"    runpy.run_path('{script}', run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    assert end.code == 0\n"
        "heavy = {'torch', 'mujoco', 'numpy', 'matplotlib', 'hydra'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"usage: {script}" in done.stdout


def test_evaluate_prints_a_table_and_writes_the_documented_json(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "figures.json"
    arguments = ["--checkpoint", str(checkpoint), "--envs", "4", "--json", str(file)]
    assert evaluate_cli.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "flat" in printed
    assert "level 1: 5 cm" in printed
    content = json.loads(file.read_text())
    assert list(content) == [
        "checkpoint",
        "env_steps",
        "overall",
        "terrain",
        "terrain_cells",
        "terrain_fingerprint",
        "gait",
        "standing",
        "motion",
    ]
    config = evaluation_config(read_policy(checkpoint)[1])
    assert content["terrain_fingerprint"] == build_terrain(config.terrain).fingerprint
    assert content["checkpoint"] == str(checkpoint)
    assert content["env_steps"] == 4096
    assert content["overall"]["episodes"] == 4


@pytest.mark.parametrize("cli", [evaluate_cli, play_cli])
def test_physics_that_blows_up_is_a_line_for_each_kind_of_warning(
    cli: ModuleType,
    checkpoint: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    strong = tmp_path / "strong.xml"
    strong.write_text(re.sub(r'actuatorfrcrange="[^"]*"', "", mjcf_path("go2").read_text()))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    unstable = [f"robot.mjcf={strong}", "robot.kp=1e6", "sim.integrator=euler"]
    option = ["--envs", "8"] if cli is evaluate_cli else ["--episodes", "8"]
    assert cli.main(["--checkpoint", str(checkpoint), *option, *unstable]) == 0
    lines = [line for line in capfd.readouterr().err.splitlines() if "unstable" in line]
    assert 1 <= len(lines) <= 6 and not list(Path().iterdir())


def test_overrides_change_the_conditions(checkpoint: Path, tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    arguments = ["--checkpoint", str(checkpoint), "--envs", "2", "--json", str(file)]
    overrides = ["terrain=flat", "task.episode_length_s=0.5", "task.commands.lin_vel_x=[0.5, 1]"]
    assert evaluate_cli.main([*arguments, *overrides]) == 0
    content = json.loads(file.read_text())
    assert list(content["terrain"]) == ["flat"]
    assert content["overall"]["time_to_fall_s"] == pytest.approx(0.5)


def test_another_terrain_seed_is_other_ground_of_the_same_kind(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grounds = []

    def watch(config: TerrainConfig, *extensions: Any) -> Terrain:
        ground = build_terrain(config, *extensions)
        if ground.types != ["flat"]:  # that of the gait test
            grounds.append(ground)
        return ground

    monkeypatch.setattr(factory, "build_terrain", watch)
    file = tmp_path / "figures.json"
    arguments = ["--checkpoint", str(checkpoint), "--envs", "8", "--json", str(file)]
    figures = []
    for override in ([], ["terrain.seed=1"], ["terrain.seed=2"]):
        assert evaluate_cli.main([*arguments, "task.episode_length_s=0.5", *override]) == 0
        figures.append(json.loads(file.read_text()))
    trained, same, other = grounds
    assert np.array_equal(trained.heights, same.heights)  # 1 is the seed of the training
    assert figures[0] == figures[1] != figures[2]
    rough = trained.types.index("rough")
    assert np.abs(trained.heights[rough] - other.heights[rough]).mean() > 0.002
    features = [each["terrain"]["rough"]["features"] for each in figures]
    assert features[0] == features[2] == {"0": "1 cm", "1": "5 cm"}


def test_a_type_alone_is_all_of_its_levels(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "figures.json"
    short = ["--json", str(file), "--envs", "4", "task.episode_length_s=0.1"]
    found = {}
    for place in (["--terrain", "rough"], ["--terrain", "rough", "--level", "1"]):
        assert evaluate_cli.main(["--checkpoint", str(checkpoint), *short, *place]) == 0
        terrain = json.loads(file.read_text())["terrain"]
        assert list(terrain) == ["rough"]
        levels = terrain["rough"]["levels"]
        found[len(place)] = {level: each["episodes"] for level, each in levels.items()}
    assert found == {2: {"0": 2, "1": 2}, 4: {"1": 4}}
    assert evaluate_cli.main(["--checkpoint", str(checkpoint), "--terrain", "ruogh"]) == 2
    assert "did you mean 'rough'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["task.comands.heading=true"], "did you mean 'task.commands.heading'"),
        (["task.max_tilt=-1"], "task.max_tilt: got -1"),
        (["task.max_tilt=steep"], "task.max_tilt"),
        (["task.commands.lin_vel_x=[0,fast]"], "task.commands.lin_vel_x"),
        (["terrain.proportions={roguh: 1}"], "did you mean 'rough'"),
        (["terrain=swamp"], "one of course, documented, flat, full, mild"),
        (["policy.gru_hidden=8"], "a key of robot, terrain, sim, task"),
        (["gym.success_return=1"], "a key of robot, terrain, sim, task"),
        (["task.observations.scandots.x=[0.1]"], "as the policy of"),
        (["task.gait.frequency=2"], "as the policy of"),
        (["terrain"], "key=value"),
        (["--json", "nowhere/figures.json"], "in a folder that exists"),
        (["--json", "figures.txt"], "ends in .json"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    checkpoint: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate_cli.main(["--checkpoint", str(checkpoint), *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err


@pytest.mark.parametrize("cli", [evaluate_cli, play_cli])
@pytest.mark.parametrize("content", [None, b"", b"not a checkpoint", "cut"])
def test_a_bad_checkpoint_is_one_line_and_exit_code_2(
    cli: ModuleType,
    content: object,
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "bad.pth"
    if content == "cut":
        path.write_bytes(checkpoint.read_bytes()[:5000])
    elif content is not None:
        path.write_bytes(content)
    assert cli.main(["--checkpoint", str(path)]) == 2
    error = capsys.readouterr().err
    assert re.match(r"error: (--)?checkpoint: got", error)
    assert error.count("\n") == 1


def test_latest_without_a_run_is_bad_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert play_cli.main(["--log-dir", str(tmp_path)]) == 2
    assert "latest" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--video=x.mp4", "--episodes=2", "--seconds=3"],
            "--seconds: got '3.0', expected left out",
        ),
        (["--size=800x450"], "--size: got '800x450', expected left out without --video"),
        (["--show-depth"], "--show-depth: got 'True', expected left out without --video or --gif"),
        (["--camera=top"], "--camera: got 'top', expected left out without --video, --gif, --v"),
        (["--seconds=3"], "expected left out without --video"),
        (["--share=page", "--video=x.mp4"], "--video: got 'x.mp4', expected left out with --share"),
        (["--share=page", "--level=1"], "--terrain TYPE beside it"),
    ],
)
def test_options_of_a_recording_that_would_be_ignored_are_refused(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert play_cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_seconds_size_and_camera_reach_the_recording(
    checkpoint: Path,
    backend: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    video = tmp_path / "walk.mp4"
    options = ["--seconds=0.2", "--size=480x270", "--camera=top"]
    assert play_cli.main(["--checkpoint", str(checkpoint), "--video", str(video), *options]) == 0
    frames = imageio.mimread(video)
    assert len(frames) == 5 and frames[0].shape == (270, 480, 3)
    sky = (frames[0][:, :, 2] > frames[0][:, :, 0].astype(int) + 60).mean()  # bluer than the ground
    assert sky < 0.05, "the top view shows no sky; the default one shows 0.11"


def test_play_without_a_display_prints_every_episode(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    arguments = ["--checkpoint", str(checkpoint), "--episodes", "3", "--command=-0.5,0,0"]
    assert play_cli.main(arguments) == 0
    printed = capsys.readouterr().out
    assert printed.count("lagged behind") == 3
    assert "return" in printed


def test_a_recording_without_a_gl_back_end_says_what_to_install_and_succeeds(
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gl_backend, "_renders", lambda name: False)
    gl_backend.use_working_backend.cache_clear()
    video = tmp_path / "walk.mp4"
    arguments = ["--checkpoint", str(checkpoint), "--episodes", "1", "--video", str(video)]
    assert play_cli.main(arguments) == 0
    gl_backend.use_working_backend.cache_clear()
    lines = [line for line in capsys.readouterr().out.splitlines() if "apt-get install" in line]
    assert len(lines) == 1
    assert not video.exists()


@pytest.mark.parametrize(
    ("cli", "arguments", "message"),
    [
        (play_cli, ["--command=1,2"], "not three numbers"),
        (play_cli, ["--episodes=0"], "0 is not above 0"),
        (play_cli, ["--seed=-1"], "-1 is negative"),
        (play_cli, ["--gif-fps=x"], "--gif-fps"),
        (play_cli, ["--seconds=0"], "0 is not from 0.1 to 3600"),
        (play_cli, ["--seconds=nan"], "nan is not from 0.1"),
        (play_cli, ["--size=801x450"], "two even numbers such as 1280x720"),
        (play_cli, ["--size=9000x100"], "from 480x180 to 3840x2160"),
        (play_cli, ["--size=big"], "two even numbers"),
        (play_cli, ["--camera=above"], "choose from"),
        (evaluate_cli, ["--level", "-1"], "-1 is negative"),
        (evaluate_cli, ["--nonsense", "3"], "--nonsense"),
        (gallery_cli, ["--gallery", "out.png", "--levels", "0"], "0 is not above 0"),
        (train_cli, ["--config"], "expected one argument"),
    ],
)
def test_wrong_option_values_are_one_line_and_exit_code_2(
    cli: ModuleType, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error

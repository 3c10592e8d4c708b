"""python -m legged_ppo.deploy.run as a user meets it."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
import pytest

from legged_ppo.config.schema import CommandConfig
from legged_ppo.deploy import run
from legged_ppo.deploy.commands import Commands
from legged_ppo.deploy.keyboard import Driver
from legged_ppo.robots.spec import mjcf_path

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def copied(exported: Path, tmp_path: Path) -> Path:
    """A copy of the export that a test may damage."""
    for suffix in (".onnx", ".xml", ".npz"):
        (tmp_path / f"policy{suffix}").write_bytes(exported.with_suffix(suffix).read_bytes())
    return tmp_path / "policy.onnx"


def rewrite(path: Path, **changes: object) -> None:
    """Change values of the metadata, given by their dotted keys with __ for the dot."""
    model = onnx.load(path)
    values = json.loads(model.metadata_props[0].value)
    for key, value in changes.items():
        *parents, name = key.split("__")
        place = values
        for parent in parents:
            place = place[parent]
        place[name] = value
    model.metadata_props[0].value = json.dumps(values)
    onnx.save(model, path)


def test_the_runner_loads_no_torch_and_no_training(exported: Path) -> None:
    code = (
        "import sys\n"
        "from legged_ppo.deploy.run import main\n"
        f"assert main([{str(exported)!r}, '--seconds', '0.4', '--fast', '--command', '0.5,0,0']) == 0\n"
        f"assert main([{str(exported)!r}, '--episodes', '2']) == 0\n"
        "heavy = {'torch', 'hydra', 'omegaconf', 'matplotlib', 'yaml', 'onnx'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "m walked" in done.stdout and re.search(r"^all +2 ", done.stdout, re.M)


@pytest.mark.parametrize("content", [b"", b"not a graph", "cut"])
def test_a_damaged_file_is_one_line(
    content: bytes | str, copied: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = copied.read_bytes()
    copied.write_bytes(whole[: len(whole) // 2] if isinstance(content, str) else content)
    assert_refused([str(copied), "--seconds", "1"], "a whole ONNX file", capfd)


def test_a_graph_of_something_else_is_one_line(
    copied: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = onnx.load(copied)
    del model.metadata_props[:]
    onnx.save(model, copied)
    expected = "an ONNX file of legged-ppo export"
    assert_refused([str(copied), "--seconds", "1"], expected, capfd)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 99}, "format_version: got 99, expected 1"),
        ({"robot__kp": [25.0] * 11}, "12 entries"),
        ({"robot__kp": [30.0] * 12}, "kp of FL_hip_joint: got 25.0, expected 30.0"),
        ({"robot__total_mass": 20.0}, "total_mass: got 15.2"),
        ({"recurrent_state": [2, 1, 16]}, "got [1, 1, 16], expected [2, 1, 16]"),
        ({"observations": []}, "metadata say"),
        ({"config__robot__joints": ["hip"] * 12}, "robot.joints: got 'hip'"),
        ({"config__sim__new_key": 1}, "a recipe of this version"),
        ({"robot__new_key": 1}, "metadata: got 'damaged'"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_metadata_that_disagree_are_named(
    changes: dict[str, object], message: str, copied: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rewrite(copied, **changes)
    assert_refused([str(copied), "--seconds", "1"], message, capfd)


def test_another_robot_is_refused_with_the_difference(
    copied: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    scene = copied.with_suffix(".xml")
    longer = scene.read_text().replace("-1.0472 1.0472", "-0.9 0.9")
    assert longer != scene.read_text()
    scene.write_text(longer)
    message = "joint_range of FL_hip_joint: got [-0.9, 0.9], expected [-1.0472, 1.0472] as in"
    assert_refused([str(copied), "--seconds", "1"], message, capfd)
    options = [str(copied), "--seconds", "1", "--scene"]
    assert_refused([*options, str(mjcf_path("a1"))], "expected", capfd)
    assert_refused([*options, str(mjcf_path("go2"))], "an MJCF with ground", capfd)
    assert_refused([*options, str(tmp_path / "no.xml")], "an MJCF of robot and ground", capfd)
    (tmp_path / "bad.xml").write_text("<mujoco>")
    assert_refused([*options, str(tmp_path / "bad.xml")], "an MJCF that loads", capfd)


def test_the_users_own_scene_with_its_floor_works(
    copied: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    scene = tmp_path / "scene.xml"
    robot = mjcf_path("go2").read_text()
    floor = '<worldbody><geom name="floor" type="plane" size="0 0 1" contype="1" conaffinity="1"/>'
    scene.write_text(robot.replace("<worldbody>", floor, 1))
    options = ["--scene", str(scene), "--seconds", "1", "--fast"]
    assert run.main([str(copied), *options]) == 0
    assert "1.0 s" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--episodes", "2", "--seconds", "1"], "--seconds: got 1.0, expected left out"),
        (["--video", "walk.gif", "--seconds", "1"], "ends in .mp4"),
        (["--video", "nowhere/walk.mp4", "--seconds", "1"], "in a folder that exists"),
        (["--video", "walk.mp4"], "--seconds"),
        ([], "give --seconds"),
        (["--view"], "needs a display"),
    ],
    ids=str,
)
def test_options_that_cannot_be_met_are_one_line(
    options: list[str],
    message: str,
    exported: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", open(os.devnull))
    assert_refused([str(exported), *options], message, capfd)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [["--command", "1,2"], ["--seconds", "0"], ["--episodes", "x"]])
def test_wrong_values_are_one_line(options: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        run.main(["policy.onnx", *options])
    error = capfd.readouterr().err
    assert end.value.code == 2 and error.startswith("error: ") and error.count("\n") == 1


def test_a_video_shows_the_robot(exported: Path, backend: str, tmp_path: Path) -> None:
    video = tmp_path / "walk.mp4"
    command = [sys.executable, "-m", "legged_ppo.deploy.run", str(exported), "--video", str(video)]
    environment = os.environ | {"MUJOCO_GL": backend}
    done = subprocess.run(
        [*command, "--seconds", "0.4"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    frames = imageio.mimread(video)
    assert len(frames) == 10 and frames[0].shape == (450, 800, 3)
    middle = frames[0][200:320, 300:520].astype(int)
    assert middle.std() > 15  # the robot against the ground


def test_keys_of_a_terminal_drive_the_robot(exported: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "legged_ppo.deploy.run", str(exported)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=theirs, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(2)]
    assert "w/s forward" in lines[1]
    os.write(ours, b"wwwq")
    seen = ""
    while "command +0.3 +0.0 m/s +0.2 rad/s" not in seen:
        piece = process.stdout.read(20)
        assert piece, seen
        seen += piece
    os.write(ours, b"x")
    assert process.wait(20) == 0
    os.close(ours)
    os.close(theirs)


def test_keys_stay_within_the_ranges_of_the_training() -> None:
    low, high = np.array([-0.2, -0.6, -1.0]), np.array([0.3, 0.6, 1.0])
    commands, driver = Commands(CommandConfig(), 0.02, np.random.default_rng(0)), Driver(low, high)
    commands.fix(np.zeros(3))
    for key in "wwwwwadda":
        driver.press(key, commands, 0.0)
    np.testing.assert_allclose(commands.command, [0.3, 0.0, 0.0], atol=1e-9)
    for key in "ssssssse":
        driver.press(key, commands, 0.0)
    np.testing.assert_allclose(commands.command, [-0.2, 0.0, -0.2], atol=1e-9)
    driver.press(" ", commands, 0.0)
    assert (commands.command == 0.0).all() and not driver.quits


def test_keys_turn_the_heading_where_the_recipe_commands_one() -> None:
    config = CommandConfig(heading=True, heading_gain=0.5)
    commands = Commands(config, 0.02, np.random.default_rng(0))
    driver = Driver(np.full(3, -1.0), np.full(3, 1.0))
    commands.fix(np.zeros(3))
    driver.press("w", commands, 1.0)
    driver.press("q", commands, 1.2)  # the heading held is that of the first key
    commands.step(1.0)
    assert commands.command[0] == pytest.approx(0.1)
    assert commands.command[2] == pytest.approx(0.5 * np.radians(10))
    commands.step(1.0 + np.radians(10))
    assert commands.command[2] == pytest.approx(0.0, abs=1e-9)


def assert_refused(options: list[str], message: str, capfd: pytest.CaptureFixture[str]) -> None:
    """One line on stderr, nothing on stdout, exit code 2."""
    assert run.main(options) == 2
    captured = capfd.readouterr()
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1, captured.err
    assert message in captured.err, captured.err

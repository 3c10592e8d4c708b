"""The robot command: what it reports of good files, and that it refuses bad ones in one line each."""

from __future__ import annotations

from pathlib import Path

import pytest

from legged_ppo.cli.robot import main
from legged_ppo.viewer.gl_backend import RenderingUnavailable, use_working_backend

ROBOTS = Path(__file__).parents[2] / "configs" / "robot"


@pytest.mark.parametrize("name", ["go2", "a1"])
def test_the_robots_of_the_package_can_be_trained(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(ROBOTS / f"{name}.yaml")]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert not err and len(lines) <= 40 and max(map(len, lines)) <= 80
    assert "stands for 5.0 s" in out and "feet down 4 of 4" in out
    order = [line.split()[0] for line in lines if line.split()[0].endswith("_joint")]
    assert order == [
        f"{g}_{p}_joint" for g in ("FL", "FR", "RL", "RR") for p in ("hip", "thigh", "calf")
    ]


def test_a_recipe_is_checked_with_its_overrides(capsys: pytest.CaptureFixture[str]) -> None:
    recipe = str(ROBOTS.parent / "phase1_quickstart.yaml")
    kp = "robot.kp=[30,31,32,30,31,32,30,31,32,30,31,32]"
    assert main([recipe, kp]) == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("FR_thigh")]
    assert row.split()[-2:] == ["31", "1"]


BAD = [
    (
        ["robot.foot_geoms=[FL_foot,FR_foot,RL_fot,RR_foot]"],
        "'RL_fot' is not in the MJCF (closest: RL_foot",
    ),
    (
        ["robot.penalized_bodies=[thigh,FL_thighs]"],
        "'FL_thighs' is not in the MJCF (closest: FL_thigh",
    ),
    (["robot.kp=5"], "it falls after"),
    (
        ["robot.default_joint_pos=[2,.8,-1.5,-.1,.8,-1.5,.1,1,-1.5,-.1,1,-1.5]"],
        "of FL_hip_joint is outside",
    ),
    (["robot.foot_geoms=[FL_thigh,FR_foot,RL_foot,RR_foot]"], "FL_thigh lies"),
    (["robot.kp=[1,2]"], "robot.kp: got [1, 2]"),
    (["robot.kp=[nan]"], "robot.kp: got"),
    (["robot.kd=high"], "robot.kd: got 'high'"),
]


@pytest.mark.parametrize(("overrides", "line"), BAD)
def test_a_fault_is_one_line_and_exit_code_2(
    overrides: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(ROBOTS / "go2.yaml"), *overrides]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert any(line in error for error in errors)
    assert all(error.startswith("error: ") for error in errors)


def test_every_missing_name_is_reported_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main([str(ROBOTS / "go2.yaml"), "robot.base_body=trunk", "robot.termination_bodies=[x]"])
        == 2
    )
    assert capsys.readouterr().err.count("is not in the MJCF") == 2


def test_keys_and_values_that_the_schema_lacks_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.yaml"
    for text, expected in (
        ("mjcf: go2\nspawn_hight: 0.3\n", "did you mean 'spawn_height'?"),
        ("mjcf: go2\nspawn_height: high\n", "robot.spawn_height: got 'high'"),
        ("mjcf: nowhere.xml\n", "robot.mjcf: got 'nowhere.xml'"),
    ):
        path.write_text(text)
        assert main([str(path)]) == 2
        error = capsys.readouterr().err
        assert expected in error and error.count("\n") == 1


def test_the_picture_shows_the_robot_where_there_is_a_gl_back_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "go2.png"
    assert main([str(ROBOTS / "go2.yaml"), "--picture", str(path)]) == 0
    try:
        use_working_backend()
    except RenderingUnavailable:
        assert "no picture: " in capsys.readouterr().err and not path.exists()
        return
    from PIL import Image

    with Image.open(path) as picture:
        assert picture.size == (640, 480) and len(picture.convert("RGB").getcolors(1 << 20)) > 100

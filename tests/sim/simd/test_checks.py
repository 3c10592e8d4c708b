"""Models and settings that the engine would simulate differently are refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from legged_ppo.config.schema import RobotConfig, SimConfig, TerrainConfig
from legged_ppo.errors import ConfigError
from legged_ppo.robots.spec import load_robot, mjcf_path
from legged_ppo.sim.simd.engine import Simd
from legged_ppo.terrain.grid import build_terrain

FOOT = '<geom name="FL_foot" class="foot"/>'
HIP = '<joint name="FL_hip_joint" class="hip"/>'
EQUALITY = '<equality><connect body1="FL_calf" body2="FR_calf" anchor="0 0 0"/></equality>'


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        (HIP, HIP.replace("/>", ' frictionloss="0.1"/>'), "friction loss (joint FL_hip_joint)"),
        (HIP, HIP.replace("/>", ' stiffness="1"/>'), "spring (FL_hip_joint)"),
        (FOOT, FOOT.replace("/>", ' condim="4"/>'), "contact dimension other than 3 (FL_foot)"),
        (FOOT, FOOT.replace("/>", ' margin="0.01"/>'), "margin or gap (FL_foot)"),
        (FOOT, FOOT + '<geom name="b" type="box" size="0.1 0.1 0.1"/>', "a box that collides (b)"),
        ("</worldbody>", f"</worldbody>{EQUALITY}", "an equality constraint"),
    ],
)
def test_a_model_is_refused_by_what_it_has(
    robot_config: Callable[[str], RobotConfig], tmp_path: Path, old: str, new: str, named: str
) -> None:
    text = mjcf_path("go2").read_text()
    assert old in text
    path = tmp_path / "robot.xml"
    path.write_text(text.replace(old, new, 1))
    config = robot_config("go2")
    config.mjcf = str(path)
    with pytest.raises(ConfigError) as error:
        Simd(load_robot(config), build_terrain(TerrainConfig()), SimConfig(), 1)
    line = str(error.value)
    assert line.startswith("sim.engine: got 'simd', expected mujoco_c") and named in line


def test_elliptic_cones_are_refused(robot_config: Callable[[str], RobotConfig]) -> None:
    with pytest.raises(ConfigError, match="elliptic"):
        Simd(
            load_robot(robot_config("go2")),
            build_terrain(TerrainConfig()),
            SimConfig(cone="elliptic"),
            1,
        )

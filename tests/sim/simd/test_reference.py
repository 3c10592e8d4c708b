"""The physics on float64 arrays against MuJoCo C: equal to rounding, when both solve to the end."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import mujoco
import numpy as np
import pytest
from motions import MOTIONS, contacts, moment
from reference_physics import constants, differences

from legged_ppo.config.schema import RobotConfig, SimConfig, TerrainConfig
from legged_ppo.robots.spec import RobotSpec, load_robot
from legged_ppo.sim.model import build_model
from legged_ppo.sim.simd.parameters import Parameters
from legged_ppo.terrain.grid import build_terrain

ROBOTS = 12
STANDING = np.tile([0.0, 0.0, 0.33], (ROBOTS, 1))


def exact_model(spec: RobotSpec, integrator: str) -> mujoco.MjModel:
    """The model on the plane; its solver goes on until rounding ends it."""
    plane = build_terrain(TerrainConfig())
    config = SimConfig(integrator=integrator, iterations=100, ls_iterations=50, tolerance=0.0)
    return build_model(spec, partial(plane.add_to, column=0), config)


@pytest.fixture(scope="module")
def go2(robot_config: Callable[[str], RobotConfig]) -> RobotSpec:
    return load_robot(robot_config("go2"))


@pytest.mark.parametrize("integrator", ["euler", "implicitfast"])
@pytest.mark.parametrize("motion", MOTIONS)
def test_velocities_equal_mujocos(go2: RobotSpec, motion: str, integrator: str) -> None:
    model = exact_model(go2, integrator)
    start = moment(model, go2.default_joint_pos, motion, STANDING)
    if motion == "walk":
        assert (contacts(model, start) > 0).any()
    for substeps in (1, 5, 20):
        assert differences(model, go2, start, substeps).max() < 1e-9


def test_inverse_weights_equal_mujocos(go2: RobotSpec) -> None:
    model = exact_model(go2, "euler")
    robot = constants(model, go2)
    nominal = Parameters(model, robot, go2).nominal(1)
    bodies = [model.body_invweight0[c.body, 0] for c in robot.colliders]
    np.testing.assert_allclose(nominal["collider_invweight"][0], bodies, rtol=1e-10)
    np.testing.assert_allclose(nominal["joint_invweight"][0], model.dof_invweight0[6:], rtol=1e-10)


ODD = """
<mujoco>
  <compiler angle="radian" autolimits="true"/>
  <default><geom contype="0" conaffinity="1" solimp="0.8 0.97 0.002 0.4 2" solref="0.03 0.9"/></default>
  <worldbody>
    <body name="base" pos="0 0 0.4">
      <freejoint/>
      <inertial mass="4" pos="0.01 0.02 0.03" fullinertia="0.05 0.07 0.09 0.001 0.002 0.003"/>
      <geom name="trunk" type="capsule" size="0.05" fromto="-0.15 0 0 0.15 0 0.02"/>
      <body name="pack" pos="0.05 0 0.08" euler="0.2 0.1 0.4">
        <geom type="sphere" size="0.04" mass="0.7"/>
      </body>
      <body name="front" pos="0.2 0 0" euler="0.1 0.2 0.3">
        <joint name="front_hip" axis="0.6 0.8 0" pos="0.01 0.02 0.03" range="-0.5 0.5" ref="0.1"
               damping="0.3" armature="0.02" solreflimit="0.04 1" solimplimit="0.7 0.9 0.01 0.5 1"/>
        <geom type="capsule" size="0.03" fromto="0 0 0 0 0 -0.2" mass="0.5"/>
        <body name="front_shank" pos="0 0 -0.2">
          <joint name="front_knee" axis="0 1 0" range="-0.1 1.2" armature="0.01"/>
          <geom type="capsule" size="0.02" fromto="0 0 0 0 0.02 -0.2" mass="0.3" friction="1.1"/>
          <body name="front_toe" pos="0 0.02 -0.22" euler="0 0.3 0">
            <geom name="front_foot" type="sphere" size="0.03" pos="0.01 0 0" mass="0.1"/>
          </body>
        </body>
      </body>
      <body name="left" pos="-0.15 0.12 0">
        <joint name="left_hip" axis="0 1 0" armature="0.01"/>
        <geom name="left_foot" type="capsule" size="0.03" fromto="0 0 0 0 0.05 -0.4" mass="0.8"/>
      </body>
      <body name="right" pos="-0.15 -0.12 0">
        <joint name="right_hip" axis="0 1 0" armature="0.01"/>
        <geom name="right_foot" type="sphere" size="0.03" pos="0 -0.05 -0.4" mass="0.8"/>
      </body>
    </body>
  </worldbody>
</mujoco>
"""
"""Unequal legs, tilted axes and frames, welded bodies, an anchor and a reference angle, damping, softness."""


@pytest.fixture
def odd(robot_config: Callable[[str], RobotConfig], tmp_path: Path) -> RobotSpec:
    path = tmp_path / "odd.xml"
    path.write_text(ODD)
    config = robot_config("go2")
    config.mjcf = str(path)
    config.joints = ["front_hip", "front_knee", "left_hip", "right_hip"]
    config.default_joint_pos = [0.1, 0.3, 0.0, 0.0]
    config.foot_geoms = ["front_foot", "left_foot", "right_foot"]
    config.penalized_bodies, config.termination_bodies = ["front_shank"], ["base", "pack"]
    return load_robot(config)


@pytest.mark.parametrize("integrator", ["euler", "implicitfast"])
@pytest.mark.parametrize("motion", ["stand", "fall"])
def test_a_robot_of_unequal_legs_and_odd_frames_equals_mujocos(
    odd: RobotSpec, motion: str, integrator: str
) -> None:
    model = exact_model(odd, integrator)
    start = moment(model, odd.default_joint_pos, motion, STANDING + np.array([0.0, 0.0, 0.1]))
    assert (contacts(model, start) > 0).any()
    for substeps in (1, 20):
        assert differences(model, odd, start, substeps).max() < 1e-9

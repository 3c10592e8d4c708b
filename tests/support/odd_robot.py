"""A robot that is no quadruped: three legs of one and two joints."""

from __future__ import annotations

from pathlib import Path

from legged_ppo.config.schema import RobotConfig
from legged_ppo.robots.spec import RobotSpec, load_robot

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


def odd_robot(config: RobotConfig, folder: Path) -> RobotSpec:
    """The robot, its joints not in the order of the tree.

    Args:
        config: of any robot, for its gains; it is changed.
    """
    path = folder / "odd.xml"
    path.write_text(ODD)
    config.mjcf = str(path)
    config.joints = ["right_hip", "front_knee", "left_hip", "front_hip"]
    config.default_joint_pos = [0.0, 0.3, 0.1, 0.1]
    config.foot_geoms = ["right_foot", "front_foot", "left_foot"]
    config.penalized_bodies, config.termination_bodies = ["front_shank"], ["base", "pack"]
    return load_robot(config)

"""Whether a robot stands in its default pose under its own PD gains, on MuJoCo's C engine."""

from __future__ import annotations

import math
from dataclasses import dataclass

import mujoco
import numpy as np

from legged_ppo.config.schema import SimConfig
from legged_ppo.robots.spec import RobotSpec
from legged_ppo.sim.model import FOOT, TERMINATION, build_model, sensor_columns


@dataclass(frozen=True)
class Standing:
    """What a simulation of a robot that holds its default pose gave."""

    seconds: float
    """s until it fell, or the whole time"""
    fall: str
    """Why it counts as fallen; empty if it stands."""
    height: float
    """m of the base above the ground at the end"""
    tilt: float
    """rad, the largest angle between the base's z axis and the vertical"""
    feet_down: list[bool]
    """Whether each foot touches the ground at the end."""


def stand(robot: RobotSpec, sim: SimConfig, max_tilt: float, seconds: float = 5.0) -> Standing:
    """Hold the default pose on flat ground, from `spawn_height`, with the recipe's physics settings.

    A fall is a tilt above `max_tilt` rad, a termination body on the ground, or a non-finite state.
    """
    model = build_model(robot, _add_plane, sim)
    data = mujoco.MjData(model)
    joints = [model.joint(name).id for name in robot.config.joints]
    base = model.body(robot.config.base_body)
    start = model.jnt_qposadr[base.jntadr[0]]
    data.qpos[start : start + 7] = 0.0, 0.0, robot.config.spawn_height, 1.0, 0.0, 0.0, 0.0
    data.qpos[model.jnt_qposadr[joints]] = robot.default_joint_pos
    data.ctrl[:] = robot.default_joint_pos
    ends = [int(c[0]) for c in sensor_columns(model, TERMINATION)]
    worst, fall = 0.0, ""
    while data.time < seconds and not fall:
        mujoco.mj_step(model, data)
        if not np.isfinite(data.qpos).all() or not np.isfinite(data.qvel).all():
            fall = (
                "the state is not finite: lower robot.kp or sim.dt, or sim.integrator=implicitfast"
            )
            break
        upright = float(np.clip(data.xmat[base.id].reshape(3, 3)[2, 2], -1.0, 1.0))
        worst = max(worst, math.acos(upright))
        if worst > max_tilt:
            fall = f"it tilts by more than task.max_tilt ({max_tilt:.2f} rad)"
        elif (data.sensordata[ends] > 0).any():
            fall = "one of robot.termination_bodies touches the ground"
    return Standing(
        float(data.time), fall, float(data.xpos[base.id, 2]), worst, _touching(model, data, robot)
    )


def _touching(model: mujoco.MjModel, data: mujoco.MjData, robot: RobotSpec) -> list[bool]:
    down = []
    for foot in robot.config.foot_geoms:
        (columns,) = sensor_columns(model, f"{FOOT}{foot}:force")
        down.append(bool(np.linalg.norm(data.sensordata[columns]) > 0))
    return down


def _add_plane(spec: mujoco.MjSpec) -> None:
    spec.worldbody.add_geom(
        name="ground",
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        size=[0.0, 0.0, 1.0],
        contype=1,
        conaffinity=0,
    )

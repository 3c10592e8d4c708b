"""The physics on float64 arrays in given states, beside MuJoCo C."""

from __future__ import annotations

from typing import Any, cast

import mujoco
import numpy as np
from motions import Moment, stepped

from legged_ppo.robots.spec import RobotSpec
from legged_ppo.sim.simd.ground import Ground
from legged_ppo.sim.simd.numpy_machine import NumpyMachine, Rows, numpy_workspace
from legged_ppo.sim.simd.parameters import Parameters
from legged_ppo.sim.simd.plane import plane_contacts
from legged_ppo.sim.simd.robot import Robot, read_robot
from legged_ppo.sim.simd.substep import Collide, control_step
from legged_ppo.sim.simd.workspace import Workspace


def constants(model: mujoco.MjModel, spec: RobotSpec) -> Robot:
    feet = [model.geom(name).id for name in spec.config.foot_geoms]
    return read_robot(model, model.body(spec.config.base_body).id, feet)


def reference(model: mujoco.MjModel, spec: RobotSpec, start: Moment, ground: Ground) -> Workspace:
    """Robots in these states."""
    robot, count = constants(model, spec), len(start.qpos)
    w = numpy_workspace(robot, count, ground)
    parameters = Parameters(model, robot, spec)
    for name, values in parameters.nominal(count).items():
        getattr(w.state, name).write(0, list(values.T))
    columns = robot.columns(list(range(1, model.njnt)))
    base = list(range(6))
    rows(w, "qpos")[[*base, 6, *(7 + c for c in columns)]] = start.qpos.T
    rows(w, "qvel")[[*base, *(6 + c for c in columns)]] = start.qvel.T
    rows(w, "warmstart")[[*base, *(6 + c for c in columns)]] = start.warmstart.T
    rows(w, "target")[parameters.columns] = start.targets.T
    return w


def rows(w: Workspace, name: str) -> Any:
    """[length, N], the memory itself."""
    return cast(Rows, getattr(w.state, name)).array


def differences(
    model: mujoco.MjModel,
    spec: RobotSpec,
    start: Moment,
    substeps: int,
    ground: Ground | None = None,
    collide: Collide = plane_contacts,
) -> np.ndarray:
    """[N], the largest difference of a velocity [m/s, rad/s] of each robot from MuJoCo C's."""
    w = reference(model, spec, start, ground or Ground())
    with np.errstate(divide="ignore", invalid="ignore"):  # in lanes whose result is not used
        control_step(NumpyMachine(), w, collide, substeps)
    _, qvel = stepped(model, start, substeps)
    columns = w.robot.columns(list(range(1, model.njnt)))
    ours = rows(w, "qvel")[[*range(6), *(6 + c for c in columns)]]
    return np.abs(ours.T - qvel).max(1)

"""The MuJoCo model of one robot on some ground, shared by the engines."""

from __future__ import annotations

from collections.abc import Callable

import mujoco
import numpy as np

from legged_ppo.config.schema import SimConfig
from legged_ppo.robots.spec import RobotSpec

_FOUND = 1 << int(mujoco.mjtConDataField.mjCONDATA_FOUND)
_FORCE = 1 << int(mujoco.mjtConDataField.mjCONDATA_FORCE)
_NET_FORCE = 3
"""`reduce` of a contact sensor: the sum of all matching contacts' forces, in the world frame."""

FOOT = "foot:"
PENALIZED = "penalized:"
TERMINATION = "termination:"


def build_model(
    robot: RobotSpec, add_ground: Callable[[mujoco.MjSpec], None], config: SimConfig
) -> mujoco.MjModel:
    """Compile robot, ground, PD actuators (in policy joint order) and sensors into one model.

    Args:
        add_ground: `Terrain.add_to` or another way to add the ground's geoms to a spec.
    """
    spec = build_spec(robot, add_ground, config)
    spec.compiler.discardvisual = True  # rendering uses a separate model
    return spec.compile()


def build_spec(
    robot: RobotSpec, add_ground: Callable[[mujoco.MjSpec], None], config: SimConfig
) -> mujoco.MjSpec:
    """What `build_model` compiles, before it is compiled, with the geoms that are only for the eye."""
    spec = robot.mjspec()
    option = spec.option
    option.timestep = config.dt
    option.iterations, option.ls_iterations = config.iterations, config.ls_iterations
    option.tolerance = config.tolerance
    option.integrator = getattr(mujoco.mjtIntegrator, f"mjINT_{config.integrator.upper()}")
    option.cone = getattr(mujoco.mjtCone, f"mjCONE_{config.cone.upper()}")
    # A diverged robot must be reported and counted, not silently reset by the engine.
    option.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
    for geom in spec.geoms:
        if geom.contype or geom.conaffinity:  # robot against terrain only, whatever the MJCF says
            geom.contype, geom.conaffinity = 0, 1
    for foot in robot.config.foot_geoms:
        # At equal priority MuJoCo takes the larger friction, which would hide a foot's lower one.
        spec.geom(foot).priority = max(spec.geom(foot).priority, 1)
    add_ground(spec)
    _add_pd_actuators(spec, robot)
    _add_sensors(spec, robot)
    return spec


def _add_pd_actuators(spec: mujoco.MjSpec, robot: RobotSpec) -> None:
    """torque = kp (target - angle) - kd velocity, limited by the robot's torque limits."""
    # The MJCF's own sensors and keyframes may refer to its actuators.
    for element in (*spec.actuators, *spec.sensors, *spec.keys):
        spec.delete(element)
    drives = zip(robot.config.joints, robot.torque_limit, robot.kp, robot.kd, strict=True)
    for name, limit, kp, kd in drives:
        actuator = spec.add_actuator(
            name=f"pd:{name}", target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT
        )
        actuator.gaintype = mujoco.mjtGain.mjGAIN_FIXED
        actuator.biastype = mujoco.mjtBias.mjBIAS_AFFINE
        actuator.gainprm[0] = kp
        actuator.biasprm[1], actuator.biasprm[2] = -kp, -kd
        if np.isfinite(limit):
            actuator.forcelimited = True
            actuator.forcerange = [-limit, limit]


def _add_sensors(spec: mujoco.MjSpec, robot: RobotSpec) -> None:
    """Feet: position, velocity, net contact force; other bodies: whether a geom touches anything."""
    config = robot.config
    for foot in config.foot_geoms:
        for kind in (mujoco.mjtSensor.mjSENS_FRAMEPOS, mujoco.mjtSensor.mjSENS_FRAMELINVEL):
            spec.add_sensor(
                name=f"{FOOT}{foot}:{kind.name}",
                type=kind,
                objtype=mujoco.mjtObj.mjOBJ_GEOM,
                objname=foot,
            )
        _add_contact_sensor(spec, f"{FOOT}{foot}:force", foot, _FORCE, _NET_FORCE)
    for prefix, bodies in (
        (PENALIZED, config.penalized_bodies),
        (TERMINATION, config.termination_bodies),
    ):
        for body in bodies:
            for geom in _colliding_geoms(spec, body, config.foot_geoms):
                _add_contact_sensor(spec, f"{prefix}{body}:{geom}", geom, _FOUND, reduce=0)


def _add_contact_sensor(spec: mujoco.MjSpec, name: str, geom: str, data: int, reduce: int) -> None:
    sensor = spec.add_sensor(
        name=name,
        type=mujoco.mjtSensor.mjSENS_CONTACT,
        objtype=mujoco.mjtObj.mjOBJ_GEOM,
        objname=geom,
    )
    sensor.intprm[:3] = [data, reduce, 1]


def _colliding_geoms(spec: mujoco.MjSpec, body: str, feet: list[str]) -> list[str]:
    """Names of the body's collision geoms except the feet; unnamed geoms are named."""
    names = []
    for i, geom in enumerate(spec.body(body).geoms):
        if geom.name in feet or not (geom.contype or geom.conaffinity):
            continue
        if not geom.name:
            geom.name = f"{body}:geom{i}"
        names.append(geom.name)
    return names


def sensor_columns(model: mujoco.MjModel, prefix: str) -> list[np.ndarray]:
    """Columns of `sensordata` of each sensor whose name has this prefix, in model order."""
    columns = []
    for i in range(model.nsensor):
        name = model.sensor(i).name
        if name.startswith(prefix):
            start, size = model.sensor_adr[i], model.sensor_dim[i]
            columns.append(np.arange(start, start + size))
    return columns

"""RobotSpec: everything the simulators and the task need to know of one robot's MJCF."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np

from legged_ppo.config.schema import RobotConfig
from legged_ppo.errors import ConfigError

BUILT_IN = ("go2", "a1")
_VELOCITY_LIMITS = {"go2": (30.1, 30.1, 15.7), "a1": (21.0, 21.0, 21.0)}
"""rad/s of hip, thigh and calf, from Unitree's robot descriptions. The physics does not enforce them."""
_LIMIT_NAME = "joint_velocity_limit"
"""Custom numeric of an MJCF that holds them: rad/s, in the order of `robot.joints`."""
_FINITE = (
    *("body_pos", "body_quat", "body_ipos", "body_mass", "body_inertia"),
    *("geom_pos", "geom_quat", "geom_size", "geom_friction", "geom_solref", "geom_solimp"),
    *("jnt_pos", "jnt_axis", "jnt_range", "dof_armature", "dof_damping", "dof_frictionloss"),
)
"""Fields of a compiled model that the simulation or the task computes with."""


@dataclass(frozen=True)
class RobotSpec:
    """A robot, read from its MJCF once; arrays are in policy joint order (FL, FR, RL, RR)."""

    config: RobotConfig
    path: Path
    default_joint_pos: np.ndarray
    """[J] rad"""
    joint_range: np.ndarray
    """[J, 2] rad"""
    torque_limit: np.ndarray
    """[J] N m"""
    velocity_limit: np.ndarray
    """[J] rad/s of the motors, for reports; inf where it is not known"""
    kp: np.ndarray
    """[J] N m/rad"""
    kd: np.ndarray
    """[J] N m s/rad"""
    total_mass: float
    """kg"""
    foot_friction: float
    """[-], sliding, of the first foot"""
    foot_radius: np.ndarray
    """[F] m"""

    @property
    def num_joints(self) -> int:
        return len(self.config.joints)

    @property
    def num_feet(self) -> int:
        return len(self.config.foot_geoms)

    def mjspec(self) -> mujoco.MjSpec:
        """A fresh, editable model of the robot alone, to which a simulator adds ground and actuators."""
        return mujoco.MjSpec.from_file(str(self.path))


def mjcf_path(name: str) -> Path:
    """Path of a built-in model's MJCF, or of the file that `name` names."""
    if name in BUILT_IN:
        return Path(__file__).parent / f"{name}.xml"
    return Path(name)


def load_model(config: RobotConfig) -> mujoco.MjModel:
    """Compile the MJCF that `config` names.

    Raises:
        ConfigError: the file is missing or does not load.
    """
    path = mjcf_path(config.mjcf)
    if not path.is_file():
        raise ConfigError(
            "robot.mjcf", config.mjcf, f"a built-in robot ({', '.join(BUILT_IN)}) or an MJCF file"
        )
    try:
        model = mujoco.MjModel.from_xml_path(str(path))
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise ConfigError("robot.mjcf", config.mjcf, f"an MJCF that loads ({reason})") from None
    for name in _FINITE:  # the compiler accepts nan and inf
        if not np.isfinite(getattr(model, name)).all():
            raise ConfigError("robot.mjcf", config.mjcf, f"finite numbers (not so in {name})")
    return model


def load_robot(config: RobotConfig) -> RobotSpec:
    """Read the MJCF that `config` names and check every name the configuration uses.

    Raises:
        ConfigError: the file is missing, does not load, or lacks a named joint, geom or body.
    """
    model = load_model(config)
    _check_names(config, model)
    if len(config.default_joint_pos) != len(config.joints):
        raise ConfigError(
            "robot.default_joint_pos",
            config.default_joint_pos,
            f"{len(config.joints)} angles, one for each of robot.joints",
        )
    joints = [model.joint(name).id for name in config.joints]
    return RobotSpec(
        config=config,
        path=mjcf_path(config.mjcf).resolve(),
        default_joint_pos=np.asarray(config.default_joint_pos, dtype=np.float64),
        joint_range=_joint_ranges(model, joints),
        torque_limit=_torque_limits(model, joints),
        velocity_limit=_velocity_limits(model, config),
        kp=_per_joint("robot.kp", config.kp, len(joints)),
        kd=_per_joint("robot.kd", config.kd, len(joints)),
        total_mass=float(model.body_mass.sum()),
        foot_friction=float(model.geom(config.foot_geoms[0]).friction[0]),
        foot_radius=np.array([model.geom(name).size[0] for name in config.foot_geoms]),
    )


def _per_joint(key: str, value: float | list[float], joints: int) -> np.ndarray:
    """A gain [J]: one number for all joints, or one each."""
    if isinstance(value, list) and len(value) != joints:
        raise ConfigError(key, value, f"one number, or {joints}: one for each of robot.joints")
    return np.broadcast_to(np.asarray(value, dtype=np.float64), (joints,)).copy()


def _check_names(config: RobotConfig, model: mujoco.MjModel) -> None:
    wanted = {
        "robot.joints": (config.joints, mujoco.mjtObj.mjOBJ_JOINT),
        "robot.foot_geoms": (config.foot_geoms, mujoco.mjtObj.mjOBJ_GEOM),
        "robot.penalized_bodies": (config.penalized_bodies, mujoco.mjtObj.mjOBJ_BODY),
        "robot.termination_bodies": (config.termination_bodies, mujoco.mjtObj.mjOBJ_BODY),
        "robot.base_body": ([config.base_body], mujoco.mjtObj.mjOBJ_BODY),
    }
    for key, (names, kind) in wanted.items():
        known = _names(model, kind)
        for name in names:
            if name not in known:
                raise ConfigError(key, name, f"a name in {config.mjcf}", choices=known)
    base = model.body(config.base_body)
    if base.jntnum[0] != 1 or model.jnt_type[base.jntadr[0]] != mujoco.mjtJoint.mjJNT_FREE:
        raise ConfigError("robot.base_body", config.base_body, "the body with the free joint")
    hinges = int((model.jnt_type != mujoco.mjtJoint.mjJNT_FREE).sum())
    if hinges != len(config.joints):
        raise ConfigError(
            "robot.joints", len(config.joints), f"all {hinges} hinge joints of {config.mjcf}"
        )


def _names(model: mujoco.MjModel, kind: mujoco.mjtObj) -> list[str]:
    count = {
        mujoco.mjtObj.mjOBJ_JOINT: model.njnt,
        mujoco.mjtObj.mjOBJ_GEOM: model.ngeom,
        mujoco.mjtObj.mjOBJ_BODY: model.nbody,
    }[kind]
    names = (mujoco.mj_id2name(model, kind, i) for i in range(count))
    return [name for name in names if name]


def _joint_ranges(model: mujoco.MjModel, joints: list[int]) -> np.ndarray:
    ranges = model.jnt_range[joints].copy()
    unlimited = ~model.jnt_limited[joints].astype(bool)
    ranges[unlimited] = (-np.inf, np.inf)
    return ranges


def _torque_limits(model: mujoco.MjModel, joints: list[int]) -> np.ndarray:
    """The joints' own force ranges, or those of the MJCF's actuators where the joint has none."""
    limits = np.full(len(joints), np.inf)
    for i, joint in enumerate(joints):
        if model.jnt_actfrclimited[joint]:
            limits[i] = model.jnt_actfrcrange[joint, 1]
        for actuator in np.flatnonzero(model.actuator_trnid[:, 0] == joint):
            if model.actuator_forcelimited[actuator]:
                limits[i] = min(limits[i], model.actuator_forcerange[actuator, 1])
            elif model.actuator_ctrllimited[actuator] and _is_motor(model, int(actuator)):
                limits[i] = min(limits[i], model.actuator_ctrlrange[actuator, 1])
    return limits


def _velocity_limits(model: mujoco.MjModel, config: RobotConfig) -> np.ndarray:
    """Those that the MJCF names, or the published ones of a built-in robot."""
    joints = len(config.joints)
    number = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_NUMERIC, _LIMIT_NAME)
    if number >= 0:
        limits = np.array(model.numeric(number).data, dtype=np.float64)
        if len(limits) != joints or not (limits > 0).all():
            expected = f"{joints} values above 0 in its custom numeric {_LIMIT_NAME}"
            raise ConfigError("robot.mjcf", config.mjcf, expected)
        return limits
    leg = _VELOCITY_LIMITS.get(config.mjcf)
    if leg is None or joints % len(leg):
        return np.full(joints, np.inf)
    return np.tile(leg, joints // len(leg))


def _is_motor(model: mujoco.MjModel, actuator: int) -> bool:
    """True for an actuator whose control is a torque."""
    return (
        model.actuator_biastype[actuator] == mujoco.mjtBias.mjBIAS_NONE
        and model.actuator_gainprm[actuator, 0] == 1.0
    )

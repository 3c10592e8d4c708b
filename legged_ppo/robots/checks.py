"""Whether a robot file can be trained: names, limits, pose and feet, without a simulation."""

from __future__ import annotations

import difflib

import mujoco
import numpy as np

from legged_ppo.config.schema import RewardConfig, RobotConfig
from legged_ppo.robots.spec import RobotSpec

_SAME_HEIGHT = 0.05
"""m that a foot may lie above the robot's lowest point in the default pose"""
_ROUND = {int(mujoco.mjtGeom.mjGEOM_SPHERE), int(mujoco.mjtGeom.mjGEOM_CAPSULE)}


_REFERENCE_MASS = 15.2
"""kg of a Go2, for which the recipes' reward weights are made"""
_RECIPES_WEIGHT = -1e-4
"""Of torques (`configs/task/velocity.yaml`, the schema's) and of work (`configs/task/agarwal.yaml`)."""


def weight_warnings(mass: float, rewards: RewardConfig) -> list[str]:
    """Suggested weights where the robot's mass [kg] is over 1.5 times or under 1/1.5 of a Go2's and the weights
    are still those of the recipes.

    Squared torques grow with mass squared, mechanical work with mass.
    """
    share = mass / _REFERENCE_MASS
    if 1 / 1.5 <= share <= 1.5:
        return []
    return [
        f"task.rewards.{key}={weight:g} is a weight for {_REFERENCE_MASS} kg; for {mass:.1f} kg "
        f"set task.rewards.{key}={weight / share**power:.2g}"
        for key, weight, power in (("torques", rewards.torques, 2), ("work", rewards.work, 1))
        if weight == _RECIPES_WEIGHT
    ]


def missing_names(config: RobotConfig, model: mujoco.MjModel) -> list[str]:
    """One line for each configured name that the MJCF lacks, with the closest names it has."""
    joint, geom, body = (getattr(mujoco.mjtObj, f"mjOBJ_{n}") for n in ("JOINT", "GEOM", "BODY"))
    wanted = {
        "base_body": ([config.base_body], body),
        "joints": (config.joints, joint),
        "foot_geoms": (config.foot_geoms, geom),
        "penalized_bodies": (config.penalized_bodies, body),
        "termination_bodies": (config.termination_bodies, body),
    }
    lines = []
    for key, (names, kind) in wanted.items():
        known = names_of(model, kind)
        for name in names:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
                hint = f"closest: {', '.join(close)}" if close else "none is close"
                lines.append(f"robot.{key}: {name!r} is not in the MJCF ({hint})")
    return lines


def names_of(model: mujoco.MjModel, kind: mujoco.mjtObj) -> list[str]:
    """Names of the model's elements of one kind, in model order; unnamed ones are left out."""
    count = {
        mujoco.mjtObj.mjOBJ_JOINT: model.njnt,
        mujoco.mjtObj.mjOBJ_GEOM: model.ngeom,
        mujoco.mjtObj.mjOBJ_BODY: model.nbody,
    }[kind]
    names = (mujoco.mj_id2name(model, kind, i) for i in range(count))
    return [name for name in names if name]


def pose_errors(robot: RobotSpec) -> list[str]:
    """One line for each joint whose default angle lies outside its range."""
    lines = []
    for name, angle, (low, high) in zip(
        robot.config.joints, robot.default_joint_pos, robot.joint_range, strict=True
    ):
        if not low <= angle <= high:
            lines.append(
                f"robot.default_joint_pos: {angle:.3g} rad of {name} is outside its range "
                f"[{low:.3g}, {high:.3g}]"
            )
    return lines


def limit_warnings(robot: RobotSpec) -> list[str]:
    """What lacks a finite limit: joints without a range, joints without a torque limit."""
    lines = []
    free = [
        n for n, r in zip(robot.config.joints, robot.joint_range, strict=True) if np.isinf(r).any()
    ]
    weak = [n for n, t in zip(robot.config.joints, robot.torque_limit, strict=True) if np.isinf(t)]
    if free:
        lines.append(f"{_some(free)} without a range: no joint limit holds there")
    if weak:
        lines.append(f"{_some(weak)} without a torque limit: set actuatorfrcrange")
    return lines


def _some(names: list[str]) -> str:
    shown = names[0] + (", ..." if len(names) > 1 else "")
    return f"{len(names)} joint{'s' * (len(names) > 1)} ({shown})"


def default_pose(robot: RobotSpec) -> tuple[mujoco.MjModel, mujoco.MjData]:
    """The robot alone in its default pose, base at the origin and upright, kinematics computed."""
    model = robot.mjspec().compile()
    data = mujoco.MjData(model)
    joints = [model.joint(name).id for name in robot.config.joints]
    base = model.jnt_qposadr[model.body(robot.config.base_body).jntadr[0]]
    data.qpos[base : base + 7] = 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0
    data.qpos[model.jnt_qposadr[joints]] = robot.default_joint_pos
    mujoco.mj_kinematics(model, data)
    return model, data


def lowest_points(model: mujoco.MjModel, data: mujoco.MjData) -> np.ndarray:
    """Height [ngeom] m of each geom's lowest point; infinite for a geom that does not collide."""
    lowest = np.full(model.ngeom, np.inf)
    for i in np.flatnonzero(model.geom_contype | model.geom_conaffinity):
        if model.geom_bodyid[i] == 0:
            continue
        up = data.geom_xmat[i].reshape(3, 3)[2]  # the vertical in the geom's axes
        if model.geom_type[i] == mujoco.mjtGeom.mjGEOM_SPHERE:
            reach = model.geom_size[i, 0]
        elif model.geom_type[i] == mujoco.mjtGeom.mjGEOM_CAPSULE:
            reach = model.geom_size[i, 0] + abs(up[2]) * model.geom_size[i, 1]
        else:
            centre, half = model.geom_aabb[i, :3], model.geom_aabb[i, 3:]
            reach = np.abs(up) @ half - up @ centre
        lowest[i] = data.geom_xpos[i, 2] - reach
    return lowest


def feet_findings(robot: RobotSpec) -> tuple[list[str], list[str]]:
    """Errors and warnings about the feet: geoms that collide, are round and are the robot's lowest."""
    model, data = default_pose(robot)
    lowest = lowest_points(model, data)
    errors, warnings = [], []
    for name in robot.config.foot_geoms:
        i = model.geom(name).id
        above = lowest[i] - lowest.min()
        if np.isinf(lowest[i]):
            errors.append(f"robot.foot_geoms: {name} does not collide (contype, conaffinity)")
        elif above > _SAME_HEIGHT:
            other = mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_GEOM, int(lowest.argmin()))
            errors.append(
                f"robot.foot_geoms: {name} lies {above:.2f} m above the lowest geom "
                f"({other or 'without a name'}) in the default pose"
            )
        elif int(model.geom_type[i]) not in _ROUND:
            warnings.append(f"foot {name} is neither a sphere nor a capsule: physics slows down")
    return errors, warnings


def collider_warnings(robot: RobotSpec) -> list[str]:
    """Collision meshes, which cost several times what spheres and capsules do."""
    model = robot.mjspec().compile()
    collides = (model.geom_contype | model.geom_conaffinity) != 0
    meshes = int((collides & (model.geom_type == mujoco.mjtGeom.mjGEOM_MESH)).sum())
    if not meshes:
        return []
    return [f"{meshes} collision meshes: physics slows down; capsules in their place are faster"]

"""A first robot file from any MJCF: names by their place in the tree, a pose, gains by the mass."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np

from legged_ppo.errors import ConfigError
from legged_ppo.robots.checks import lowest_points

_GO2_MASS, _GO2_HEIGHT = 15.2, 0.3
"""kg and m of a Go2, whose gains of 40 N m/rad and 1 N m s/rad are scaled to the robot."""
_GRID = 33
"""Angles of each joint that the search for a standing pose tries."""
_LEG_LENGTH = 0.8
"""Share of the leg's greatest length at which the searched pose stands."""
_CLEARANCE = 0.03
"""m between the feet and the ground at a reset"""
_ROUND = {int(mujoco.mjtGeom.mjGEOM_SPHERE), int(mujoco.mjtGeom.mjGEOM_CAPSULE)}


@dataclass
class Leg:
    """One leg: ids of its hip body, of all its bodies, of its joints from the base outward."""

    hip: int
    bodies: list[int]
    joints: list[int]
    foot: int = -1
    """Geom id of the foot."""


def draft(path: Path) -> str:
    """YAML of a robot file for this MJCF; comments say what was guessed.

    Raises:
        ConfigError: the MJCF does not load, or is no legged robot with named hinges and feet.
    """
    try:
        model = mujoco.MjModel.from_xml_path(str(path))
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise ConfigError("--draft", str(path), f"an MJCF that loads ({reason})") from None
    base = _base(model, path)
    data = mujoco.MjData(model)
    _upright(model, data, base)
    legs = _legs(model, data, base, path)
    joints = [joint for leg in legs for joint in leg.joints]
    source = _set_pose(model, data, legs)
    for leg in legs:
        leg.foot = _foot(model, data, leg, path)
    return _yaml(model, data, base, legs, joints, path, source)


def _base(model: mujoco.MjModel, path: Path) -> int:
    free = np.flatnonzero(model.jnt_type == mujoco.mjtJoint.mjJNT_FREE)
    if len(free) != 1:
        raise ConfigError("--draft", str(path), f"one body with a free joint (it has {len(free)})")
    for joint in range(model.njnt):
        kind = mujoco.mjtJoint(model.jnt_type[joint])
        if kind not in (mujoco.mjtJoint.mjJNT_FREE, mujoco.mjtJoint.mjJNT_HINGE):
            expected = (
                f"hinges only below the base (joint {model.joint(joint).name!r}: {kind.name})"
            )
            raise ConfigError("--draft", str(path), expected)
    return int(model.jnt_bodyid[free[0]])


def _upright(model: mujoco.MjModel, data: mujoco.MjData, base: int) -> None:
    start = model.jnt_qposadr[model.body_jntadr[base]]
    data.qpos[start : start + 7] = 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0
    mujoco.mj_kinematics(model, data)


def _legs(model: mujoco.MjModel, data: mujoco.MjData, base: int, path: Path) -> list[Leg]:
    """Limbs with hinges, front to rear, left before right; unnamed joints are refused."""
    legs = []
    for hip in range(model.nbody):
        inside = [b for b in range(hip, model.nbody) if _is_below(model, b, hip)]
        joints = [j for b in inside for j in _joints_of(model, b)]
        at_base = _first_moving_ancestor(model, hip) == base
        if hip != base and model.body_jntnum[hip] and at_base:
            legs.append(Leg(hip, inside, joints))
    if not legs:
        raise ConfigError("--draft", str(path), "limbs with hinge joints below the base")
    for leg in legs:
        for joint in leg.joints:
            if not model.joint(joint).name:
                where = model.body(model.jnt_bodyid[joint]).name
                raise ConfigError("--draft", str(path), f"a name for the joint of body {where!r}")
    x, y = data.xpos[[leg.hip for leg in legs]][:, :2].T
    middle = (x.max() + x.min()) / 2
    place = [(x[i] < middle, y[i] < 0) for i in range(len(legs))]
    return [legs[i] for i in sorted(range(len(legs)), key=lambda i: place[i])]


def _is_below(model: mujoco.MjModel, body: int, ancestor: int) -> bool:
    while body > ancestor:
        body = int(model.body_parentid[body])
    return body == ancestor


def _first_moving_ancestor(model: mujoco.MjModel, body: int) -> int:
    """The nearest body above this one that has a joint of its own, or the world."""
    body = int(model.body_parentid[body])
    while body and not model.body_jntnum[body]:
        body = int(model.body_parentid[body])
    return body


def _joints_of(model: mujoco.MjModel, body: int) -> list[int]:
    start = int(model.body_jntadr[body])
    return list(range(start, start + int(model.body_jntnum[body])))


def _set_pose(model: mujoco.MjModel, data: mujoco.MjData, legs: list[Leg]) -> str:
    """Write a standing pose into `data`; returns where it comes from."""
    joints = [j for leg in legs for j in leg.joints]
    columns = model.jnt_qposadr[joints]
    keys = sorted(range(model.nkey), key=lambda k: model.key(k).name not in ("home", "stand"))
    for key in keys[:1]:
        angles = model.key_qpos[key, columns]
        low, high = _ranges(model, joints).T
        if (angles >= low).all() and (angles <= high).all():
            data.qpos[columns] = angles
            mujoco.mj_kinematics(model, data)
            return f"keyframe {model.key(key).name!r}"
    low, high = _ranges(model, joints).T
    data.qpos[columns] = np.clip(0.0, low, high)
    for leg in legs:
        _bend(model, data, leg)
    mujoco.mj_kinematics(model, data)
    return f"feet under the hips at {_LEG_LENGTH:.0%} of the legs' length"


def _ranges(model: mujoco.MjModel, joints: list[int]) -> np.ndarray:
    """[J, 2] rad, one turn each way where a joint has no range."""
    limited = model.jnt_limited[joints].astype(bool)[:, None]
    ranges: np.ndarray = np.where(limited, model.jnt_range[joints], [-np.pi, np.pi])
    return np.clip(ranges, -np.pi, np.pi)


def _bend(model: mujoco.MjModel, data: mujoco.MjData, leg: Leg) -> None:
    """Choose the angles of the last two joints: the foot under the hip, the knee behind it."""
    if len(leg.joints) < 2:
        return
    upper, lower = leg.joints[-2:]
    tip = _tip(model, leg)
    grids = [np.linspace(a + 0.02, b - 0.02, _GRID) for a, b in _ranges(model, [upper, lower])]
    columns, found = model.jnt_qposadr[[upper, lower]], []
    for angles in np.stack(np.meshgrid(*grids), -1).reshape(-1, 2):
        data.qpos[columns] = angles
        mujoco.mj_kinematics(model, data)
        end = data.geom_xpos[tip] - data.xanchor[upper]
        found.append((*angles, end[0], -end[2], data.xanchor[lower, 0] - data.xanchor[upper, 0]))
    table = np.array(found)
    wanted = _LEG_LENGTH * table[:, 3].max()
    cost = np.abs(table[:, 2]) + np.abs(table[:, 3] - wanted) + 0.1 * table[:, 4]
    data.qpos[columns] = np.round(table[cost.argmin(), :2], 2)


def _tip(model: mujoco.MjModel, leg: Leg) -> int:
    """Of the geoms beyond the leg's last joint, collision geoms first, the farthest from it."""
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    shank = int(model.jnt_bodyid[leg.joints[-1]])
    beyond = [g for g in range(model.ngeom) if _is_below(model, int(model.geom_bodyid[g]), shank)]
    candidates = [g for g in beyond if g in _colliders(model, leg)] or beyond
    anchor = data.xanchor[leg.joints[-1]]
    return max(candidates, key=lambda g: float(np.linalg.norm(data.geom_xpos[g] - anchor)))


def _colliders(model: mujoco.MjModel, leg: Leg) -> list[int]:
    collides = model.geom_contype | model.geom_conaffinity
    return [g for g in range(model.ngeom) if collides[g] and model.geom_bodyid[g] in leg.bodies]


def _foot(model: mujoco.MjModel, data: mujoco.MjData, leg: Leg, path: Path) -> int:
    """The lowest sphere or capsule of the leg; another shape where it has neither."""
    colliders = _colliders(model, leg)
    if not colliders:
        hip = model.body(leg.hip).name
        raise ConfigError("--draft", str(path), f"a collision geom below body {hip!r}")
    lowest = lowest_points(model, data)
    shank = int(model.jnt_bodyid[leg.joints[-1]])
    colliders = [
        g for g in colliders if _is_below(model, int(model.geom_bodyid[g]), shank)
    ] or colliders
    rounded = [g for g in colliders if int(model.geom_type[g]) in _ROUND]
    foot = min(rounded or colliders, key=lambda g: float(lowest[g]))
    if not model.geom(foot).name:
        where = model.body(model.geom_bodyid[foot]).name
        expected = f"a name for the lowest collision geom of body {where!r}, which is a foot"
        raise ConfigError("--draft", str(path), expected)
    return foot


def mirror_pairs(left: list[str], right: list[str]) -> list[list[str]]:
    """The parts of names in which each left name differs from its right counterpart."""
    pairs: list[list[str]] = []
    for a, b in zip(left, right, strict=False):
        words = [re.findall(r"[A-Za-z]+|[^A-Za-z]+", name) for name in (a, b)]
        if len(words[0]) != len(words[1]):
            continue
        for one, other in zip(*words, strict=True):
            if one != other and [one, other] not in pairs:
                pairs.append([one, other])
    return pairs


def _gains(
    model: mujoco.MjModel, joints: list[int], mass: float, height: float
) -> tuple[list[float], list[float], str]:
    """kp, kd of the MJCF's position servos, or Go2's scaled by mass and height."""
    kp, kd = np.zeros(len(joints)), np.zeros(len(joints))
    for i, joint in enumerate(joints):
        for actuator in np.flatnonzero(model.actuator_trnid[:, 0] == joint):
            kp[i] = max(kp[i], -model.actuator_biasprm[actuator, 1])
            kd[i] = max(kd[i], -model.actuator_biasprm[actuator, 2])
    if (kp > 0).all() and (kd > 0).all():
        return kp.round(3).tolist(), kd.round(3).tolist(), "the MJCF's position actuators"
    share, tall = mass / _GO2_MASS, height / _GO2_HEIGHT
    one, other = 40.0 * share * tall, 1.0 * share * tall**1.5
    return [float(f"{one:.2g}")], [float(f"{other:.2g}")], "Go2's, scaled by mass and height"


def _yaml(
    model: mujoco.MjModel,
    data: mujoco.MjData,
    base: int,
    legs: list[Leg],
    joints: list[int],
    path: Path,
    source: str,
) -> str:
    names = [model.joint(j).name for j in joints]
    feet = [model.geom(leg.foot).name for leg in legs]
    height = -float(lowest_points(model, data)[[leg.foot for leg in legs]].min())
    kp, kd, gains = _gains(model, joints, float(model.body_mass.sum()), height)
    pose = [round(float(a), 3) for a in data.qpos[model.jnt_qposadr[joints]]]
    left, right = ([n for leg in legs[i::2] for n in _names(model, leg)] for i in (0, 1))
    values = {
        "name": path.stem,
        "mjcf": str(path),
        "base_body": model.body(base).name,
        "joints": names,
        "default_joint_pos": pose,
        "spawn_height": round(height + _CLEARANCE, 3),
        "kp": kp if len(set(kp)) > 1 else kp[0],
        "kd": kd if len(set(kd)) > 1 else kd[0],
        "action_scale": 0.25,
        "foot_geoms": feet,
        "mirror": mirror_pairs(left, right),
        "penalized_bodies": _penalized(model, legs),
        "termination_bodies": [model.body(base).name],
    }
    notes = [
        f"Draft from {path.name}: check it with python -m legged_ppo.cli.robot FILE.yaml",
        f"default_joint_pos: {source}; kp, kd: {gains}.",
        *_notes(model, legs),
    ]
    return "\n".join([*(f"# {note}" for note in notes), *(_line(*item) for item in values.items())])


def _names(model: mujoco.MjModel, leg: Leg) -> list[str]:
    return [*(model.joint(j).name for j in leg.joints), model.geom(leg.foot).name]


def _penalized(model: mujoco.MjModel, legs: list[Leg]) -> list[str]:
    """Bodies of the legs that collide with more than a foot, without the hips."""
    found = []
    for leg in legs:
        others = {int(model.geom_bodyid[g]) for g in _colliders(model, leg) if g != leg.foot}
        found += [model.body(b).name for b in sorted(others - {leg.hip}) if model.body(b).name]
    return found


def _notes(model: mujoco.MjModel, legs: list[Leg]) -> list[str]:
    notes = []
    collides = (model.geom_contype | model.geom_conaffinity) != 0
    meshes = int((collides & (model.geom_type == mujoco.mjtGeom.mjGEOM_MESH)).sum())
    if meshes:
        notes.append(f"{meshes} collision meshes slow the physics: capsules are faster.")
    if len(legs) != 4 or any(len(leg.joints) != 3 for leg in legs):
        sizes = ", ".join(str(len(leg.joints)) for leg in legs)
        notes.append(f"{len(legs)} limbs with {sizes} joints: not a quadruped with 3 a leg.")
    if model.neq or model.ntendon:
        notes.append(
            f"{model.neq} equality constraints and {model.ntendon} tendons act as they are."
        )
    return notes


def _line(key: str, value: object) -> str:
    if isinstance(value, list):
        return f"{key}: [{', '.join(_scalar(v) for v in value)}]"
    return f"{key}: {_scalar(value)}"


def _scalar(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_scalar(v) for v in value)}]"
    return f'"{value}"' if isinstance(value, str) else str(value)

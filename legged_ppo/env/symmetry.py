"""Left-right symmetry: reflections of the observations and actions of a robot."""

from __future__ import annotations

import mujoco
import numpy as np
import torch

from legged_ppo.config.schema import GaitConfig
from legged_ppo.errors import ConfigError
from legged_ppo.interface import (
    ROTATION,
    VECTOR,
    SignedPermutation,
    Symmetry,
)
from legged_ppo.robots.spec import RobotSpec


def joint_permutation(robot: RobotSpec) -> SignedPermutation:
    """Reflection of joint vectors: each joint exchanges its value with its counterpart on the other side.

    The names of counterparts differ by the pairs of `robot.mirror`. The sign changes where the joint axes
    are not mirror images of each other but opposite to them.

    Raises:
        ConfigError: a joint has no counterpart, or its axis is not parallel to the mirrored axis of it.
    """
    model = robot.mjspec().compile()
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    names = robot.config.joints
    order = _counterparts(robot, "robot.joints", names)
    axes = np.array([data.joint(name).xaxis for name in names])
    alike = (axes * np.array([-1.0, 1.0, -1.0]) * axes[order]).sum(1)
    for name, value in zip(names, alike, strict=True):
        if abs(value) < 1.0 - 1e-4:
            expected = "joints whose axes are mirror images from left to right"
            raise ConfigError("robot.joints", name, expected)
    return SignedPermutation(
        torch.tensor(order), torch.as_tensor(np.sign(alike), dtype=torch.float32)
    )


def foot_permutation(robot: RobotSpec) -> SignedPermutation:
    """Reflection of foot vectors: each foot exchanges its value with its counterpart."""
    order = _counterparts(robot, "robot.foot_geoms", robot.config.foot_geoms)
    return SignedPermutation(torch.tensor(order), torch.ones(len(order)))


def grid_permutation(grid: torch.Tensor) -> SignedPermutation:
    """Reflection of readings at points (x, y) [D, 2] to those at (x, -y).

    Raises:
        ConfigError: the grid is not symmetric about the x axis.
    """
    # The default mode for many points uses matrix products, which are not exact enough here.
    distance = torch.cdist(
        grid,
        grid * torch.tensor([1.0, -1.0]),
        compute_mode="donot_use_mm_for_euclid_dist",
    )
    nearest, order = distance.min(dim=1)
    if float(nearest.max()) > 1e-6:
        raise ConfigError(
            "task.observations.scandots.y", "uneven", "a grid that is the same on both sides"
        )
    return SignedPermutation(order, torch.ones(len(order)))


def _counterparts(robot: RobotSpec, key: str, names: list[str]) -> list[int]:
    """Index of the counterpart of each name."""
    swaps = {a: b for pair in robot.config.mirror for a, b in (pair, reversed(pair))}
    found = []
    for name in names:
        part = next((part for part in swaps if part in name), "")
        other = name.replace(part, swaps[part]) if part else name
        if other not in names:
            expected = f"a counterpart in {key} ({other}); robot.mirror names left and right"
            raise ConfigError(key, name, expected)
        found.append(names.index(other))
    return found


def clock_reflection(gait: GaitConfig, feet: SignedPermutation) -> list[SignedPermutation]:
    """Reflection of the observed sine and cosine of the gait clock; empty without a clock.

    Raises:
        ConfigError: the mirrored gait is neither the same one nor the same half a stride later.
    """
    if gait.frequency == 0.0:
        return []
    offsets = torch.tensor(gait.offsets)
    shift = (feet(offsets) - offsets).remainder(1.0)
    for later, sign in ((0.0, 1.0), (0.5, -1.0)):
        if torch.allclose(shift, torch.full_like(shift, later), atol=1e-6):
            return [SignedPermutation.of_signs(sign, sign)]
    expected = "phases that are the same, or half a stride later, on the other side"
    raise ConfigError("task.gait.offsets", gait.offsets, expected)


def make_symmetry(
    robot: RobotSpec,
    grid: torch.Tensor,
    gait: GaitConfig,
    device: torch.device,
    depth_columns: int = 0,
) -> Symmetry:
    """The reflection of the observations of `ObservationBuilder`, with scandots at `grid` [D, 2] m, and of
    depth images [..., columns] where there are any.

    Raises:
        ConfigError: the robot, its default pose or the grid is not symmetric.
    """
    joints, feet, one = (
        joint_permutation(robot),
        foot_permutation(robot),
        SignedPermutation.of_signs(1.0),
    )
    default = torch.as_tensor(robot.default_joint_pos, dtype=torch.float32)
    if not torch.allclose(joints(default), default, atol=1e-3):
        pose = robot.config.default_joint_pos
        raise ConfigError("robot.default_joint_pos", pose, "a pose that is the same on both sides")
    for key, gains in (("kp", robot.kp), ("kd", robot.kd)):
        if not np.allclose(gains[joints.order.numpy()], gains, rtol=1e-6):
            expected = "gains that are the same on both sides"
            raise ConfigError(f"robot.{key}", getattr(robot.config, key), expected)
    # Friction, added mass, shift of the centre of mass, gains, motor strength.
    parameters = SignedPermutation.joined([one, one, VECTOR, one, one, one])
    groups = {
        "proprioception": [ROTATION, VECTOR, joints, joints, joints, feet],
        "commands": [SignedPermutation.of_signs(1.0, -1.0, -1.0), *clock_reflection(gait, feet)],
        "scandots": [grid_permutation(grid)],
        "extrinsics": [parameters],
        "privileged": [VECTOR, parameters, one, feet],
    }
    if depth_columns:
        order = torch.arange(depth_columns).flip(0)
        groups["depth"] = [SignedPermutation(order, torch.ones(depth_columns))]
    reflections = {
        name: SignedPermutation.joined(parts).to(device) for name, parts in groups.items()
    }
    return Symmetry(joints.to(device), reflections)

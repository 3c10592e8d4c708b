"""The figures by which the robot of a policy and that of a robot file are compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from legged_ppo.deploy.metadata import RobotFigures
from legged_ppo.errors import ConfigError
from legged_ppo.robots.spec import RobotSpec


def figures_of(robot: RobotSpec) -> RobotFigures:
    """The figures by which a robot is recognised."""
    return RobotFigures(
        name=robot.config.name,
        base_body=robot.config.base_body,
        joints=list(robot.config.joints),
        default_joint_pos=robot.default_joint_pos.tolist(),
        kp=robot.kp.tolist(),
        kd=robot.kd.tolist(),
        joint_range=[[_finite(x) for x in pair] for pair in robot.joint_range.tolist()],
        torque_limit=[_finite(x) for x in robot.torque_limit.tolist()],
        total_mass=robot.total_mass,
        foot_geoms=list(robot.config.foot_geoms),
    )


def _finite(x: float) -> float | None:
    return x if math.isfinite(x) else None


def check_robot(wanted: RobotFigures, found: RobotFigures, policy: str, robot: str) -> None:
    """Compare the robot of a policy with that of a robot file.

    Args:
        policy, robot: names of the two files, for the message.

    Raises:
        ConfigError: they differ; names the first difference.
    """
    for each in fields(RobotFigures):
        have, want = getattr(found, each.name), getattr(wanted, each.name)
        per_joint = isinstance(want, list) and each.name not in ("joints", "foot_geoms")
        if not per_joint:
            have, want = [have], [want]
        for i, (a, b) in enumerate(zip(have, want, strict=True)):
            if not _same(a, b):
                key = f"{each.name} of {wanted.joints[i]}" if per_joint else each.name
                raise ConfigError(key, a, f"{b!r} as in {policy}", source=robot)


def _same(a: Any, b: Any) -> bool:
    """Equal but for the digits that a robot file loses when it is written."""
    if isinstance(a, Sequence) and not isinstance(a, str):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, float) and isinstance(b, float):
        return abs(a - b) <= 1e-4 * max(abs(a), abs(b), 1e-2)
    return bool(a == b)

"""Where a robot carries a camera."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np

from legged_ppo.robots.spec import RobotSpec

_HEIGHT = 0.03
"""m above the base's origin"""


def camera_mount(robot: RobotSpec, given: Sequence[float] = ()) -> tuple[float, float, float]:
    """Position [m] of a camera in the base frame: the given one, or the foremost point of the base body's geoms
    and 3 cm above the base's origin."""
    if given:
        x, y, z = given
        return x, y, z
    model = robot.mjspec().compile()
    base = model.body(robot.config.base_body)
    first, count = int(base.geomadr[0]), int(base.geomnum[0])
    front = [_foremost(model, geom) for geom in range(first, first + count)] if count else [0.0]
    return max(front), 0.0, _HEIGHT


def _foremost(model: mujoco.MjModel, geom: int) -> float:
    """Largest x [m] of a geom's bounding box in the frame of its body."""
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, model.geom_quat[geom])
    along = rotation[:3]
    centre, half = model.geom_aabb[geom, :3], model.geom_aabb[geom, 3:]
    return float(model.geom_pos[geom, 0] + along @ centre + np.abs(along) @ half)

"""Arrows above a robot: the commanded velocity in green, the actual one in blue."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

COMMAND_COLOR = (0.10, 0.75, 0.35, 0.85)
VELOCITY_COLOR = (0.15, 0.50, 1.00, 0.85)
_HEIGHT, _LIFT = 0.22, 0.03
"""Height [m] of the velocity's arrow above the base, and of the command's above that."""
_SCALE = 0.45
"""Length [m] of an arrow per m/s."""
_RADIUS, _SHORTEST = 0.012, 0.02
"""m; shorter arrows are not drawn."""


@dataclass(frozen=True)
class Arrow:
    """An arrow in the world; `start` and `end` are [3] m, `color` is red, green, blue, alpha in [0, 1]."""

    start: np.ndarray
    end: np.ndarray
    color: tuple[float, float, float, float]


def velocity_arrows(
    position: np.ndarray, quat: np.ndarray, command: np.ndarray, velocity: np.ndarray
) -> tuple[Arrow, Arrow]:
    """Arrows of the command and of the actual velocity.

    Args:
        position: [3] m, of the base.
        quat: [4] w, x, y, z, of the base.
        command, velocity: forward and lateral velocity [m/s] first.
    """
    yaw = heading_of(quat)
    cos, sin = math.cos(yaw), math.sin(yaw)
    rotation = _SCALE * np.array([[cos, -sin], [sin, cos]])

    def arrow(planar: np.ndarray, color: tuple[float, float, float, float], lift: float) -> Arrow:
        start = position + np.array([0.0, 0.0, _HEIGHT + lift])
        end = start.copy()
        end[:2] += rotation @ planar[:2]
        return Arrow(start, end, color)

    return arrow(command, COMMAND_COLOR, _LIFT), arrow(velocity, VELOCITY_COLOR, 0.0)


def add_arrow(scene: Any, arrow: Arrow) -> None:
    """Append an arrow to the geoms of an `MjvScene`, if it is long enough to see and there is room."""
    if np.linalg.norm(arrow.end - arrow.start) < _SHORTEST or scene.ngeom >= scene.maxgeom:
        return
    geom, kind = scene.geoms[scene.ngeom], mujoco.mjtGeom.mjGEOM_ARROW
    color = np.array(arrow.color, np.float32)
    mujoco.mjv_initGeom(geom, kind, np.zeros(3), np.zeros(3), np.eye(3).ravel(), color)
    mujoco.mjv_connector(geom, kind, _RADIUS, arrow.start, arrow.end)
    scene.ngeom += 1


def heading_of(quat: np.ndarray) -> float:
    """Angle [rad] of the x axis of a quaternion w, x, y, z in the horizontal plane."""
    w, x, y, z = quat
    return math.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))

"""The depth camera of one simulated robot: images by MuJoCo's rays, as often and as late as in training."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import mujoco
import numpy as np


class Camera:
    """Holds the image that the policy sees until the next one arrives.

    Args:
        figures: `camera` of the metadata.
        dt: s, control step.
        noise: source of the noise and holes of the training; None: none.
    """

    def __init__(
        self, figures: dict[str, Any], dt: float, noise: np.random.Generator | None = None
    ) -> None:
        self._figures, self._noise = figures, noise
        rays = pixel_rays(figures["rows"], figures["columns"], figures["horizontal_fov_deg"])
        pitch = math.radians(figures["pitch_deg"])
        cos, sin = math.cos(pitch), math.sin(pitch)
        mounting = np.array([[cos, 0.0, sin], [0.0, 1.0, 0.0], [-sin, 0.0, cos]])
        self._rays = rays @ mounting.T  # [P, 3], base frame
        self._lengths = np.linalg.norm(rays, axis=1)
        self._position = np.array(figures["position"])
        self._period = max(1, round(_middle(figures["period_s"]) / dt))
        """Control steps from frame to frame"""
        delay = round(_middle(figures["latency_s"]) / dt)
        self._poses: deque[tuple[np.ndarray, np.ndarray]] = deque(maxlen=delay + 1)
        self._step, self._depths = 0, np.zeros(len(rays))

    def restart(self) -> None:
        """The next image is the first of an episode, of where the robot is then."""
        self._poses.clear()
        self._step = 0

    def __call__(
        self, model: mujoco.MjModel, data: mujoco.MjData, groups: np.ndarray
    ) -> np.ndarray:
        """Depths [rows * columns] m along the optical axis, row by row from the top left, at most `far`; one call
        a control step.

        Args:
            groups: [mjNGROUP] uint8, 1 for the groups of geoms that are seen.
        """
        rotation = np.zeros(9)
        mujoco.mju_quat2Mat(rotation, data.qpos[3:7])
        self._poses.append((data.qpos[:3].copy(), rotation.reshape(3, 3)))
        if self._step % self._period == 0:
            self._depths = self._measured(self._render(model, data, groups, *self._poses[0]))
        self._step += 1
        return self._depths

    def _render(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        groups: np.ndarray,
        base: np.ndarray,
        rotation: np.ndarray,
    ) -> np.ndarray:
        lens = base + rotation @ self._position
        rays = self._rays @ rotation.T / self._lengths[:, None]
        count, far = len(rays), self._figures["far"]
        geoms, found = np.zeros(count, dtype=np.int32), np.zeros(count)
        mujoco.mj_multiRay(
            *(model, data, lens, rays.ravel(), groups, 1, -1, geoms, found, None),
            *(count, far * self._lengths.max()),
        )
        depths: np.ndarray = np.where(found < 0, far, found / self._lengths)
        return depths.clip(max=far)

    def _measured(self, depths: np.ndarray) -> np.ndarray:
        if self._noise is None:
            return depths
        spread = self._figures["noise"] * depths**2
        holes = self._noise.random(len(depths)) < self._figures["holes"]
        noisy = depths + spread * self._noise.standard_normal(len(depths))
        return np.where(holes, self._figures["far"], noisy)


def pixel_rays(rows: int, columns: int, horizontal_fov_deg: float) -> np.ndarray:
    """[rows * columns, 3], as `sensors.depth_rendering.pixel_directions`."""
    half = math.tan(math.radians(horizontal_fov_deg) / 2)
    left = half * (1.0 - (2.0 * np.arange(columns) + 1.0) / columns)
    up = half * (rows / columns) * (1.0 - (2.0 * np.arange(rows) + 1.0) / rows)
    y, z = np.meshgrid(left, up)
    return np.stack([np.ones(rows * columns), y.ravel(), z.ravel()], axis=1)


def _middle(bounds: list[float]) -> float:
    """Of a range [s]; 0 of an empty one."""
    return sum(bounds) / len(bounds) if bounds else 0.0

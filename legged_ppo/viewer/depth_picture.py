"""What a robot's depth camera shows, in colors."""

from __future__ import annotations

import dataclasses

import matplotlib
import numpy as np

from legged_ppo.env.locomotion import LocomotionEnv
from legged_ppo.sensors.depth_camera import DepthCamera

_COLORS = "turbo_r"
"""matplotlib's name; near is red, far is blue."""


class DepthPicture:
    """A robot's last frame, where the policy's observations have a camera (10 Hz, late); else true depths now.

    The camera of those is built for the picture alone.
    """

    def __init__(self, env: LocomotionEnv) -> None:
        self._env = env
        self._camera: DepthCamera = env.depth or env.make_camera(1)
        table = matplotlib.colormaps[_COLORS](np.linspace(0.0, 1.0, 256))[:, :3]
        self._table = (255 * table).round().astype(np.uint8)
        config = self._camera.config
        self.shape = self._camera.shape
        """Rows, columns."""
        self.caption = f"depth {config.near:g} to {config.far:g} m"

    def image(self, robot: int) -> np.ndarray:
        """[rows, columns, 3] uint8."""
        return self._table[(255 * self._shares(robot)).astype(np.uint8)]

    def _shares(self, robot: int) -> np.ndarray:
        """[rows, columns], from 0 (`near`) to 1 (`far`)."""
        camera, config = self._camera, self._camera.config
        if self._env.depth:
            shares = camera.reading[robot] + 0.5
        else:
            pose, row = self._env.base_pose(), slice(robot, robot + 1)
            fields = {each.name: getattr(pose, each.name)[row] for each in dataclasses.fields(pose)}
            depths = camera.render(dataclasses.replace(pose, **fields))[0]
            shares = (depths - config.near) / (config.far - config.near)
        found: np.ndarray = shares.clamp(0.0, 1.0).cpu().numpy()
        return found

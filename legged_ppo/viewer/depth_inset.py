"""The depth camera's image in a corner of a video."""

from __future__ import annotations

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from legged_ppo.env.locomotion import LocomotionEnv
from legged_ppo.sensors.depth_camera import DepthCamera

_SHARE = 0.28
"""Of the video's width."""
_BACKGROUND, _TEXT = (20, 26, 34), (235, 238, 242)
_COLORS = "turbo_r"
"""matplotlib's name; near is red, far is blue."""


class DepthInset:
    """What the first robot's depth camera shows: its last frame, where the policy's observations have one (10 Hz,
    late); else true depths at every frame of the video, from a camera built for the picture alone.

    Args:
        margin: pixels to the video's edges.
    """

    def __init__(
        self, env: LocomotionEnv, margin: float, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
    ) -> None:
        self._env, self._margin, self._font = env, round(margin), font
        self._camera: DepthCamera = env.depth or env.make_camera()
        table = matplotlib.colormaps[_COLORS](np.linspace(0.0, 1.0, 256))[:, :3]
        self._colors = (255 * table).round().astype(np.uint8)

    def draw(self, image: Image.Image) -> None:
        """Put the depth image into the lower left corner of a frame of the video."""
        rows, columns = self._camera.shape
        width = round(_SHARE * image.width)
        size = width, round(width * rows / columns)
        shown = Image.fromarray(self._colors[(255 * self._shares()).astype(np.uint8)])
        shown = shown.resize(size, Image.Resampling.NEAREST)
        config, draw, frame = self._camera.config, ImageDraw.Draw(image), self._margin // 4
        text = f"depth {config.near:g} to {config.far:g} m"
        _, _, _, line = draw.textbbox((0, 0), text, font=self._font)
        line += frame
        x, y = self._margin, image.height - self._margin - size[1]
        box = (x - frame, y - frame - line, x + size[0] + frame - 1, y + size[1] + frame - 1)
        draw.rectangle(box, fill=_BACKGROUND)
        draw.text((x, y - frame // 2 - line), text, font=self._font, fill=_TEXT)
        image.paste(shown, (x, y))

    def _shares(self) -> np.ndarray:
        """[rows, columns], from 0 (`near`) to 1 (`far`)."""
        camera, config = self._camera, self._camera.config
        if self._env.depth:
            shares = camera.reading[0] + 0.5
        else:
            depths = camera.render(self._env.base_pose())[0]
            shares = (depths - config.near) / (config.far - config.near)
        found: np.ndarray = shares.clamp(0.0, 1.0).cpu().numpy()
        return found

"""The depth camera's image in a corner of a video."""

from __future__ import annotations

from PIL import Image, ImageDraw, ImageFont

from legged_ppo.env.locomotion import LocomotionEnv
from legged_ppo.viewer.depth_picture import DepthPicture

_SHARE = 0.28
"""Of the video's width."""
_BACKGROUND, _TEXT = (20, 26, 34), (235, 238, 242)


class DepthInset:
    """The first robot's `DepthPicture`.

    Args:
        margin: pixels to the video's edges.
    """

    def __init__(
        self, env: LocomotionEnv, margin: float, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
    ) -> None:
        self._margin, self._font = round(margin), font
        self._picture = DepthPicture(env)

    def draw(self, image: Image.Image) -> None:
        """Put the depth image into the lower left corner of a frame of the video."""
        rows, columns = self._picture.shape
        width = round(_SHARE * image.width)
        size = width, round(width * rows / columns)
        shown = Image.fromarray(self._picture.image(0)).resize(size, Image.Resampling.NEAREST)
        draw, frame, text = ImageDraw.Draw(image), self._margin // 4, self._picture.caption
        _, _, _, line = draw.textbbox((0, 0), text, font=self._font)
        line += frame
        x, y = self._margin, image.height - self._margin - size[1]
        box = (x - frame, y - frame - line, x + size[0] + frame - 1, y + size[1] + frame - 1)
        draw.rectangle(box, fill=_BACKGROUND)
        draw.text((x, y - frame // 2 - line), text, font=self._font, fill=_TEXT)
        image.paste(shown, (x, y))

"""A small animated GIF of a video, for dashboards that play no videos."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import imageio.v2 as imageio
from PIL import Image

from legged_ppo.viewer.video_writer import frames_due

_WIDTH, _FPS, _SECONDS = 320, 5, 20.0
"""Pixels; frames a second; s"""


def gif_of(video: Path) -> tuple[bytes, tuple[int, int]]:
    """The first 20 s of a video as a GIF of 5 frames a second, 320 pixels wide; and its width and height."""
    images: list[Image.Image] = []
    source: Any = imageio.get_reader(video)
    with source as reader:
        dt = 1.0 / reader.get_meta_data()["fps"]
        for i, frame in enumerate(reader):
            if i * dt >= _SECONDS:
                break
            if frames_due(i, dt, _FPS):
                size = (_WIDTH, round(_WIDTH * frame.shape[0] / frame.shape[1]))
                image = Image.fromarray(frame).resize(size)
                images.append(image.convert("P", palette=Image.Palette.ADAPTIVE))
    buffer = io.BytesIO()
    images[0].save(
        buffer, "GIF", save_all=True, append_images=images[1:], duration=1000 // _FPS, loop=0
    )
    return buffer.getvalue(), images[0].size

"""Video and GIF files, written frame by frame."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import imageio.v2 as imageio


def open_stream(path: Path, fps: int) -> Any:
    """A writer (`append_data`, `close`, a context manager) of H.264 video or, for `.gif`, an animated GIF.

    Raises:
        OSError: the file cannot be written.
    """
    if path.suffix == ".gif":
        return imageio.get_writer(path, mode="I", duration=1000.0 / fps, loop=0)
    return imageio.get_writer(
        path,
        fps=fps,
        codec="libx264",
        pixelformat="yuv420p",
        quality=7,
        macro_block_size=2,
        ffmpeg_log_level="error",
    )


def frames_due(step: int, dt: float, fps: int) -> int:
    """Frames to write in step number `step` of `dt` s, so that the stream plays in real time; the first
    frame is due in step 0."""
    return _frames(step + 1, dt, fps) - _frames(step, dt, fps)


def _frames(steps: int, dt: float, fps: int) -> int:
    """Frames that are due after so many steps."""
    return math.ceil(steps * dt * fps - 1e-6)

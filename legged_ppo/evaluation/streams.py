"""Video and GIF files, written frame by frame."""

from __future__ import annotations

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

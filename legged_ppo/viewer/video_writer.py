"""Video and GIF files, written frame by frame, renamed to their final names once complete."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path
from types import TracebackType
from typing import Any

import imageio.v2 as imageio
import imageio_ffmpeg
import numpy as np
from PIL import Image


class VideoError(OSError):
    """A recording that could not be written, in one line."""


class VideoWriter:
    """H.264 video or, for `.gif`, an animated GIF; a context manager.

    Frames go to a temporary file beside `path`. `close` checks that it holds every frame, then renames
    it: a full disk or a failed encoder leaves an older file at `path` as it was.
    """

    def __init__(self, path: Path, fps: int) -> None:
        self._path, self._frames = path, 0
        self._temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
        try:
            self._temporary.touch()
            self._writer = _encoder(self._temporary, fps)
        except OSError as error:
            raise self._failure(error) from error

    def append_data(self, frame: np.ndarray) -> None:
        """Add a frame, [height, width, 3] uint8.

        Raises:
            VideoError: the encoder ended or the disk is full.
        """
        try:
            self._writer.append_data(frame)
        except (OSError, RuntimeError, ValueError) as error:
            raise self._failure(error) from error
        self._frames += 1

    def close(self) -> None:
        """Finish the file and give it its name.

        Raises:
            VideoError: the file is not complete; it is deleted.
        """
        try:
            self._writer.close()
            _check(self._temporary, self._frames)
            os.replace(self._temporary, self._path)
        except (OSError, RuntimeError, ValueError) as error:
            raise self._failure(error) from error
        finally:
            self._temporary.unlink(missing_ok=True)

    def abandon(self) -> None:
        """Stop without a file."""
        with contextlib.suppress(OSError, RuntimeError, ValueError):
            self._writer.close()
        self._temporary.unlink(missing_ok=True)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    def _failure(self, error: Exception) -> VideoError:
        """The error in one line; what ffmpeg printed follows imageio's own line and its command."""
        lines = str(error).strip().splitlines() or [type(error).__name__]
        reason = getattr(error, "strerror", None) or lines[-1].strip()
        return VideoError(f"cannot write {self._path}: {reason}")


def open_stream(path: Path, fps: int) -> VideoWriter:
    """A writer for `path`, whose suffix decides the kind of file.

    Raises:
        VideoError: the file cannot be written.
    """
    return VideoWriter(path, fps)


def _encoder(path: Path, fps: int) -> Any:
    if path.suffix == ".gif":
        return _GifEncoder(path, fps)
    return imageio.get_writer(
        path,
        fps=fps,
        codec="libx264",
        pixelformat="yuv420p",
        quality=7,
        macro_block_size=2,
        ffmpeg_log_level="error",
    )


class _GifEncoder:
    """imageio's own tries once more in its `__del__` after a failed write, and prints a traceback there."""

    def __init__(self, path: Path, fps: int) -> None:
        self._path, self._fps = path, fps
        self._images: list[Image.Image] = []

    def append_data(self, frame: np.ndarray) -> None:
        palette = Image.Palette.ADAPTIVE
        self._images.append(Image.fromarray(frame).convert("P", palette=palette))

    def close(self) -> None:
        first, *others = self._images
        duration = 1000.0 / self._fps  # [ms]
        first.save(self._path, save_all=True, append_images=others, duration=duration, loop=0)


def _check(path: Path, frames: int) -> None:
    """Read a finished file: imageio does not look at ffmpeg's exit status.

    Raises:
        OSError: the file is empty, damaged, or a video of fewer frames.
    """
    if frames == 0 or path.stat().st_size == 0:
        raise OSError("the recording is empty")
    if path.suffix == ".gif":  # its encoder merges equal frames
        with Image.open(path) as image:
            image.seek(getattr(image, "n_frames", 1) - 1)
        return
    try:
        found = imageio_ffmpeg.count_frames_and_secs(str(path))[0]
    except RuntimeError:
        found = 0
    if found != frames:
        raise OSError(f"{found} of {frames} frames arrived in the file; is the disk full?")


def frames_due(step: int, dt: float, fps: int) -> int:
    """Frames to write in step number `step` of `dt` s, so that the stream plays in real time; the first
    frame is due in step 0."""
    return _frames(step + 1, dt, fps) - _frames(step, dt, fps)


def _frames(steps: int, dt: float, fps: int) -> int:
    """Frames that are due after so many steps."""
    return math.ceil(steps * dt * fps - 1e-6)

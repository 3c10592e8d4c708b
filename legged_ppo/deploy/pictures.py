"""Pictures of the robot in its scene: a video drawn without a display, or MuJoCo's viewer."""

from __future__ import annotations

import importlib.util
import math
import os
import sys
from collections.abc import Generator
from pathlib import Path
from types import TracebackType
from typing import Any

from legged_ppo.errors import UsageError

_WIDTH, _HEIGHT, _FPS = 800, 450, 25
_DISTANCE, _ELEVATION, _AZIMUTH = 1.8, -18.0, 140.0
"""m, degrees of the camera about the robot"""


def has_display() -> bool:
    """Whether a window can be opened."""
    names = ("DISPLAY", "WAYLAND_DISPLAY")
    return sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in names)


def choose_backend() -> None:
    """Let MuJoCo draw by EGL where there is no display and MUJOCO_GL says nothing; before mujoco is imported."""
    if not has_display():
        os.environ.setdefault("MUJOCO_GL", "egl")


class Picture:
    """The scene with everything that is only for the eye, posed as the simulated robot.

    Args:
        scene: MJCF of robot and ground, whose joints are those of the simulated model.
    """

    def __init__(self, scene: Path) -> None:
        import mujoco

        spec = mujoco.MjSpec.from_file(str(scene))
        spec.visual.global_.offwidth, spec.visual.global_.offheight = _WIDTH, _HEIGHT
        spec.visual.headlight.ambient = [0.55, 0.55, 0.55]
        spec.visual.headlight.diffuse = [0.6, 0.6, 0.6]
        spec.add_texture(
            name="legged_ppo_sky",
            type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
            builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
            rgb1=[0.36, 0.56, 0.82],
            rgb2=[0.9, 0.94, 0.97],
            width=64,
            height=384,
        )
        self.model = spec.compile()
        self.data = mujoco.MjData(self.model)

    def pose(self, data: Any) -> None:
        """Take over the positions of the simulated robot."""
        import mujoco

        self.data.qpos[:] = data.qpos
        mujoco.mj_forward(self.model, self.data)

    def aim(self, camera: Any, body: str) -> None:
        """Let a camera follow the robot."""
        import mujoco

        camera.type = mujoco.mjtCamera.mjCAMERA_TRACKING
        camera.trackbodyid = self.model.body(body).id
        camera.distance, camera.elevation, camera.azimuth = _DISTANCE, _ELEVATION, _AZIMUTH


class Video:
    """An MP4 file of a robot in real time; a context manager.

    Args:
        body: that the camera follows.
        dt: s between two calls of `show`.

    Raises:
        UsageError: the encoder is not installed, or nothing can be drawn here.
    """

    def __init__(self, path: Path, scene: Path, body: str, dt: float) -> None:
        if importlib.util.find_spec("imageio_ffmpeg") is None:
            raise UsageError("--video needs imageio-ffmpeg", "pip install imageio-ffmpeg")
        import imageio_ffmpeg
        import mujoco

        self._picture = Picture(scene)
        self._camera = mujoco.MjvCamera()
        self._picture.aim(self._camera, body)
        self._dt, self._steps, self._frames = dt, 0, 0
        try:
            self._renderer = mujoco.Renderer(self._picture.model, _HEIGHT, _WIDTH)
        except Exception as error:  # of whatever OpenGL back end
            hint = "apt-get install libegl1 libgl1, or MUJOCO_GL=osmesa with libosmesa6"
            raise UsageError(f"no video: {error}", hint) from None
        self._writer: Generator[None, Any, None] = imageio_ffmpeg.write_frames(
            str(path), (_WIDTH, _HEIGHT), fps=_FPS, macro_block_size=2, ffmpeg_log_level="error"
        )
        self._writer.send(None)

    def show(self, data: Any) -> bool:
        """Take the state after a control step and draw the frames that are due; always True."""
        self._steps += 1
        due = math.floor(self._steps * self._dt * _FPS + 1e-6)
        if due > self._frames:
            self._picture.pose(data)
            self._renderer.update_scene(self._picture.data, self._camera)
            frame = self._renderer.render().tobytes()
            for _ in range(due - self._frames):
                self._writer.send(frame)
            self._frames = due
        return True

    def __enter__(self) -> Video:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._writer.close()
        self._renderer.close()


class Window:
    """MuJoCo's viewer; a context manager.

    Args:
        body: that the camera follows.

    Raises:
        UsageError: there is no display.
    """

    def __init__(self, scene: Path, body: str) -> None:
        if not has_display():
            raise UsageError("--view needs a display", "record with --video instead")
        import mujoco.viewer

        self._picture = Picture(scene)
        self._viewer = mujoco.viewer.launch_passive(
            self._picture.model, self._picture.data, show_left_ui=False
        )
        self._picture.aim(self._viewer.cam, body)

    def show(self, data: Any) -> bool:
        """Draw the state; False once the window has been closed."""
        self._picture.pose(data)
        self._viewer.sync()
        return bool(self._viewer.is_running())

    def __enter__(self) -> Window:
        return self

    def __exit__(self, *_: object) -> None:
        self._viewer.close()

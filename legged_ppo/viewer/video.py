"""Videos of a walking robot, made without a display."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from legged_ppo.config.schema import Config
from legged_ppo.env.factory import make_locomotion_env
from legged_ppo.env.locomotion import LocomotionEnv
from legged_ppo.evaluation.evaluator import evaluation_config
from legged_ppo.evaluation.rollout import on_device, rollout
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.models.recurrent_policy import RecurrentPolicy
from legged_ppo.runtime.progress_lines import ProgressLines
from legged_ppo.viewer.cameras import CAMERAS, Camera
from legged_ppo.viewer.depth_inset import DepthInset
from legged_ppo.viewer.gl_backend import use_working_backend
from legged_ppo.viewer.video_writer import frames_due, open_stream

if TYPE_CHECKING:
    from legged_ppo.viewer.scene import RobotScene

_log = logging.getLogger(__name__)

Command = tuple[float, float, float]
"""Forward, lateral velocity [m/s], yaw rate [rad/s]."""

Place = tuple[str, int]
"""Terrain type and level."""

_FPS = 25
SIZE = (800, 450)
"""Pixels of a video, even as its encoder demands."""
_OVERSAMPLING = 1.5
"""Rendered pixels per shown pixel: smooth edges at half the cost of multisampling in software."""
_GIF_WIDTH, _GIF_FPS = 480, 20
"""Largest width [pixels]; frames a second"""
_MARGIN, _FONT_SIZE, _SMALLEST_FONT = 14, 17, 9
"""Pixels of the caption at `SIZE`, with which it scales; pixels of the smallest legible font."""
_SMOOTHING = 0.2
"""Time constant [s] of the low-pass filter of the displayed velocities."""


@dataclass(frozen=True)
class Segment:
    """A command that is held for some seconds."""

    command: Command
    seconds: float
    place: Place | None = None
    """Tile to start on; None continues where the robot is."""


TOUR = (
    Segment((0.5, 0.0, 0.0), 2.5),
    Segment((1.0, 0.0, 0.0), 3.0),
    Segment((0.0, 0.5, 0.0), 2.5),
    Segment((0.5, 0.0, 0.8), 3.0),
    Segment((0.0, 0.0, 0.0), 1.5),
)
"""Commands of a report's video: slow, fast, sideways, a turn, standing."""


def render_episodes(
    policy: ActorCritic,
    config: Config,
    paths: Sequence[Path],
    *,
    seconds: float = math.inf,
    command: Command | None = None,
    script: Sequence[Segment] = (),
    place: Place | None = None,
    seed: int = 0,
    stochastic: bool = False,
    gif_fps: int | None = None,
    size: tuple[int, int] = SIZE,
    camera: str = "follow",
    show_depth: bool = False,
) -> float:
    """Record one robot for `seconds`, through as many episodes as that takes.

    Args:
        paths: MP4 (H.264) and GIF files to write.
        command: fixed command; without it and `script`, commands are drawn as in training.
        place: terrain type and level; None takes the first.
        script: commands one after another, which end the recording with the last.
        gif_fps: frames per second of a GIF; None: 20.
        size: width and height [pixels] of a video, both even; a GIF is at most 480 pixels wide.
        camera: name in `CAMERAS`.
        show_depth: put the depth camera's image into the picture (`DepthInset`).

    Returns:
        seconds recorded.

    Raises:
        RenderingUnavailable: no OpenGL back end works on this machine.
        VideoError: a file cannot be written.
    """
    use_working_backend()
    config = evaluation_config(config)
    config.task.observations.noise = config.task.observations.noise and stochastic
    env = make_locomotion_env(config, 1, seed)
    if place is not None:
        env.place(*env.terrain.place(*place))
    generator = torch.Generator(env.device).manual_seed(seed) if stochastic else None
    if script:
        seconds = min(seconds, sum(segment.seconds for segment in script))
    steps = round(seconds / env.dt)
    actor = RecurrentPolicy(on_device(policy, env.device), 1, env.device, generator)
    with _Recorder(env, paths, gif_fps or _GIF_FPS, size, CAMERAS[camera], show_depth) as recorder:
        _record(actor, env, recorder, steps, command, script)
    return steps * env.dt


def _record(
    actor: RecurrentPolicy,
    env: LocomotionEnv,
    recorder: _Recorder,
    steps: int,
    command: Command | None,
    script: Sequence[Segment],
) -> None:
    env.commands.fix(script[0].command if script else command)
    obs = env.start_episodes_together()
    results = rollout(actor, env, obs)
    segment = None
    progress = ProgressLines(_log, "video", steps)
    for step in range(steps):
        progress.update(step)
        if script and (now := _scripted(script, step * env.dt)) is not segment:
            segment = now
            _give(env, segment.command)
            if segment.place is not None:
                env.place(*env.terrain.place(*segment.place))
                obs = env.start_episodes_together()
                actor.restart()
                results = rollout(actor, env, obs)
                recorder.move()
        obs["commands"] = env.observed_commands()  # read by the step that `next` makes
        obs = next(results).obs
        recorder.add(step, ended=bool(actor.starts.any()))


def _give(env: LocomotionEnv, command: Command) -> None:
    """Change the command of every robot now."""
    env.commands.fix(command)
    env.commands.command.copy_(torch.tensor(command, device=env.device))


def _scripted(script: Sequence[Segment], time: float) -> Segment:
    """The segment of the script at `time` [s]; its last one goes on."""
    for segment in script:
        if time < segment.seconds:
            return segment
        time -= segment.seconds
    return script[-1]


class _Recorder:
    """Writes captioned frames of the control steps to videos and GIFs."""

    def __init__(
        self,
        env: LocomotionEnv,
        paths: Sequence[Path],
        gif_fps: int,
        size: tuple[int, int],
        camera: Camera,
        show_depth: bool,
    ) -> None:
        self._env, self._size, self._camera = env, size, camera
        self._velocity = np.zeros(3)
        scale = min(size[0] / SIZE[0], size[1] / SIZE[1])
        self._scale = max(scale, _SMALLEST_FONT / _FONT_SIZE)
        self._font = ImageFont.load_default(size=self._scale * _FONT_SIZE)
        margin = self._scale * _MARGIN
        self._inset = DepthInset(env, margin, self._font) if show_depth else None
        self._scene = self._make_scene()
        self._open = ExitStack()
        self._streams = []
        width = min(_GIF_WIDTH, size[0])
        gif_size = (width, round(width * size[1] / size[0]))
        for path in paths:
            fps, shape = (gif_fps, gif_size) if path.suffix == ".gif" else (_FPS, size)
            self._streams.append((self._open.enter_context(open_stream(path, fps)), fps, shape))

    def __enter__(self) -> _Recorder:
        return self

    def __exit__(self, *error: Any) -> None:
        self._scene.close()
        self._open.__exit__(*error)

    def move(self) -> None:
        """Render the tile that the robot stands on now."""
        self._scene.close()
        self._scene = self._make_scene()
        self._velocity[:] = 0.0

    def _make_scene(self) -> RobotScene:
        from legged_ppo.viewer.scene import RobotScene

        env, (width, height) = self._env, self._size
        return RobotScene(
            env.robot,
            env.terrain,
            (int(env.terrain_type[0]), int(env.terrain_level[0])),
            [0],
            width=int(_OVERSAMPLING * width),
            height=int(_OVERSAMPLING * height),
            frame_time=1.0 / _FPS,
            camera=self._camera,
        )

    def add(self, step: int, *, ended: bool) -> None:
        """Append a frame after control step `step` to every stream that has one due."""
        dt = self._env.dt
        self._observe(dt)
        if ended:
            self._scene.cut()
        due = [stream for stream in self._streams if frames_due(step, dt, stream[1])]
        if not due:
            return
        command = self._env.commands.command.cpu().numpy()
        frame = Image.fromarray(self._scene.frame(self._env.simulator.state, command))
        image = frame.resize(self._size, Image.Resampling.BICUBIC)
        self._caption(image, command[0], step * dt)
        if self._inset:
            self._inset.draw(image)
        for writer, _fps, shape in due:
            scaled = image if image.size == shape else image.resize(shape, Image.Resampling.LANCZOS)
            writer.append_data(np.asarray(scaled))

    def _observe(self, dt: float) -> None:
        state = self._env.simulator.state
        actual = torch.cat([state.base_lin_vel[0, :2], state.base_ang_vel[0, 2:]]).cpu().numpy()
        self._velocity += min(dt / _SMOOTHING, 1.0) * (actual - self._velocity)

    def _caption(self, image: Image.Image, command: np.ndarray, time: float) -> None:
        """Command (green) against velocity (blue), time, robot and terrain."""
        env, draw, scale = self._env, ImageDraw.Draw(image, "RGBA"), self._scale
        names = ("forward", "left", "turn")
        units = ("m/s", "m/s", "rad/s")
        line = _FONT_SIZE + 6
        box = [scale * x for x in (_MARGIN - 8, _MARGIN - 8, 318, _MARGIN + 4 * line + 4)]
        draw.rounded_rectangle(box, 8 * scale, fill=(20, 26, 34, 150))
        columns = [scale * (_MARGIN + x) for x in (0, 80, 180)]
        rows: list[tuple[str, ...]] = [("", "command", "actual")]
        rows += [
            (name, f"{asked:+.2f}", f"{actual:+.2f} {unit}")
            for name, asked, actual, unit in zip(names, command, self._velocity, units, strict=True)
        ]
        colors = ((235, 238, 242), (110, 235, 150), (120, 190, 255))
        for i, row in enumerate(rows):
            for x, text, color in zip(columns, row, colors, strict=True):
                draw.text((x, scale * (_MARGIN + i * line)), text, font=self._font, fill=color)
        terrain = env.terrain.types[int(env.terrain_type[0])]
        if env.terrain.num_levels > 1:
            terrain += f" {int(env.terrain_level[0])}"
        text = f"{env.robot.config.name}  {terrain}  {time:5.1f} s"
        width = draw.textlength(text, font=self._font)
        corner = (image.width - width - scale * _MARGIN, scale * _MARGIN)
        draw.text(corner, text, font=self._font, fill=(20, 26, 34))

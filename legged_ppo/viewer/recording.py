"""Recordings of a policy: robots drawn by our scene, other environments by their own `render`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch

from legged_ppo.errors import ConfigError
from legged_ppo.evaluation.returns import check_fit, step_limit, unfinished_line
from legged_ppo.evaluation.rollout import on_device, rollout
from legged_ppo.evaluation.task import ReturnsTask, task_of
from legged_ppo.evaluation.trained_policy import TrainedPolicy
from legged_ppo.interface import Environment
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.models.recurrent_policy import RecurrentPolicy
from legged_ppo.runtime.progress_lines import ProgressLines
from legged_ppo.viewer.gl_backend import RenderingUnavailable, use_working_backend
from legged_ppo.viewer.video import SIZE, Segment, render_episodes
from legged_ppo.viewer.video_writer import frames_due, open_stream

_log = logging.getLogger(__name__)


def record(
    policy: TrainedPolicy,
    paths: Sequence[str | Path],
    *,
    episodes: int = 1,
    seed: int = 0,
    stochastic: bool = False,
    gif_fps: int | None = None,
    command: tuple[float, float, float] | None = None,
    place: tuple[str, int] | None = None,
    script: Sequence[Segment] = (),
    seconds: float | None = None,
    size: tuple[int, int] = SIZE,
    camera: str = "follow",
    show_depth: bool = False,
) -> str:
    """Record episodes to MP4 and GIF files; returns their length or, of `ReturnsTask`, their mean return.

    Args:
        policy: of `load_policy`; its config is the environment.
        paths: files whose suffix decides their kind.
        gif_fps: frames per second of a GIF; None: its default.
        command, place, script, size, camera, show_depth: of robots, as in `render_episodes`.
        seconds: of robots, in place of `episodes`.

    Raises:
        RenderingUnavailable: the environment has no images, or no OpenGL back end works.
        VideoError: a file cannot be written.
    """
    task, files = task_of(policy.config), [Path(path) for path in paths]
    if isinstance(task, ReturnsTask):
        mean = record_images(
            policy.network,
            task,
            files,
            episodes=episodes,
            seed=seed,
            stochastic=stochastic,
            gif_fps=gif_fps,
        )
        return f"a mean return of {mean:.1f}"
    recorded = render_episodes(
        policy.network,
        policy.config,
        files,
        seconds=seconds or episodes * policy.config.task.episode_length_s,
        command=command,
        script=script,
        place=place,
        seed=seed,
        stochastic=stochastic,
        gif_fps=gif_fps,
        size=size,
        camera=camera,
        show_depth=show_depth,
    )
    return f"{recorded:.3g} s"


def record_images(
    policy: ActorCritic,
    task: ReturnsTask,
    paths: Sequence[Path],
    *,
    episodes: int,
    seed: int = 0,
    stochastic: bool = False,
    gif_fps: int | None = None,
) -> float:
    """Record whole episodes as the environment's own images.

    Args:
        gif_fps: frames per second of a GIF, which plays at the environment's speed; None and videos have
            a frame a step. An episode that does not end is cut after `step_limit` steps.

    Returns:
        the mean return of the episodes.

    Raises:
        RenderingUnavailable: the environment has no images, or what it draws with is missing.
        VideoError: a file cannot be written.
    """
    name = task.config.subject
    try:
        env = task.make_plain_env(1, seed, policy.device, drawn=True)
    except ConfigError:
        raise RenderingUnavailable(f"no video: {name} takes no render_mode") from None
    fps = max(1, round(env.render_fps))
    with ExitStack() as stack:
        stack.callback(env.close)
        check_fit(policy, env, name)
        generator = torch.Generator(env.device).manual_seed(seed) if stochastic else None
        actor = RecurrentPolicy(on_device(policy, env.device), 1, env.device, generator)
        if env.needs_opengl:
            use_working_backend()
        results = rollout(actor, env, env.reset())
        _check_drawing(env, name)
        streams = []
        for path in paths:
            rate = gif_fps if gif_fps and path.suffix == ".gif" else fps
            streams.append((stack.enter_context(open_stream(path, rate)), rate))
        total, ended, step, begin = 0.0, 0, 0, 0
        progress = ProgressLines(_log, "video", None)
        while ended < episodes:
            progress.update(step)
            _write(env, streams, step, fps)
            total, step = total + float(next(results).reward[0]), step + 1
            if bool(actor.starts[0]):
                ended, begin = ended + 1, step
            elif step - begin >= step_limit(env):
                _log.warning(unfinished_line(name, 1, step - begin))
                return total / (ended + 1)
    return total / episodes


def _check_drawing(env: Environment, name: str) -> None:
    """One frame, to find out before a recording begins.

    Raises:
        RenderingUnavailable: `render` is missing, needs a library, or returns no image.
    """
    try:
        frame = env.render()
    except Exception as error:  # the environment's own code, which need not be able to draw
        reason = (str(error).splitlines() or [""])[0]
        raise RenderingUnavailable(
            f"no video: render() of {name} failed: {type(error).__name__} {reason}".rstrip()
        ) from None
    if not isinstance(frame, np.ndarray):
        raise RenderingUnavailable(f"no video: {name} does not draw itself")


def _write(env: Environment, streams: Sequence[tuple[Any, int]], step: int, fps: int) -> None:
    """Append the current image, of `fps` steps a second, to streams of so many frames a second."""
    frame = env.render()
    for stream, rate in streams:
        for _ in range(frames_due(step, 1.0 / fps, rate)):
            stream.append_data(frame)

"""Recordings of a policy in a Gymnasium environment, as the environment draws itself."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch

from legged_ppo.config.schema import Config
from legged_ppo.errors import ConfigError
from legged_ppo.evaluation.returns import step_limit, unfinished_line
from legged_ppo.interface import Observations
from legged_ppo.interop.gymnasium import GymnasiumEnv
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.models.recurrent_policy import RecurrentPolicy
from legged_ppo.runtime.progress_lines import ProgressLines
from legged_ppo.viewer.gl_backend import RenderingUnavailable, use_working_backend
from legged_ppo.viewer.video_writer import frames_due, open_stream

_log = logging.getLogger(__name__)

_DEFAULT_FPS = 30
"""For environments that do not say."""


def record_gym_episodes(
    policy: ActorCritic,
    config: Config,
    paths: list[Path],
    *,
    episodes: int,
    seed: int = 0,
    stochastic: bool = False,
    gif_fps: int | None = None,
) -> float:
    """Record whole episodes to MP4 and GIF files.

    Args:
        gif_fps: frames per second of a GIF, which plays at the environment's speed; None and videos take
            a frame a step. An episode that does not end is cut after `step_limit` steps.

    Returns:
        the mean return of the episodes.

    Raises:
        RenderingUnavailable: the environment does not draw itself, pygame is missing, or for
            environments of MuJoCo an OpenGL back end.
        VideoError: a file cannot be written.
    """
    env = _drawing_env(config, seed)
    generator = torch.Generator().manual_seed(seed) if stochastic else None
    actor = RecurrentPolicy(policy, 1, env.device, generator)
    own_fps = env.copies.metadata.get("render_fps", _DEFAULT_FPS)
    fps = max(1, round(own_fps / config.gym.frame_skip))
    with ExitStack() as stack:
        stack.callback(env.close)
        obs = env.reset()
        _check_drawing(env)
        streams = []
        for path in paths:
            rate = gif_fps if gif_fps and path.suffix == ".gif" else fps
            streams.append((stack.enter_context(open_stream(path, rate)), rate))
        return _record(env, actor, obs, streams, fps, episodes)


def _drawing_env(config: Config, seed: int) -> GymnasiumEnv:
    """One copy of the environment, asked to draw itself."""
    drawn = config.gym.kwargs | {"render_mode": "rgb_array"}
    gym = replace(config.gym, kwargs=drawn, normalize_reward=False, processes=False)
    try:
        env = GymnasiumEnv(gym, 1, seed, config.ppo.gamma)
    except ConfigError:
        raise RenderingUnavailable(f"no video: {gym.id} takes no render_mode") from None
    if str(env.copies.get_attr("spec")[0].entry_point).startswith("gymnasium.envs.mujoco"):
        use_working_backend()
    return env


def _check_drawing(env: GymnasiumEnv) -> None:
    """One frame, to find out before a recording begins.

    Raises:
        RenderingUnavailable: `render` is missing, needs a library, or returns no picture.
    """
    name = env.config.id
    try:
        frame = env.render()
    except gymnasium.error.DependencyNotInstalled as error:
        raise RenderingUnavailable(f"no video: {error}") from None
    except Exception as error:  # the environment's own code, which need not be able to draw
        reason = (str(error).splitlines() or [""])[0]
        raise RenderingUnavailable(
            f"no video: render() of {name} failed: {type(error).__name__} {reason}".rstrip()
        ) from None
    if not isinstance(frame, np.ndarray):
        raise RenderingUnavailable(f"no video: {name} does not draw itself")


def _record(
    env: GymnasiumEnv,
    actor: RecurrentPolicy,
    obs: Observations,
    streams: Sequence[tuple[Any, int]],
    fps: int,
    episodes: int,
) -> float:
    """Play and write, `fps` steps a second, to streams of so many frames a second; the mean return."""
    total, ended, step, begin = 0.0, 0, 0, 0
    progress = ProgressLines(_log, "video", None)
    while ended < episodes:
        progress.update(step)
        frame = env.render()
        for stream, rate in streams:
            for _ in range(frames_due(step, 1.0 / fps, rate)):
                stream.append_data(frame)
        result = env.step(actor.act(obs))
        obs, step = result.obs, step + 1
        actor.note_ends(result)
        total += float(result.reward[0])
        if bool(actor.starts[0]):
            ended, begin = ended + 1, step
        elif step - begin >= step_limit(env):
            _log.warning(unfinished_line(env.config.id, 1, step - begin))
            return total / (ended + 1)
    return total / episodes

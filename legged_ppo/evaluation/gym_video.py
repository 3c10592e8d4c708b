"""Recordings of a policy in a Gymnasium environment, as the environment draws itself."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import gymnasium
import torch

from legged_ppo.config.errors import ConfigError
from legged_ppo.config.schema import Config
from legged_ppo.evaluation.actor import RecurrentActor
from legged_ppo.evaluation.gl_backend import RenderingUnavailable, use_working_backend
from legged_ppo.evaluation.streams import open_stream
from legged_ppo.interop.gymnasium import GymnasiumEnv
from legged_ppo.models.actor_critic import ActorCritic

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
) -> float:
    """Record whole episodes to MP4 and GIF files, a frame a step.

    Returns:
        the mean return of the episodes.

    Raises:
        RenderingUnavailable: the environment does not draw itself, pygame is missing, or for
            environments of MuJoCo an OpenGL back end.
        OSError: a file cannot be written.
    """
    drawn = config.gym.kwargs | {"render_mode": "rgb_array"}
    gym = replace(config.gym, kwargs=drawn, normalize_reward=False, processes=False)
    try:
        env = GymnasiumEnv(gym, 1, seed, config.ppo.gamma)
    except ConfigError:
        raise RenderingUnavailable(f"no rendering: {gym.id} takes no render_mode") from None
    if str(env.copies.get_attr("spec")[0].entry_point).startswith("gymnasium.envs.mujoco"):
        use_working_backend()
    generator = torch.Generator().manual_seed(seed) if stochastic else None
    actor = RecurrentActor(policy, 1, env.device, generator)
    fps = max(1, round(env.copies.metadata.get("render_fps", _DEFAULT_FPS) / gym.frame_skip))
    total, ended = 0.0, 0
    with ExitStack() as stack:
        stack.callback(env.close)
        obs = env.reset()
        try:
            if env.render() is None:
                raise RenderingUnavailable(f"no rendering: {gym.id} does not draw itself")
        except gymnasium.error.DependencyNotInstalled as error:
            raise RenderingUnavailable(f"no rendering: {error}") from None
        streams = [stack.enter_context(open_stream(path, fps)) for path in paths]
        while ended < episodes:
            frame = env.render()
            for stream in streams:
                stream.append_data(frame)
            result = env.step(actor.act(obs))
            obs = result.obs
            actor.note_ends(result)
            total += float(result.reward[0])
            ended += int(actor.starts[0])
    return total / episodes

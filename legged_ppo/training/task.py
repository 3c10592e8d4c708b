"""What a run trains on: robots, or a Gymnasium environment."""

from __future__ import annotations

import importlib.util
import logging
import math

import torch

from legged_ppo.config.extensions import load_extensions
from legged_ppo.config.schema import Config
from legged_ppo.env.factory import make_env
from legged_ppo.errors import ConfigError, UsageError
from legged_ppo.interface import Environment
from legged_ppo.runtime import distributed
from legged_ppo.terrain.checks import check_curriculum

_log = logging.getLogger(__name__)

_INSTALL_GYM = "pip install -c constraints.txt -e '.[gym]'"


def make_training_env(
    config: Config, num_envs: int, seed: int, device: torch.device | str = "cpu"
) -> Environment:
    """What the recipe trains on: robots, or a Gymnasium environment; see `make_env`."""
    if not config.gym.id:
        check_curriculum(config.terrain, load_extensions(config.extensions).terrains)
        _check_distance(config)
        return make_env(config, num_envs, seed, device)
    if importlib.util.find_spec("gymnasium") is None:
        raise UsageError(f"gym.id={config.gym.id} needs gymnasium", f"install it: {_INSTALL_GYM}")
    from legged_ppo.interop.gymnasium import GymnasiumEnv

    if config.gym.normalize_reward and distributed.world_size() > 1:
        expected = "false with several processes, each of which would have a scale of its own"
        raise ConfigError("gym.normalize_reward", True, expected)
    if torch.device(device).type != "cpu":
        _log.info("%s runs on the CPU, and so does its training", config.gym.id)
    env = GymnasiumEnv(config.gym, num_envs, seed, config.ppo.gamma)
    discrete, distribution = env.discrete, config.policy.distribution
    if discrete != (distribution == "categorical"):
        expected = "categorical" if discrete else "another distribution"
        raise ConfigError(
            "policy.distribution", distribution, f"{expected} for the actions of {config.gym.id}"
        )
    return env


def _check_distance(config: Config) -> None:
    """A curriculum must be able to move robots up: not in `validate`, because evaluation has none. What a
    sampler of an extension commands is not known.

    Raises:
        ConfigError: the fastest command does not lead as far as it asks for.
    """
    curriculum, commands = config.terrain.curriculum, config.task.commands
    forward, sideways = (
        max(map(abs, bounds)) for bounds in (commands.lin_vel_x, commands.lin_vel_y)
    )
    fastest = max([math.hypot(forward, sideways), *map(abs, commands.flat_velocity)])
    reach = fastest * config.task.episode_length_s
    if curriculum.rule != "none" and not commands.sampler and curriculum.distance > reach:
        expected = f"at most {reach:.1f} m, as far as an episode's fastest command leads"
        raise ConfigError("terrain.curriculum.distance", curriculum.distance, expected)

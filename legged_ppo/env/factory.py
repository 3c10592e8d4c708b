"""From a recipe to an environment."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch

from legged_ppo.config.extensions import load_extensions
from legged_ppo.config.schema import Config
from legged_ppo.env.locomotion import LocomotionEnv
from legged_ppo.errors import ConfigError
from legged_ppo.interface import Environment
from legged_ppo.robots.spec import load_robot
from legged_ppo.sim.factory import make_simulator
from legged_ppo.terrain.grid import build_terrain


def make_extension_env(
    config: Config, num_envs: int, seed: int, device: torch.device | str = "cpu"
) -> Environment:
    """The environment of the extensions that `environment` names, one that is no `LocomotionEnv`.

    Raises:
        ConfigError: no extension defines it, or what the extension returns is no `Environment`.
    """
    env = _environment(config)(config, num_envs, seed, torch.device(device))
    if not isinstance(env, Environment):
        found = f"{config.environment} returned a {type(env).__name__}"
        raise ConfigError("environment", found, "an Environment of legged_ppo.interface")
    return env


def make_locomotion_env(
    config: Config,
    num_envs: int,
    seed: int,
    device: torch.device | str = "cpu",
    *,
    training: bool = False,
) -> LocomotionEnv:
    """Robot, terrain, physics and task of `config`, with `num_envs` robots.

    Args:
        training: what `sim.engine=auto` means on a CPU: see `make_simulator`.

    Raises:
        ConfigError: the robot or the terrain cannot be built, the engine does not run on the device, or
            `environment` names one that is not a subclass of `LocomotionEnv`.
    """
    if not is_locomotion(config):
        raise ConfigError("environment", config.environment, "a subclass of LocomotionEnv here")
    robot = load_robot(config.robot)
    terrain = build_terrain(config.terrain, load_extensions(config.extensions).terrains)
    simulator = make_simulator(
        config.sim, robot, terrain, num_envs, torch.device(device), training=training
    )
    generator = torch.Generator(device=simulator.device)
    generator.manual_seed(seed)
    kind: type[LocomotionEnv] = _environment(config)  # type: ignore[assignment]
    return kind(config, robot, terrain, simulator, generator)


def is_locomotion(config: Config) -> bool:
    """Whether the recipe's environment is `LocomotionEnv` or a subclass of it.

    Raises:
        ConfigError: no extension defines the environment.
    """
    kind = _environment(config)
    return inspect.isclass(kind) and issubclass(kind, LocomotionEnv)


def _environment(config: Config) -> Callable[..., Any]:
    if not config.environment:
        return LocomotionEnv
    found = load_extensions(config.extensions).environments
    if config.environment not in found:
        expected = "a name in ENVIRONMENTS of the recipe's extensions"
        raise ConfigError("environment", config.environment, expected, choices=found)
    return found[config.environment]

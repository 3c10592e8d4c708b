"""From a recipe to an environment."""

from __future__ import annotations

import importlib.util
import math

import torch

from legged_ppo import distributed
from legged_ppo.config.errors import ConfigError
from legged_ppo.config.schema import Config, SimConfig
from legged_ppo.env.environment import Environment
from legged_ppo.env.locomotion import LocomotionEnv
from legged_ppo.robots.spec import RobotSpec, load_robot
from legged_ppo.sim.simulator import Simulator
from legged_ppo.terrain.grid import Terrain, build_terrain

_INSTALL_GYM = "pip install -c constraints.txt -e '.[gym]'"
_INSTALL_WARP = "pip install -c constraints.txt -e '.[gpu]'"


def make_env(
    config: Config, num_envs: int, seed: int, device: torch.device | str = "cpu"
) -> LocomotionEnv:
    """Robot, terrain, physics and task of `config`, with `num_envs` robots.

    Raises:
        ConfigError: the robot or the terrain cannot be built, or the engine does not run on the device.
    """
    robot = load_robot(config.robot)
    terrain = build_terrain(config.terrain)
    simulator = make_simulator(config.sim, robot, terrain, num_envs, torch.device(device))
    generator = torch.Generator(device=simulator.device)
    generator.manual_seed(seed)
    return LocomotionEnv(config, robot, terrain, simulator, generator)


def make_training_env(
    config: Config, num_envs: int, seed: int, device: torch.device | str = "cpu"
) -> Environment:
    """What the recipe trains on: robots, or a Gymnasium environment; see `make_env`."""
    if not config.gym.id:
        _check_distance(config)
        return make_env(config, num_envs, seed, device)
    if importlib.util.find_spec("gymnasium") is None:
        raise ConfigError("gym.id", config.gym.id, f"nothing, or after {_INSTALL_GYM}: this")
    from legged_ppo.interop.gymnasium import GymnasiumEnv

    if config.gym.normalize_reward and distributed.world_size() > 1:
        expected = "false with several processes, each of which would have a scale of its own"
        raise ConfigError("gym.normalize_reward", True, expected)
    if torch.device(device).type != "cpu":
        print(f"{config.gym.id} runs on the CPU, and so does its training")
    env = GymnasiumEnv(config.gym, num_envs, seed, config.ppo.gamma)
    discrete, distribution = env.discrete, config.policy.distribution
    if discrete != (distribution == "categorical"):
        expected = "categorical" if discrete else "another distribution"
        raise ConfigError(
            "policy.distribution", distribution, f"{expected} for the actions of {config.gym.id}"
        )
    return env


def _check_distance(config: Config) -> None:
    """A curriculum must be able to move robots up: not in `validate`, because evaluation has none.

    Raises:
        ConfigError: the fastest command does not lead as far as it asks for.
    """
    curriculum, commands = config.terrain.curriculum, config.task.commands
    forward, sideways = (
        max(map(abs, bounds)) for bounds in (commands.lin_vel_x, commands.lin_vel_y)
    )
    fastest = max([math.hypot(forward, sideways), *map(abs, commands.flat_velocity)])
    reach = fastest * config.task.episode_length_s
    if curriculum.rule != "none" and curriculum.distance > reach:
        expected = f"at most {reach:.1f} m, as far as an episode's fastest command leads"
        raise ConfigError("terrain.curriculum.distance", curriculum.distance, expected)


def make_simulator(
    config: SimConfig, robot: RobotSpec, terrain: Terrain, num_envs: int, device: torch.device
) -> Simulator:
    """The engine that `config` and the device ask for; see `make_env`."""
    on_gpu = device.type == "cuda"
    engine = config.engine
    if engine == "auto":
        engine = "mujoco_warp" if on_gpu else "mujoco_c"
    if engine == "mujoco_c":
        if on_gpu:
            raise ConfigError("sim.engine", engine, f"mujoco_warp on {device}")
        from legged_ppo.sim.mujoco_c import MujocoC

        columns, levels = terrain.assign(num_envs)  # where the environment will put them
        tiles = columns * terrain.num_levels + levels
        return MujocoC(robot, terrain, config, num_envs, tiles)
    if importlib.util.find_spec("mujoco_warp") is None:
        raise ConfigError("sim.engine", engine, f"mujoco_c, or after {_INSTALL_WARP}: mujoco_warp")
    from legged_ppo.sim.mujoco_warp import make_planned

    return make_planned(robot, terrain, config, num_envs, device)

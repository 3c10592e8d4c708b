"""From a recipe to an environment."""

from __future__ import annotations

import torch

from legged_ppo.config.schema import Config
from legged_ppo.env.locomotion import LocomotionEnv
from legged_ppo.robots.spec import load_robot
from legged_ppo.sim.factory import make_simulator
from legged_ppo.terrain.grid import build_terrain

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

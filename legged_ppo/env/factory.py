"""From a recipe to an environment."""

from __future__ import annotations

import torch

from legged_ppo.config.schema import Config
from legged_ppo.env.locomotion import LocomotionEnv
from legged_ppo.robots.spec import load_robot
from legged_ppo.sim.mujoco_c import MujocoC
from legged_ppo.terrain.grid import build_terrain


def make_env(config: Config, num_envs: int, seed: int) -> LocomotionEnv:
    """Robot, terrain, physics and task of `config`, with `num_envs` robots.

    Raises:
        ConfigError: the robot or the terrain cannot be built.
    """
    robot = load_robot(config.robot)
    terrain = build_terrain(config.terrain)
    simulator = MujocoC(robot, terrain, config.sim, num_envs)
    generator = torch.Generator(device=simulator.device)
    generator.manual_seed(seed)
    return LocomotionEnv(config, robot, terrain, simulator, generator)

"""Selection of the simulator by `sim.engine` and the device."""

from __future__ import annotations

import importlib.util

import torch

from legged_ppo.config.schema import SimConfig
from legged_ppo.errors import ConfigError, UsageError
from legged_ppo.robots.spec import RobotSpec
from legged_ppo.sim.simulator import Simulator
from legged_ppo.terrain.grid import Terrain

_INSTALL_WARP = "pip install -c constraints.txt -e '.[gpu]'"


def make_simulator(
    config: SimConfig, robot: RobotSpec, terrain: Terrain, num_envs: int, device: torch.device
) -> Simulator:
    """Build the simulator for `config.engine` and the device.

    Raises:
        ConfigError: the engine does not run on this device, or is not installed.
    """
    on_gpu = device.type == "cuda"
    engine = config.engine
    if engine == "auto":
        engine = "mujoco_warp" if on_gpu else "mujoco_c"
    if engine == "mujoco_c":
        if on_gpu:
            raise ConfigError("sim.engine", engine, f"mujoco_warp on {device}")
        from legged_ppo.sim.mujoco_c import MujocoC

        columns, levels = terrain.assign(num_envs)  # the environment's own assignment
        tiles = columns * terrain.num_levels + levels
        return MujocoC(robot, terrain, config, num_envs, tiles)
    if engine == "simd":
        if on_gpu:
            raise ConfigError("sim.engine", engine, f"mujoco_warp on {device}")
        from legged_ppo.sim.simd.engine import Simd

        return Simd(robot, terrain, config, num_envs)
    if importlib.util.find_spec("mujoco_warp") is None:
        raise UsageError(f"sim.engine={engine} needs mujoco_warp", f"install it: {_INSTALL_WARP}")
    from legged_ppo.sim.warp.planning import make_planned

    return make_planned(robot, terrain, config, num_envs, device)

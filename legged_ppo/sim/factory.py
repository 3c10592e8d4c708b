"""Selection of the simulator by `sim.engine` and the device."""

from __future__ import annotations

import importlib.util
import logging

import torch

from legged_ppo.config.schema import SimConfig
from legged_ppo.errors import ConfigError, UsageError
from legged_ppo.robots.spec import RobotSpec
from legged_ppo.sim.simulator import Simulator
from legged_ppo.terrain.grid import Terrain

_log = logging.getLogger(__name__)

_INSTALL_WARP = "pip install -c constraints.txt -e '.[gpu]'"


def make_simulator(
    config: SimConfig,
    robot: RobotSpec,
    terrain: Terrain,
    num_envs: int,
    device: torch.device,
    *,
    training: bool = False,
) -> Simulator:
    """Build the simulator for `config.engine` and the device.

    Args:
        training: on a CPU `auto` chooses `simd` where it can simulate the robot; otherwise, as for evaluation,
            MuJoCo C.

    Raises:
        ConfigError: the engine does not run on this device, or is not installed.
    """
    on_gpu = device.type == "cuda"
    engine = config.engine
    if engine == "auto" and not on_gpu and training:
        return _fastest_on_cpu(config, robot, terrain, num_envs)
    if engine == "auto":
        engine = "mujoco_warp" if on_gpu else "mujoco_c"
    if on_gpu and engine != "mujoco_warp":
        raise ConfigError("sim.engine", engine, f"mujoco_warp on {device}")
    if engine == "mujoco_c":
        return _mujoco_c(config, robot, terrain, num_envs)
    if engine == "simd":
        from legged_ppo.sim.simd.engine import Simd

        return Simd(robot, terrain, config, num_envs)
    if importlib.util.find_spec("mujoco_warp") is None:
        raise UsageError(f"sim.engine={engine} needs mujoco_warp", f"install it: {_INSTALL_WARP}")
    from legged_ppo.sim.warp.planning import make_planned

    return make_planned(robot, terrain, config, num_envs, device)


def _mujoco_c(config: SimConfig, robot: RobotSpec, terrain: Terrain, num_envs: int) -> Simulator:
    from legged_ppo.sim.mujoco_c import MujocoC

    columns, levels = terrain.assign(num_envs)  # the environment's own assignment
    tiles = columns * terrain.num_levels + levels
    return MujocoC(robot, terrain, config, num_envs, tiles)


def _fastest_on_cpu(
    config: SimConfig, robot: RobotSpec, terrain: Terrain, num_envs: int
) -> Simulator:
    """SIMD lanes, or MuJoCo C for a robot that has something that they cannot simulate."""
    from legged_ppo.sim.simd.engine import Simd

    try:
        return Simd(robot, terrain, config, num_envs)
    except ConfigError as error:
        _log.info("physics in MuJoCo C: sim.engine=simd cannot simulate this robot (%s)", error)
    return _mujoco_c(config, robot, terrain, num_envs)

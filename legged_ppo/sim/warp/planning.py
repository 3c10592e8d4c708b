"""Sizes of MuJoCo Warp's contact and constraint buffers, measured for a robot and a terrain.

The engine's default sizes do not depend on the task. Contacts that do not fit are lost, and robots then sink
into the ground. A short rollout with random joint targets uses more contacts than walking does.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable

import mujoco
import numpy as np
import torch

from legged_ppo.config.schema import SimConfig
from legged_ppo.robots.spec import RobotSpec
from legged_ppo.sim.model import build_model
from legged_ppo.sim.rotations import from_yaw
from legged_ppo.sim.simulator import Simulator
from legged_ppo.sim.warp.engine import MujocoWarp, accepted
from legged_ppo.sim.warp.memory import Capacity, local_bytes, most_convex_pairs, predicted_bytes
from legged_ppo.sim.warp.world_ground import WorldGround
from legged_ppo.terrain.grid import Terrain
from legged_ppo.terrain.height_map import HeightMap

_log = logging.getLogger(__name__)

_QUANTILE = 0.999
_MARGIN = 1.25
_ROWS = 32
"""Constraint rows are a multiple of it: each number of rows has kernels of its own, so few numbers are better."""
_SAMPLE = {"cpu": (8, 40), "cuda": (100, 200)}
"""Robots per terrain type, and control steps, of the measuring rollout."""
_FLAIL = 1.0
"""Half range [rad] of the random joint targets about the default pose."""
_GENEROUS = Capacity(contacts=128, constraints=400, convex_pairs=128)
"""Sizes of the measuring rollout."""


def plan_capacity(
    make: Callable[[int, Capacity], MujocoWarp],
    robot: RobotSpec,
    terrain: Terrain,
    device: torch.device,
) -> Capacity:
    """Measure the buffer use of robots with random joint targets on the most demanding terrain type.

    The sizes are the 99.9th percentile over the robots and steps of that type, plus a margin, so that all
    robots may be on it.

    Args:
        make: builds the simulator for a number of robots and buffer sizes.
    """
    each, steps = _SAMPLE[device.type]
    types = len(terrain.types)
    simulator = make(each * types, _GENEROUS)
    generator = torch.Generator(device=device).manual_seed(0)
    tiles = sample_tiles(types, terrain.num_levels, each).to(device)
    scatter(simulator, robot, terrain, tiles, generator)
    default = torch.as_tensor(robot.default_joint_pos, dtype=torch.float32, device=device)
    used = []
    for _ in range(steps):
        flail = torch.rand(len(tiles), robot.num_joints, generator=generator, device=device)
        simulator.step(default + _FLAIL * (2 * flail - 1))
        used.append(simulator.usage())
    by_type = (
        torch.stack(used, dim=1).unflatten(2, (each, types)).float()
    )  # [2, steps, each, types]
    most = by_type.flatten(1, 2).quantile(_QUANTILE, dim=1).amax(1)
    contacts, constraints = (math.ceil(_MARGIN * value) for value in most.tolist())
    constraints = -(-constraints // _ROWS) * _ROWS
    convex_pairs = max(1, min(contacts, most_convex_pairs(simulator.model)))
    return Capacity(contacts, constraints, convex_pairs)


def sample_tiles(types: int, levels: int, each: int) -> torch.Tensor:
    """Tiles [each * types], see `Simulator.assign`: the types in turn, with `each` robots per type from the top
    level down at equal distances."""
    robot = torch.arange(each * types)
    below = robot // types * max(levels // each, 1) % levels
    return robot % types * levels + levels - 1 - below


def scatter(
    simulator: Simulator,
    robot: RobotSpec,
    terrain: Terrain,
    tile: torch.Tensor,
    generator: torch.Generator,
) -> None:
    """Reset the robots to random positions and headings on their tiles [N], upright."""
    n, device = simulator.num_envs, simulator.device
    unit = torch.rand(n, 3, generator=generator, device=device)
    levels = terrain.num_levels
    corner = torch.stack([tile // levels, tile % levels], dim=1)
    place = (corner + unit[:, :2]) * terrain.config.tile_size
    ring = torch.linspace(-0.4, 0.4, 5, device=device)
    around = place[:, None] + torch.cartesian_prod(ring, ring)  # [N, 25, 2], under the whole robot
    ground = HeightMap(terrain, device)(around, tile).amax(1, keepdim=True)
    default = torch.as_tensor(robot.default_joint_pos, dtype=torch.float32, device=device)
    everyone = torch.ones(n, dtype=torch.bool, device=device)
    simulator.assign(tile)
    qpos = torch.cat(
        [
            place,
            ground + robot.config.spawn_height,
            from_yaw(2 * torch.pi * unit[:, 2]),
            default.repeat(n, 1),
        ],
        dim=1,
    )
    simulator.reset(everyone, qpos, torch.zeros(n, 6 + robot.num_joints, device=device))


def make_planned(
    robot: RobotSpec, terrain: Terrain, config: SimConfig, num_envs: int, device: torch.device
) -> MujocoWarp:
    """Build the engine with the configured buffer sizes, or with measured ones if none are configured.

    Sizes are measured and printed, with their memory, once per process and ground, so an evaluation on the
    ground of the training uses the same sizes.
    """
    slots = WorldGround(terrain)
    model = build_model(robot, slots.add_to, config)

    def make(count: int, capacity: Capacity) -> MujocoWarp:
        return MujocoWarp(model, slots, robot, config, count, device, capacity)

    key = _fingerprint(model, slots, config, device)
    if key not in _plans:
        _announce_kernels(device)
        sample = 0
        if config.contacts:
            capacity = Capacity(config.contacts, config.constraints, config.convex_pairs)
        else:
            sample = _SAMPLE[device.type][0] * len(terrain.types)
            capacity = plan_capacity(make, robot, terrain, device)
        _announce(capacity, accepted(model), num_envs, sample, device)
        _plans[key] = capacity
    return make(num_envs, _plans[key])


_plans: dict[bytes, Capacity] = {}
"""Buffer sizes by `_fingerprint` of model, ground, settings and device."""


def _fingerprint(
    model: mujoco.MjModel, slots: WorldGround, config: SimConfig, device: torch.device
) -> bytes:
    packed = np.empty(mujoco.mj_sizeModel(model), np.uint8)
    mujoco.mj_saveModel(model, None, packed)
    parts = [packed, *slots.tables(model).values(), np.array(repr((config, device)))]
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).digest()


def _announce_kernels(device: torch.device) -> None:
    if device.type == "cuda":
        _log.info(
            f"MuJoCo Warp on {device}: loads its kernels; the first time on a machine, and for a new number of "
            "robots, it compiles them, which takes some minutes"
        )


def _announce(
    capacity: Capacity, model: mujoco.MjModel, num_envs: int, sample: int, device: torch.device
) -> None:
    """Print the plan; `sample` robots measured the sizes, 0 if they are the recipe's."""
    gigabyte = 2**30
    size = predicted_bytes(model, capacity, num_envs) / gigabyte
    pairs = np.count_nonzero(model.geom_contype) * np.count_nonzero(model.geom_conaffinity)
    more = ""
    if local := local_bytes(model, device):
        more += f", local memory of {local / gigabyte:.2f} GB"
    if sample and device.type == "cuda":
        measured = predicted_bytes(model, _GENEROUS, sample) / gigabyte
        more += f", {measured:.2f} GB in the pool from measuring"
    _log.info(
        f"MuJoCo Warp on {device}: {num_envs} robots, arrays of {size:.2f} GB{more}, "
        f"{pairs} pairs of geoms each; "
        f"sim.contacts={capacity.contacts} sim.constraints={capacity.constraints} "
        f"sim.convex_pairs={capacity.convex_pairs}"
    )

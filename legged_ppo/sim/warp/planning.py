"""Sizes of MuJoCo Warp's contact and constraint buffers, measured on the robots and terrain at hand.

The engine's defaults know nothing of the task; what does not fit is lost, and ends in robots that
sink into the ground. A short rollout of flailing, falling robots asks for more than a walk does.
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
from legged_ppo.sim.warp.capacity import Capacity
from legged_ppo.sim.warp.engine import MujocoWarp, accepted
from legged_ppo.sim.warp.memory import predicted_bytes
from legged_ppo.sim.warp.world_ground import WorldGround
from legged_ppo.terrain.grid import Terrain
from legged_ppo.terrain.height_map import HeightMap

_log = logging.getLogger(__name__)

_QUANTILE = 0.999
_MARGIN = 1.25
_SAMPLE = {"cpu": (8, 40), "cuda": (100, 200)}
"""Robots on each terrain type and control steps of the rollout."""
_FLAIL = 1.0
"""Half range [rad] of its joint targets about the default pose."""
_GENEROUS = Capacity(contacts=128, constraints=400, convex_pairs=128)
"""For the rollout that measures."""


def plan_capacity(
    make: Callable[[int, Capacity], MujocoWarp],
    robot: RobotSpec,
    terrain: Terrain,
    device: torch.device,
) -> Capacity:
    """Measure what flailing robots need on the terrain type that asks for most, so that all robots may
    be there: the 99.9th percentile over that type's robots and steps, and a margin.

    Args:
        make: builds the simulator of some number of robots.
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
    return Capacity(contacts, constraints, min(contacts, _most_convex_pairs(simulator.model)))


def sample_tiles(types: int, levels: int, each: int) -> torch.Tensor:
    """Tiles [each * types], as of `Simulator.assign`, of as many robots on every terrain type in turn: on its
    top level, and on others at equal distances below."""
    robot = torch.arange(each * types)
    below = robot // types * max(levels // each, 1) % levels
    return robot % types * levels + levels - 1 - below


def _most_convex_pairs(model: mujoco.MjModel) -> int:
    """Pairs of geoms of a robot and its tile that the collider for general convex shapes can meet: all with a
    height field, and those of a box and anything but a sphere or a capsule."""
    kind = mujoco.mjtGeom
    mine = model.geom_type[model.geom_conaffinity != 0]
    ground = model.geom_type[model.geom_contype != 0]
    fields, boxes = ((ground == int(k)).sum() for k in (kind.mjGEOM_HFIELD, kind.mjGEOM_BOX))
    others = (~np.isin(mine, [int(kind.mjGEOM_SPHERE), int(kind.mjGEOM_CAPSULE)])).sum()
    return max(1, int(len(mine) * fields + others * boxes))


def scatter(
    simulator: Simulator,
    robot: RobotSpec,
    terrain: Terrain,
    tile: torch.Tensor,
    generator: torch.Generator,
) -> None:
    """Put the robots all over their tiles [N], upright, in any direction."""
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
    """The engine with buffers of the configured sizes, or where there are none of measured ones.

    Prints the sizes and the memory that they will take, and measures, once a process for each ground: an
    evaluation on the training's has its sizes.
    """
    slots = WorldGround(terrain)
    model = build_model(robot, slots.add_to, config)

    def make(count: int, capacity: Capacity) -> MujocoWarp:
        return MujocoWarp(model, slots, robot, config, count, device, capacity)

    key = _fingerprint(model, slots, config, device)
    if key not in _plans:
        if config.contacts:
            capacity = Capacity(config.contacts, config.constraints, config.convex_pairs)
        else:
            capacity = plan_capacity(make, robot, terrain, device)
        _announce(capacity, accepted(model), num_envs, device)
        _plans[key] = capacity
    return make(num_envs, _plans[key])


_plans: dict[bytes, Capacity] = {}
"""Sizes, by the `_fingerprint` of what they follow from."""


def _fingerprint(
    model: mujoco.MjModel, slots: WorldGround, config: SimConfig, device: torch.device
) -> bytes:
    packed = np.empty(mujoco.mj_sizeModel(model), np.uint8)
    mujoco.mj_saveModel(model, None, packed)
    parts = [packed, *slots.tables(model).values(), np.array(repr((config, device)))]
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).digest()


def _announce(
    capacity: Capacity, model: mujoco.MjModel, num_envs: int, device: torch.device
) -> None:
    size = predicted_bytes(model, capacity, num_envs) / 2**30
    pairs = np.count_nonzero(model.geom_contype) * np.count_nonzero(model.geom_conaffinity)
    _log.info(
        f"MuJoCo Warp on {device}: {num_envs} robots, arrays of {size:.2f} GB, "
        f"{pairs} pairs of geoms each; "
        f"sim.contacts={capacity.contacts} sim.constraints={capacity.constraints} "
        f"sim.convex_pairs={capacity.convex_pairs}"
    )

"""Sizes of MuJoCo Warp's contact and constraint buffers, measured on the robots and terrain at hand.

The engine's defaults know nothing of the task; what does not fit is lost, and ends in robots that
sink into the ground. A short rollout of flailing, falling robots asks for more than a walk does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import mujoco
import mujoco_warp as mjw
import torch
import warp as wp

from legged_ppo.robots.spec import RobotSpec
from legged_ppo.sim.constants import DERIVED
from legged_ppo.sim.layout import RANDOMIZED
from legged_ppo.sim.rotations import from_yaw
from legged_ppo.sim.simulator import Simulator
from legged_ppo.terrain.grid import Terrain
from legged_ppo.terrain.height_map import HeightMap
from legged_ppo.terrain.slots import MODEL_FIELDS

if TYPE_CHECKING:
    from legged_ppo.sim.mujoco_warp import MujocoWarp

_QUANTILE = 0.999
_CONSTRAINT_MARGIN, _POOL_MARGIN = 1.25, 1.5
_SAMPLE = {"cpu": (16, 40), "cuda": (1024, 200)}
"""Robots and control steps of the rollout."""
_FLAIL = 1.0
"""Half range [rad] of its joint targets about the default pose."""


PER_WORLD = (*RANDOMIZED, *DERIVED, *MODEL_FIELDS)
"""Model fields that every world has its own of: randomized ones, what follows from them, the ground."""


@dataclass(frozen=True)
class Capacity:
    """Buffer sizes per robot. Contacts and convex pairs are pooled, so that one robot may have more;
    constraints are each robot's own."""

    contacts: int
    """contacts, and pairs of geoms whose bounds touch"""
    constraints: int
    """rows"""
    convex_pairs: int
    """pairs of one of the robot's geoms and a height field"""

    def nbytes(self, model: mujoco.MjModel, num_envs: int) -> int:
        """Device memory [B] of `num_envs` worlds: their data, their own fields of the model and the convex
        collider's scratch space."""

        def arrays(worlds: int) -> int:
            with wp.ScopedDevice("cpu"):
                sizes = dict(
                    nconmax=self.contacts, nccdmax=self.convex_pairs, njmax=self.constraints
                )
                data = mjw.make_data(model, worlds, **sizes)
            return sum(a.capacity for part in (data, data.contact, data.efc) for a in _arrays(part))

        few, more = arrays(2), arrays(4)
        own = 4 * sum(getattr(model, name).size for name in PER_WORLD)
        return few + (more - few) // 2 * (num_envs - 2) + (own + self._scratch(model)) * num_envs

    def _scratch(self, model: mujoco.MjModel) -> int:
        """Bytes per robot that the expanding-polytope algorithm takes in each step."""
        iterations = model.opt.ccd_iterations
        vertices, faces, horizon = 10 + 2 * iterations, 6 + 5 * iterations, 24
        return self.convex_pairs * (16 * vertices + 20 * faces + 4 * horizon)


_GENEROUS = Capacity(contacts=128, constraints=400, convex_pairs=128)
"""For the rollout that measures."""


def plan_capacity(
    make: Callable[[int, Capacity], MujocoWarp],
    robot: RobotSpec,
    terrain: Terrain,
    device: torch.device,
) -> Capacity:
    """Measure what flailing robots on every tile need; the 99.9th percentile and a margin.

    Args:
        make: builds the simulator of some number of robots.
    """
    count, steps = _SAMPLE[device.type]
    simulator = make(count, _GENEROUS)
    generator = torch.Generator(device=device).manual_seed(0)
    scatter(simulator, robot, terrain, generator)
    default = torch.as_tensor(robot.default_joint_pos, dtype=torch.float32, device=device)
    pooled, rows = [], []
    for _ in range(steps):
        flail = torch.rand(count, robot.num_joints, generator=generator, device=device) * 2 - 1
        simulator.step(default + _FLAIL * flail)
        contacts, constraints = simulator.usage()
        pooled.append(contacts)
        rows.append(constraints)
    most_contacts = float(torch.stack(pooled).quantile(_QUANTILE))
    most_rows = float(torch.cat(rows).float().quantile(_QUANTILE))
    size = math.ceil(_POOL_MARGIN * most_contacts)
    fields = any(tile.patch is not None for column in terrain.tiles for tile in column)
    return Capacity(size, math.ceil(_CONSTRAINT_MARGIN * most_rows), size if fields else 1)


def scatter(
    simulator: Simulator, robot: RobotSpec, terrain: Terrain, generator: torch.Generator
) -> None:
    """Put the robots all over the grid, upright, in any direction."""
    n, device = simulator.num_envs, simulator.device
    unit = torch.rand(n, 3, generator=generator, device=device)
    columns, levels = len(terrain.types), terrain.num_levels
    tile = torch.arange(n, device=device) % (columns * levels)
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


def _arrays(part: object) -> list[wp.array]:
    return [value for value in vars(part).values() if isinstance(value, wp.array)]

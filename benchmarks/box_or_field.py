"""Box or height field? Physics of the same tiles made of either, against flat ground.

    python benchmarks/box_or_field.py --json FILE

64 Go2 robots, spread over the ten levels of one type and over their tiles, walk on the spot; each form of the
ground is a model of its own with that column alone, as the CPU engine has it. All forms are measured in turn
within one process, each from the same start, in seconds of one core's time, because a shared machine's speed
drifts; a ratio is the median of the rounds' ratios to flat ground. Height fields are named with their cells.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import torch

from legged_ppo.config.loading import load_config
from legged_ppo.config.schema import SimConfig, TerrainConfig
from legged_ppo.robots.spec import RobotSpec, load_robot
from legged_ppo.sim.model import build_model
from legged_ppo.sim.mujoco_c import Group
from legged_ppo.terrain import steps
from legged_ppo.terrain.geoms import SURFACE
from legged_ppo.terrain.grid import Terrain, build_terrain
from legged_ppo.terrain.height_map import HeightMap
from legged_ppo.terrain.tile import RIM, Box, Tile, lerp, rasterize

AddGround = Callable[[mujoco.MjSpec], None]
_SKIRT = 0.5
"""Thickness [m] of a tilted box."""
_STRIDE_HZ, _SWING = 2.0, 0.35
"""Steps a second of each leg; how far its thigh swings [rad]."""


def grid(name: str, levels: int) -> Terrain:
    config = TerrainConfig(num_levels=levels, proportions={name: 1.0}, height_map_cell=0.05)
    return build_terrain(config)


def with_tiles(terrain: Terrain, tiles: list[Tile]) -> AddGround:
    return partial(replace(terrain, tiles=[tiles]).add_to, column=0)


def as_field(terrain: Terrain, cell: float) -> AddGround:
    """Boxes as a height field with cells of this edge [m]."""
    size = terrain.config.tile_size
    points = round(size / cell) + 1
    return with_tiles(
        terrain,
        [replace(t, boxes=[], patch=rasterize(t, size, points)) for t in terrain.tiles[0]],
    )


def stones_as_boxes(terrain: Terrain) -> AddGround:
    """Every stone a box, on a box as the bottom, with the platform and the rim."""
    config, tiles = terrain.config, []
    for level, tile in enumerate(terrain.tiles[0]):
        difficulty = level / max(terrain.num_levels - 1, 1)
        stone, gap = (lerp((r[0], r[1]), difficulty) for r in (config.stone_size, config.stone_gap))
        reach, deep = config.tile_size / 2 - RIM, -config.gap_depth
        edges = np.arange(-reach, reach, stone + gap)
        boxes = [
            Box((x, y, deep), (min(x + stone, reach), min(y + stone, reach), 0.0))
            for x in edges.tolist()
            for y in edges.tolist()
        ]
        boxes = [part for box in boxes for part in steps._outside(box, config.platform / 2)]
        boxes.append(steps._square(config.platform / 2, deep, 0.0))
        boxes += steps._ring(reach, config.tile_size / 2, deep, 0.0)
        boxes.append(steps._square(config.tile_size / 2, deep - 0.3, deep))
        tiles.append(replace(tile, boxes=boxes, patch=None))
    return with_tiles(terrain, tiles)


def funnels_as_boxes(terrain: Terrain) -> AddGround:
    """slope_up as four tilted boxes a tile: a funnel is their union. (A pyramid is no union of boxes.)"""
    config = terrain.config
    reach, platform = config.tile_size / 2 - RIM, config.platform / 2
    slopes = [
        lerp((config.slope[0], config.slope[1]), level / max(terrain.num_levels - 1, 1))
        for level in range(terrain.num_levels)
    ]
    tiles = []
    for slope, tile in zip(slopes, terrain.tiles[0], strict=True):
        bottom = -slope * (reach - platform)
        boxes = steps._ring(reach, config.tile_size / 2, bottom - 0.3, 0.0)
        boxes.append(steps._square(platform, bottom - 0.3, bottom))
        tiles.append(replace(tile, boxes=boxes, patch=None, sunken=True))
    level_ground = with_tiles(terrain, tiles)

    def add(spec: mujoco.MjSpec) -> None:
        level_ground(spec)
        for (x, y, _), slope in zip(terrain.origins[0], slopes, strict=True):
            for side in range(4):
                _add_ramp(spec, np.array([x, y, 0.0]), side * math.pi / 2, slope, reach)

    return add


def _add_ramp(
    spec: mujoco.MjSpec, middle: np.ndarray, heading: float, slope: float, reach: float
) -> None:
    """A tilted box whose top climbs from the middle of a tile to height 0 at `reach`."""
    tilt = math.atan(slope)
    half = np.array([reach / math.cos(tilt) / 2, reach, _SKIRT / 2])
    turn, lift, quat = np.zeros(4), np.zeros(4), np.zeros(4)
    mujoco.mju_axisAngle2Quat(turn, np.array([0.0, 0.0, 1.0]), heading)
    mujoco.mju_axisAngle2Quat(lift, np.array([0.0, 1.0, 0.0]), -tilt)
    mujoco.mju_mulQuat(quat, turn, lift)
    top = np.array([reach / 2, 0.0, -slope * reach / 2])  # middle of the surface
    below = np.array([math.sin(tilt), 0.0, -math.cos(tilt)]) * half[2]
    place = np.zeros(3)
    mujoco.mju_rotVecQuat(place, top + below, turn)
    spec.worldbody.add_geom(
        type=mujoco.mjtGeom.mjGEOM_BOX, size=half, pos=middle + place, quat=quat, **SURFACE
    )


def forms(levels: int) -> dict[str, tuple[Terrain, AddGround]]:
    """Name -> the built grid, for its heights, and what adds this form of it."""
    flat, slope, stones = (grid(n, levels) for n in ("flat", "slope_up", "stepping_stones"))
    up, down = grid("stairs_up", levels), grid("stairs_down", levels)

    def built(terrain: Terrain) -> AddGround:
        return partial(terrain.add_to, column=0)

    return {
        "flat": (flat, built(flat)),
        "slope_up, field 10 cm (built)": (slope, built(slope)),
        "slope_up, tilted boxes": (slope, funnels_as_boxes(slope)),
        "stepping_stones, field 2.5-5 cm (built)": (stones, built(stones)),
        "stepping_stones, field 10 cm": (stones, as_field(stones, 0.1)),
        "stepping_stones, field 2.5 cm": (stones, as_field(stones, 0.025)),
        "stepping_stones, boxes": (stones, stones_as_boxes(stones)),
        "stairs_up, boxes (built)": (up, built(up)),
        "stairs_up, field 5 cm": (up, as_field(up, 0.05)),
        "stairs_down, boxes (built)": (down, built(down)),
        "stairs_down, field 5 cm": (down, as_field(down, 0.05)),
    }


class Walkers:
    """Robots that walk on the spot, all over the levels of one form of the ground."""

    def __init__(self, terrain: Terrain, add: AddGround, robot: RobotSpec, count: int) -> None:
        self.sim = SimConfig(threads=1)
        self.model = build_model(robot, add, self.sim)
        self.group = Group(self.model, robot, self.sim, slice(0, count))
        self._robot, self._count = robot, count
        self._qpos = self._start(terrain)

    def _start(self, terrain: Terrain) -> torch.Tensor:
        """[N, 19]: over the ground, facing anywhere; the same for every form of it."""
        draw = torch.Generator().manual_seed(0)
        levels = torch.arange(self._count) % terrain.num_levels
        xy = torch.tensor(terrain.origins[0])[levels, :2].float()
        xy = xy + (torch.rand(self._count, 2, generator=draw) - 0.5) * (
            terrain.config.tile_size - 2
        )
        grid_1d = torch.linspace(-0.3, 0.3, 7)
        around = torch.cartesian_prod(grid_1d, grid_1d)
        z = HeightMap(terrain, torch.device("cpu"))(xy[:, None] + around, levels).amax(1)
        yaw = 2 * math.pi * torch.rand(self._count, generator=draw)
        qpos = torch.zeros(self._count, 19)
        qpos[:, :2], qpos[:, 2] = xy, z + self._robot.config.spawn_height
        qpos[:, 3], qpos[:, 6] = (yaw / 2).cos(), (yaw / 2).sin()
        qpos[:, 7:] = torch.as_tensor(self._robot.default_joint_pos)
        return qpos

    def rate(self, control_steps: int) -> float:
        """Robot control steps a second, after half as many to come down and get going."""
        everyone = torch.ones(self._count, dtype=torch.bool)
        self.group.reset(everyone, self._qpos, torch.zeros(self._count, 18))
        period = self.sim.dt * self.sim.decimation
        begin = 0.0
        for k in range(control_steps + control_steps // 2):
            if k == control_steps // 2:
                begin = time.process_time()
            self.group.step(self._targets(k * period), None)
        return self._count * control_steps / (time.process_time() - begin)

    def _targets(self, now: float) -> np.ndarray:
        """Diagonal legs in turn: thigh and calf bend and straighten again."""
        targets = np.tile(self._robot.default_joint_pos, (self._count, 1))
        for i, name in enumerate(self._robot.config.joints):
            first = name.startswith(("FL", "RR"))
            bend = max(math.sin(2 * math.pi * _STRIDE_HZ / 2 * now + (0 if first else math.pi)), 0)
            if "thigh" in name:
                targets[:, i] += _SWING * bend
            elif "calf" in name:
                targets[:, i] -= 2 * _SWING * bend
        return targets


def measure(walkers: dict[str, Walkers], rounds: int, control_steps: int) -> dict[str, Any]:
    rates: dict[str, list[float]] = {name: [] for name in walkers}
    for _ in range(rounds):
        for name, each in walkers.items():
            rates[name].append(each.rate(control_steps))
    flat = rates["flat"]
    return {
        name: {
            "geoms": int((walkers[name].model.geom_bodyid == 0).sum()),
            "steps_per_s": statistics.median(row),
            "of_flat": statistics.median(r / f for r, f in zip(row, flat, strict=True)),
        }
        for name, row in rates.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20, help="control steps of 20 ms a round")
    parser.add_argument("--robots", type=int, default=64)
    parser.add_argument("--levels", type=int, default=10)
    arguments = parser.parse_args()
    robot = load_robot(load_config("configs/phase1_fast.yaml").robot)
    walkers = {
        name: Walkers(terrain, add, robot, arguments.robots)
        for name, (terrain, add) in forms(arguments.levels).items()
    }
    result = measure(walkers, arguments.rounds, arguments.steps)
    for name, row in result.items():
        print(f"{name:40} {row['geoms']:5} {row['steps_per_s']:9,.0f} {row['of_flat']:6.2f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()

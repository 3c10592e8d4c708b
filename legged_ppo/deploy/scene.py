"""The scene file beside an exported policy: the robot and its terrain in one MJCF, with the tiles' places."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from legged_ppo.errors import ConfigError
from legged_ppo.robots.spec import RobotSpec
from legged_ppo.terrain.grid import Terrain

_KEY = "legged_ppo_tiles"
"""Name of the MJCF's custom text that holds the tiles as JSON."""


@dataclass(frozen=True)
class Tile:
    """A place where episodes start; a robot that crosses an edge enters at the opposite one."""

    terrain_type: str
    level: int
    origin: tuple[float, float, float]
    """m, middle of the tile, on the ground"""
    spawn_radius: float
    """m, robots start within this distance of the origin, along each axis"""
    size: float
    """m, edge of the tile; inf: the ground does not repeat"""


def scene_xml(robot: RobotSpec, terrain: Terrain, place: tuple[int, int] | None = None) -> str:
    """MJCF of the robot on the whole terrain grid, or on one endless tile.

    Args:
        place: column and row of the tile.

    """
    spec = robot.mjspec()
    if place is None:
        terrain.add_to(spec)
    else:
        terrain.add_endless(spec, *place)
    spec.add_text(name=_KEY, data=json.dumps(_tiles(terrain, place)))
    spec.compile()
    return str(spec.to_xml())


def other_files(robot: RobotSpec) -> list[str]:
    """Meshes, textures and height fields that the robot's MJCF takes from other files, which a scene in one file
    cannot hold."""
    spec = robot.mjspec()
    return [each.file for each in (*spec.meshes, *spec.textures, *spec.hfields) if each.file]


def _tiles(terrain: Terrain, place: tuple[int, int] | None) -> list[dict[str, Any]]:
    chosen = [place] if place else list(np.ndindex(len(terrain.types), terrain.num_levels))
    return [
        {
            "terrain_type": terrain.types[x],
            "level": y,
            "origin": terrain.origins[x, y].tolist(),
            "spawn_radius": float(terrain.spawn_radius[x, y]),
            "size": terrain.config.tile_size,
        }
        for x, y in chosen
    ]


def read_tiles(model: mujoco.MjModel, path: Path) -> list[Tile]:
    """The tiles of a scene; of an MJCF without them one place at the origin.

    Raises:
        ConfigError: the text is damaged.
    """
    index = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_TEXT, _KEY)
    if index < 0:
        return [Tile("unknown", 0, (0.0, 0.0, 0.0), 0.0, float("inf"))]
    start, size = model.text_adr[index], model.text_size[index]
    text = bytes(model.text_data[start : start + size]).rstrip(b"\0").decode()
    try:
        return [Tile(**tile) for tile in json.loads(text)]
    except (ValueError, TypeError) as error:
        raise ConfigError(
            _KEY, "damaged", f"the tiles of an export ({error})", source=str(path)
        ) from None

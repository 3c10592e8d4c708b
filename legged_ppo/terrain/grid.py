"""The terrain grid: one column of tiles per type, one row per level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from legged_ppo.config.errors import ConfigError
from legged_ppo.config.schema import TerrainConfig
from legged_ppo.terrain.tile import Box, Tile, rasterize
from legged_ppo.terrain.types import check_sizes, make_tile_types

_BASE_THICKNESS = 0.5
"""Depth [m] of solid ground below a height field, so that a fast foot cannot pass through."""
_SURFACE: dict[str, Any] = {
    "contype": 1,
    "conaffinity": 0,
    "condim": 3,
    "group": 0,
    "priority": 0,
    "friction": [0.8, 0.02, 0.01],
    "margin": 0.0,
    "gap": 0.0,
    "solmix": 1.0,
    "solref": [0.02, 1.0],
    "solimp": [0.9, 0.95, 0.001, 0.5, 2.0],
}
"""All that a geom would otherwise take over from the default class of the robot's MJCF."""


@dataclass(frozen=True)
class Terrain:
    """The whole ground, as heights for the task and as geoms for the simulators.

    Tile (type, level) covers x from type to type + 1 and y from level to level + 1 tile sizes. The
    ground around the grid is flat at height 0.
    """

    config: TerrainConfig
    types: list[str]
    """Terrain types, one a column."""
    shares: np.ndarray
    """[types] of the robots that start on each type, up to a factor"""
    tiles: list[list[Tile]]
    """[types][levels]"""
    heights: np.ndarray
    """[types, levels, n, n] float32 m, index (x, y) from edge to edge of each tile."""

    @property
    def origins(self) -> np.ndarray:
        """[types, levels, 3] m: centre of each tile, on the ground."""
        middle = self.heights.shape[-1] // 2
        x, y = np.meshgrid(np.arange(len(self.types)), np.arange(self.num_levels), indexing="ij")
        z = self.heights[:, :, middle, middle]
        size = self.config.tile_size
        return np.stack([(x + 0.5) * size, (y + 0.5) * size, z], axis=-1)

    @property
    def num_levels(self) -> int:
        return self.heights.shape[1]

    @property
    def spawn_radius(self) -> np.ndarray:
        """[types, levels] m, `Tile.spawn_radius`."""
        return np.array([[tile.spawn_radius for tile in column] for column in self.tiles])

    def add_to(self, spec: mujoco.MjSpec) -> None:
        """Add the ground's geoms to a model; they collide with the robot's (contype 1 to conaffinity 1)."""
        look = _ground_material(spec)
        floor = min(tile.floor for column in self.tiles for tile in column)
        sunken = any(tile.sunken for column in self.tiles for tile in column)
        spec.worldbody.add_geom(
            name="ground",
            type=mujoco.mjtGeom.mjGEOM_PLANE,
            size=[0, 0, 1],
            pos=[0, 0, floor - _BASE_THICKNESS if sunken else 0.0],
            material=look,
            **_SURFACE,
        )
        if sunken:
            self._add_border(spec, look, floor - _BASE_THICKNESS)
        for column, tiles in enumerate(self.tiles):
            for level, tile in enumerate(tiles):
                name = f"{self.types[column]}_{level}"
                size = self.config.tile_size
                origin = np.array([(column + 0.5) * size, (level + 0.5) * size, 0.0])
                if tile.patch is not None:
                    _add_field(spec, name, tile.patch, origin, size, look)
                elif sunken and not tile.sunken:
                    half = size / 2
                    slab = Box((-half, -half, floor), (half, half, 0.0))
                    _add_box(spec, f"{name}:slab", slab, origin, look)
                for i, box in enumerate(tile.boxes):
                    _add_box(spec, f"{name}:{i}", box, origin, look)

    def _add_border(self, spec: mujoco.MjSpec, look: str, bottom: float) -> None:
        """Four boxes around the grid, with tops at height 0."""
        x, y = np.array([len(self.types), self.num_levels]) * self.config.tile_size
        b = self.config.border
        for name, low, high in (
            ("left", (-b, -b), (0.0, y + b)),
            ("right", (x, -b), (x + b, y + b)),
            ("near", (0.0, -b), (x, 0.0)),
            ("far", (0.0, y), (x, y + b)),
        ):
            box = Box((*low, bottom), (*high, 0.0))
            _add_box(spec, f"border:{name}", box, np.zeros(3), look)

    def assign(self, num_envs: int) -> tuple[np.ndarray, np.ndarray]:
        """Terrain type and level of each robot, [N] int64 each.

        Types by the configured proportions (largest remainder), levels spread evenly within a type
        from 0 to `max_initial_level`.
        """
        exact = self.shares / self.shares.sum() * num_envs
        counts = np.floor(exact).astype(np.int64)
        for i in np.argsort(counts - exact, kind="stable")[: num_envs - counts.sum()]:
            counts[i] += 1
        types = np.repeat(np.arange(len(self.types)), counts)
        highest = self.config.max_initial_level
        levels = self.num_levels if highest is None else min(highest + 1, self.num_levels)
        return types, np.concatenate([np.arange(count) for count in counts]) % levels


def build_terrain(config: TerrainConfig) -> Terrain:
    """Build the grid that `config` describes; the same config gives the same ground everywhere.

    Raises:
        ConfigError: an unknown type, proportions without a positive sum, a tile of broken cells or
            too small for its features.
    """
    known = make_tile_types(config)
    proportions = _checked_proportions(config, list(known))
    types = list(proportions)
    check_sizes(config, types)
    size, levels = config.tile_size, config.num_levels
    for key in ("cell_size", "height_map_cell"):
        cell = getattr(config, key)
        if abs(round(size / cell) * cell - size) > 1e-6 * size:
            raise ConfigError(
                "terrain.tile_size", size, f"a multiple of terrain.{key} ({cell:g} m)"
            )
    names = list(known)
    tiles = [
        [
            known[name].build(
                level / max(levels - 1, 1),
                # Of the type's place among all, so that a tile is the same in every grid.
                np.random.default_rng([config.seed, names.index(name), level]),
            )
            for level in range(levels)
        ]
        for name in types
    ]
    points = round(size / config.height_map_cell) + 1
    heights = np.array([[rasterize(tile, size, points) for tile in column] for column in tiles])
    # Mathematical libraries differ in the last digit; the ground must not.
    heights = heights.round(5).astype(np.float32)
    shares = np.array([proportions[name] for name in types])
    return Terrain(config, types, shares, tiles, heights)


def _checked_proportions(config: TerrainConfig, known: list[str]) -> dict[str, float]:
    """The types with a positive share, and their shares."""
    proportions = config.proportions or {"flat": 1.0}
    for name in proportions:
        if name not in known:
            raise ConfigError(
                "terrain.proportions", name, f"one of {', '.join(known)}", choices=known
            )
    chosen = {name: share for name, share in proportions.items() if share > 0}
    if not chosen or min(proportions.values()) < 0:
        raise ConfigError(
            "terrain.proportions", dict(proportions), "shares >= 0 with a positive sum"
        )
    return chosen


def _add_box(spec: mujoco.MjSpec, name: str, box: Box, origin: np.ndarray, look: str) -> None:
    low, high = np.array(box.low), np.array(box.high)
    spec.worldbody.add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=(high - low) / 2,
        pos=origin + (high + low) / 2,
        material=look,
        **_SURFACE,
    )


def _add_field(
    spec: mujoco.MjSpec, name: str, patch: np.ndarray, origin: np.ndarray, size: float, look: str
) -> None:
    low = float(patch.min())
    peak = max(float(patch.max()) - low, 1e-3)
    spec.add_hfield(
        name=name,
        size=[size / 2, size / 2, peak, _BASE_THICKNESS],
        nrow=patch.shape[1],
        ncol=patch.shape[0],
        userdata=((patch.T - low) / peak).ravel(),  # MuJoCo: rows along y, columns along x
    )
    spec.worldbody.add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_HFIELD,
        hfieldname=name,
        pos=origin + np.array([0.0, 0.0, low]),
        material=look,
        **_SURFACE,
    )


def _ground_material(spec: mujoco.MjSpec) -> str:
    texture = spec.add_texture(
        name="ground",
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
        rgb1=[0.36, 0.42, 0.46],
        rgb2=[0.30, 0.35, 0.39],
        width=300,
        height=300,
    )
    material = spec.add_material(name="ground", texrepeat=[1, 1], texuniform=True, reflectance=0.0)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = texture.name
    return material.name

"""The terrain grid: one column of tiles per type, one row per level, and its height map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
import torch

from legged_ppo.config.errors import ConfigError
from legged_ppo.config.schema import TerrainConfig
from legged_ppo.terrain.tiles import make_tile_types

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

    The ground outside the tiles is the plane z = 0.
    """

    config: TerrainConfig
    types: list[str]
    """Terrain types, one a column."""
    shares: np.ndarray
    """[types] of the robots that start on each type, up to a factor"""
    patches: dict[tuple[int, int], np.ndarray]
    """Heights [n, n] of the tiles (type, level) that are not the plane."""
    origins: np.ndarray
    """[types, levels, 3] m: centre of each tile, on the ground."""
    height_map: np.ndarray
    """[X, Y] m: ground heights of the whole grid with its border, one point every cell."""
    corner: tuple[float, float]
    """Position (x, y) [m] of height_map[0, 0]."""

    def add_to(self, spec: mujoco.MjSpec) -> None:
        """Add the ground's geoms to a model; they collide with the robot's (contype 1 to conaffinity 1)."""
        look = _ground_material(spec)
        spec.worldbody.add_geom(
            name="ground",
            type=mujoco.mjtGeom.mjGEOM_PLANE,
            size=[0, 0, 1],
            material=look,
            **_SURFACE,
        )
        half = self.config.tile_size / 2
        for (column, level), heights in self.patches.items():
            name = f"{self.types[column]}_{level}"
            peak = max(float(heights.max()), 1e-3)
            spec.add_hfield(
                name=name,
                size=[half, half, peak, _BASE_THICKNESS],
                nrow=heights.shape[1],
                ncol=heights.shape[0],
                userdata=(heights.T / peak).ravel(),  # MuJoCo: rows along y, columns along x
            )
            spec.worldbody.add_geom(
                name=name,
                type=mujoco.mjtGeom.mjGEOM_HFIELD,
                hfieldname=name,
                pos=[*self.origins[column, level, :2], 0.0],
                material=look,
                **_SURFACE,
            )

    def assign(self, num_envs: int) -> tuple[np.ndarray, np.ndarray]:
        """Terrain type and level of each robot, [N] int64 each.

        Types by the configured proportions (largest remainder), levels spread evenly within a type.
        """
        exact = self.shares / self.shares.sum() * num_envs
        counts = np.floor(exact).astype(np.int64)
        for i in np.argsort(counts - exact)[: num_envs - counts.sum()]:
            counts[i] += 1
        types = np.repeat(np.arange(len(self.types)), counts)
        levels = np.concatenate([np.arange(count) for count in counts]) % self.config.num_levels
        return types, levels


class HeightMap:
    """Bilinear height queries on a device."""

    def __init__(self, terrain: Terrain, device: torch.device) -> None:
        z = torch.as_tensor(terrain.height_map, dtype=torch.float32, device=device)
        # The four corners of each cell side by side: one gather a query instead of four.
        corners = torch.stack([z[:-1, :-1], z[:-1, 1:], z[1:, :-1], z[1:, 1:]], dim=-1)
        self._corners = corners.reshape(-1, 4)
        self._cells = torch.tensor(corners.shape[:2], device=device)
        self._corner = torch.tensor(terrain.corner, dtype=torch.float32, device=device)
        self._cell = terrain.config.cell_size

    def __call__(self, xy: torch.Tensor) -> torch.Tensor:
        """Ground height [m] at world positions xy [..., 2] m; the border's beyond the map."""
        grid = (xy - self._corner) / self._cell
        cell = torch.minimum(grid.floor().clamp_(min=0.0), self._cells - 1.0)
        fx, fy = (grid - cell).clamp_(0.0, 1.0).unbind(-1)
        index = cell[..., 0] * self._cells[1] + cell[..., 1]
        z00, z01, z10, z11 = self._corners[index.long()].unbind(-1)
        near = torch.lerp(z00, z01, fy)
        return torch.lerp(near, torch.lerp(z10, z11, fy), fx)


def build_terrain(config: TerrainConfig) -> Terrain:
    """Build the grid that `config` describes; the same config gives the same ground everywhere.

    Raises:
        ConfigError: an unknown type, proportions without a positive sum or a tile of broken cells.
    """
    known = make_tile_types(config)
    proportions = _checked_proportions(config, list(known))
    types = list(proportions)
    shares = np.array([proportions[name] for name in types])
    size, cell, levels = config.tile_size, config.cell_size, config.num_levels
    points = round(size / cell)
    if abs(points * cell - size) > 1e-6 * size:
        raise ConfigError(
            "terrain.tile_size", size, f"a multiple of terrain.cell_size ({cell:g} m)"
        )
    margin = round(config.border / cell)
    height_map = np.zeros(
        (len(types) * points + 2 * margin + 1, levels * points + 2 * margin + 1), dtype=np.float32
    )
    origins = np.zeros((len(types), levels, 3))
    patches: dict[tuple[int, int], np.ndarray] = {}
    for column, name in enumerate(types):
        for level in range(levels):
            origins[column, level, :2] = (column + 0.5) * size, (level + 0.5) * size
            rng = np.random.default_rng([config.seed, column, level])
            heights = known[name].heights(level / max(levels - 1, 1), rng)
            if heights is None:
                continue
            patches[column, level] = heights
            x, y = margin + column * points, margin + level * points
            height_map[x : x + points + 1, y : y + points + 1] = heights
            origins[column, level, 2] = heights[points // 2, points // 2]
    corner = (-margin * cell, -margin * cell)
    return Terrain(config, types, shares, patches, origins, height_map, corner)


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

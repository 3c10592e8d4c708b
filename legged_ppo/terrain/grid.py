"""The terrain grid: one column of tiles per type, one row per level."""

from __future__ import annotations

import hashlib
import itertools
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import ArrayLike

from legged_ppo.config.schema import TerrainConfig
from legged_ppo.errors import ConfigError
from legged_ppo.terrain.checks import check_terrain
from legged_ppo.terrain.geoms import PlacedTile, add_ground
from legged_ppo.terrain.tile import Tile, rasterize
from legged_ppo.terrain.types import NO_TYPES, ExtraTypes, make_tile_types


@dataclass(frozen=True)
class Terrain:
    """The terrain: heights for the task and geoms for the simulators.

    Tile (type, level) covers x from type to type + 1 and y from level to level + 1 tile sizes. The
    ground around the grid is flat at height 0.
    """

    config: TerrainConfig
    types: list[str]
    """Terrain type of each column."""
    shares: np.ndarray
    """[types], unnormalised share of the robots that start on each type"""
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
        """Rows of the grid."""
        return self.heights.shape[1]

    @property
    def cells(self) -> list[int]:
        """[types], number of levels with different ground: 1 if it is the plane at every level."""
        plane = [all(not t.boxes and t.patch is None for t in column) for column in self.tiles]
        return [1 if same else self.num_levels for same in plane]

    @property
    def spawn_radius(self) -> np.ndarray:
        """[types, levels] m, `Tile.spawn_radius`."""
        return np.array([[tile.spawn_radius for tile in column] for column in self.tiles])

    @property
    def holes(self) -> np.ndarray:
        """[types, levels] bool, `Tile.holes`."""
        return np.array([[tile.holes for tile in column] for column in self.tiles])

    @property
    def fingerprint(self) -> str:
        """Hash (16 hexadecimal digits) of heights, boxes and height fields, rounded to 0.01 mm."""
        digest = hashlib.sha256(repr((self.types, self.config.tile_size)).encode())
        digest.update(_hundredths_mm(self.heights))
        for tile in itertools.chain.from_iterable(self.tiles):
            patch = np.zeros(0) if tile.patch is None else tile.patch
            digest.update(repr((tile.sunken, len(tile.boxes), patch.shape)).encode())
            digest.update(_hundredths_mm([(*box.low, *box.high) for box in tile.boxes]))
            digest.update(_hundredths_mm(patch))
        return digest.hexdigest()[:16]

    def add_to(self, spec: mujoco.MjSpec, column: int | None = None) -> None:
        """Add the ground's geoms to a model; they collide with the robot's (contype 1 to conaffinity 1).

        Args:
            column: index of the only column to add, with flat ground around it; None adds all columns.
        """
        size = self.config.tile_size
        columns = range(len(self.types)) if column is None else [column]
        placed = [
            PlacedTile(f"{self.types[x]}_{y}", tile, ((x + 0.5) * size, (y + 0.5) * size))
            for x in columns
            for y, tile in enumerate(self.tiles[x])
        ]
        add_ground(spec, placed, size, self.config.border)

    def add_endless(self, spec: mujoco.MjSpec, column: int, level: int) -> None:
        """Add a tile and its eight neighbouring copies: the periodic ground of a robot on this tile."""
        x, y, _ = self.origins[column, level]
        size, tile = self.config.tile_size, self.tiles[column][level]
        placed = [
            PlacedTile(f"copy_{i}_{j}", tile, (x + i * size, y + j * size))
            for i in (-1, 0, 1)
            for j in (-1, 0, 1)
        ]
        add_ground(spec, placed, size, self.config.border)

    def place(self, name: str, level: int) -> tuple[int, int]:
        """Column and row of a tile.

        Raises:
            ConfigError: no such type or level in this grid.
        """
        if name not in self.types:
            raise absent_type(name, self.types, self.config)
        if not 0 <= level < self.num_levels:
            raise ConfigError("--level", level, f"a level from 0 to {self.num_levels - 1}")
        return self.types.index(name), level

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
        return types, np.concatenate([_spread(count, levels) for count in counts])


def absent_type(name: str, types: Sequence[str], config: TerrainConfig) -> ConfigError:
    """The error for a terrain type that is not among the `types` of a grid; suggests `terrain=full` for a
    known type without a column in this grid."""
    expected = f"one of {', '.join(types)}"
    if name in make_tile_types(config):
        expected += f", or terrain=full beside it, whose grid has {name}"
    return ConfigError("--terrain", name, expected, choices=types)


def _hundredths_mm(lengths: ArrayLike) -> bytes:
    """Lengths [m] rounded to integers, so that last-digit differences between platforms do not matter."""
    return np.rint(1e5 * np.asarray(lengths, dtype=np.float64)).astype("<i4").tobytes()


def _spread(count: int, levels: int) -> np.ndarray:
    """Levels [count]: whole cycles over all levels, then the remainder at equal distances."""
    rest = count % levels
    last = (np.arange(rest) * levels + levels // 2) // max(rest, 1)
    return np.concatenate([np.arange(count - rest) % levels, last])


def build_terrain(config: TerrainConfig, extra: ExtraTypes = NO_TYPES) -> Terrain:
    """Build the grid that `config` describes; the same config gives the same ground everywhere.

    Args:
        extra: terrain types of the recipe's extensions.

    Raises:
        ConfigError: see `check_terrain`; an extension's tile has edges that are not flat at height 0.
    """
    proportions = check_terrain(config, extra)
    types, known = list(proportions), make_tile_types(config, extra)
    size, levels = config.tile_size, config.num_levels
    names = [name for name in known if name not in extra]
    tiles = []
    for name in types:
        # Seeded by the type's index among the built-in ones, or its name, so a tile is the same in every grid.
        number = zlib.crc32(name.encode()) if name in extra else names.index(name)
        column = []
        for level in range(levels):
            rng = np.random.default_rng([config.seed, number, level])
            column.append(known[name].build(level / max(levels - 1, 1), rng))
        tiles.append(column)
    points = round(size / config.height_map_cell) + 1
    heights = np.array([[rasterize(tile, size, points) for tile in column] for column in tiles])
    # Rounding removes last-digit differences between platforms.
    heights = heights.round(5).astype(np.float32)
    for name, column in zip(types, heights, strict=True):
        if name in extra:
            _check_edges(name, column)
    shares = np.array([proportions[name] for name in types])
    return Terrain(config, types, shares, tiles, heights)


def _check_edges(name: str, heights: np.ndarray) -> None:
    """The edges of tiles [levels, n, n] m must be flat: robots that cross one re-enter at the opposite one."""
    highest = max(np.abs(heights[:, [0, -1]]).max(), np.abs(heights[:, :, [0, -1]]).max())
    if highest > 1e-4:
        expected = (
            "tiles whose four edges are flat at height 0, where robots change to the next tile"
        )
        raise ConfigError(f"extensions (TERRAINS[{name!r}])", f"{highest:g} m", expected)

"""Terrain types by their configuration names."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from legged_ppo.config.schema import TerrainConfig
from legged_ppo.errors import ConfigError
from legged_ppo.terrain.slopes import Flat, Rough, Slope, Wave
from legged_ppo.terrain.steps import Curbs, Gaps, Hurdles, Pit, Stairs, SteppingStones
from legged_ppo.terrain.tile import Tile


class TileType(Protocol):
    """Builds tiles of one terrain type."""

    @property
    def spawn_radius(self) -> float:
        """Robots start within this distance [m] of the middle, along each axis."""
        ...

    def build(self, difficulty: float, rng: np.random.Generator) -> Tile:
        """The tile at a difficulty in [0, 1]; harder means higher, wider or steeper features."""
        ...


ExtraTypes = Mapping[str, Callable[..., Any]]
"""Terrain types of the extensions (`Extensions.terrains`)."""
NO_TYPES: ExtraTypes = MappingProxyType({})


def make_tile_types(config: TerrainConfig, extra: ExtraTypes = NO_TYPES) -> dict[str, TileType]:
    """All known terrain types by name, those of extensions last.

    Raises:
        ConfigError: an extension's type has a built-in one's name, other parameters, or makes no `TileType`.
    """
    c, size, platform = config, config.tile_size, config.platform
    points = round(size / c.cell_size) + 1

    def pair(bounds: list[float]) -> tuple[float, float]:
        return bounds[0], bounds[1]

    slope, riser = pair(c.slope), pair(c.stair_height)
    deep = c.easiest_gap_depth or c.gap_depth, c.gap_depth
    types: dict[str, TileType] = {
        "flat": Flat(size, points, pair(c.fractal_height)),
        "rough": Rough(size, points, pair(c.roughness)),
        "slope_up": Slope(size, platform, points, slope, ascending=True),
        "slope_down": Slope(size, platform, points, slope, ascending=False),
        "rough_slope": Slope(size, platform, points, slope, True, c.slope_roughness),
        "stairs_up": Stairs(size, platform, c.stair_tread, riser, ascending=True),
        "stairs_down": Stairs(size, platform, c.stair_tread, riser, ascending=False),
        "curbs": Curbs(size, platform, pair(c.curb_height)),
        "stepping_stones": SteppingStones(
            size, platform, pair(c.stone_size), pair(c.stone_gap), deep
        ),
        "gaps": Gaps(size, platform, pair(c.gap_width), deep),
        "pits": Pit(size, platform, pair(c.pit_depth)),
        "hurdles": Hurdles(size, platform, pair(c.hurdle_height)),
        "wave": Wave(size, points, pair(c.wave_height)),
    }
    for name, make in extra.items():
        if name in types:
            expected = "a name that the package does not define"
            raise ConfigError("extensions (TERRAINS)", name, expected)
        types[name] = _made(name, make, config)
    return types


def _made(name: str, make: Callable[..., Any], config: TerrainConfig) -> TileType:
    parameters = config.parameters.get(name) or {}
    key = f"terrain.parameters.{name}"
    if not isinstance(parameters, dict):
        raise ConfigError(key, parameters, "a mapping of the terrain type's parameters")
    try:
        inspect.signature(make).bind(config, **parameters)
    except TypeError as error:
        raise ConfigError(key, parameters, f"parameters that {name} takes ({error})") from None
    made = make(config, **parameters)
    if not (hasattr(made, "build") and hasattr(made, "spawn_radius")):
        expected = "an object with spawn_radius and build(difficulty, rng)"
        raise ConfigError(f"extensions (TERRAINS[{name!r}])", type(made).__name__, expected)
    typed: TileType = made
    return typed

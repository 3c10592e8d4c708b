"""Episodes by cell: a terrain type at a level. A type that is the plane at every level is one cell."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from legged_ppo.config.schema import Config, TerrainConfig
from legged_ppo.errors import ConfigError
from legged_ppo.terrain.grid import absent_type, build_terrain
from legged_ppo.terrain.types import NO_TYPES, ExtraTypes

_ENOUGH = 10
"""Episodes of a cell below which a warning is due; with 10 the interval of a rate is up to 0.53 wide."""


def fill_cells(
    config: TerrainConfig, per_cell: int, most: int, extra: ExtraTypes = NO_TYPES
) -> tuple[TerrainConfig, int, int]:
    """The shares of the types with which `Terrain.assign` gives every cell of the ground as many robots; the
    episodes in all for `per_cell` in each; and how many robots to take at once.

    Args:
        most: robots at once, unless there are more cells.
        extra: terrain types of the recipe's extensions.
    """
    terrain = build_terrain(config, extra)
    shares = {name: float(n) for name, n in zip(terrain.types, terrain.cells, strict=True)}
    count = sum(terrain.cells)
    robots = count * max(1, min(per_cell, most // count))
    return replace(config, proportions=shares), per_cell * count, robots


def restricted(
    config: Config, terrain: str | None, level: int | None
) -> tuple[Config, tuple[str, int] | None]:
    """The config whose ground is a terrain type alone, or, with a level, `config` and that place.

    Raises:
        ConfigError: a level without a type, or a type that is not in the grid.
    """
    if terrain is None:
        if level is not None:
            raise ConfigError("level", level, "a terrain type beside it")
        return config, None
    if level is not None:
        return config, (terrain, level)
    shares = config.terrain.proportions or {"flat": 1.0}
    types = [name for name, share in shares.items() if share > 0]
    if terrain not in types:
        raise absent_type(terrain, types, config.terrain)
    return replace(config, terrain=replace(config.terrain, proportions={terrain: 1.0})), None


def thin_cells_line(result: dict[str, Any]) -> str:
    """The warning that cells have few episodes or none; "" where all have enough."""
    groups = result["terrain"].values()
    found = [row["episodes"] for group in groups for row in group["levels"].values()]
    total, few = result["terrain_cells"], sum(count < _ENOUGH for count in found)
    if few == 0 and len(found) == total:
        return ""
    return (
        f"warning: of {total} cells (terrain type and level) {total - len(found)} have no episode and {few} "
        f"fewer than {_ENOUGH}; --episodes-per-cell {_ENOUGH} gives each of them {_ENOUGH}"
    )

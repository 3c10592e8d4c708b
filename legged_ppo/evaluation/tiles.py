"""Episodes by cell: a terrain type at a level. A type that is the plane at every level is one cell."""

from __future__ import annotations

from dataclasses import replace

from legged_ppo.config.schema import TerrainConfig
from legged_ppo.evaluation.statistics import Episodes, cell_masks
from legged_ppo.terrain.grid import Terrain, build_terrain
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


def thin_cells_line(episodes: Episodes, terrain: Terrain) -> str:
    """What a user is told where cells have few episodes or none; "" where there are enough."""
    found = [
        mask.sum() for cells in cell_masks(episodes, terrain).values() for mask in cells.values()
    ]
    total, few = sum(terrain.cells), sum(int(count < _ENOUGH) for count in found)
    if few == 0 and len(found) == total:
        return ""
    return (
        f"warning: of {total} cells (terrain type and level) {total - len(found)} have no episode and {few} "
        f"fewer than {_ENOUGH}; --episodes-per-cell {_ENOUGH} gives each of them {_ENOUGH}"
    )

"""The `terrain` section: tiles, their difficulty and the curriculum."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from legged_ppo.config.schema.bounds import (
    bounded,
    harder,
    not_negative,
    one_of,
    open_share,
    positive,
    shares,
    shrinking,
)


@dataclass
class CurriculumConfig:
    """How robots move between the levels of their terrain type (`terrain/curriculum.py`)."""

    rule: str = one_of("none", "progress", "success")
    """none (levels stay), progress (by the share of the commanded path) or success (solved or not)."""
    promote: float = open_share(0.8)
    """Rule progress: share of the commanded path from which a robot goes up."""
    demote: float = not_negative(0.4)
    """Rule progress: share of the whole episode's path below which it goes down."""
    distance: float = not_negative(2.5)
    """Distance [m] from its start, along x or y, that a robot must have reached to go up."""
    window: int = positive(50)
    """Episodes that a cell's solve rate is averaged over, about."""


@dataclass
class TerrainConfig:
    """The ground: a grid with one column per type and one row per level."""

    proportions: dict[str, float] = shares({})
    """Share of the robots that start on each terrain type (normalised to sum 1); empty: flat."""
    parameters: dict[str, Any] = field(default_factory=dict)
    """Arguments of terrain types of the extensions: {my_type: {height: 0.1}}."""
    num_levels: int = positive(1, most=1000)
    """Rows of the grid; level l has difficulty l / (num_levels - 1)."""
    max_initial_level: int | None = not_negative(None)
    """Robots start on levels 0 to this; null: on all."""
    curriculum: CurriculumConfig = field(default_factory=CurriculumConfig)
    """Promotion and demotion."""
    tile_size: float = positive(8.0, most=1000)
    """Edge [m] of a square tile."""
    border: float = bounded(2.0, lambda x: x >= 1.0, "a width >= 1 m, which robots reach over")
    """Width [m] of the flat ground around the grid, and around those of its parts that an engine simulates
    alone; robots reach over it before they re-enter at the opposite edge."""
    platform: float = positive(2.0)
    """Edge [m] of the flat square in the middle of a tile where robots start."""
    cell_size: float = positive(0.1)
    """Edge [m] of a height field's cell; `stepping_stones` have finer ones of their own."""
    height_map_cell: float = positive(0.1)
    """Edge [m] of a cell of the height map that scandots are read from."""
    seed: int = not_negative(1, most=2**32 - 1)
    """Seed of the terrain, apart from the run's: the same seed gives the same ground."""
    fractal_height: list[float] = harder([0.0, 0.0])
    """`flat`: peak-to-peak height [m] of its fractal roughness at difficulty 0 and 1."""
    roughness: list[float] = harder([0.01, 0.05])
    """`rough`: peak-to-peak height [m] at difficulty 0 and 1."""
    slope: list[float] = harder([0.0, 0.4])
    """`slope_up`, `slope_down`, `rough_slope`: rise over run at difficulty 0 and 1."""
    slope_roughness: float = not_negative(0.06)
    """`rough_slope`: peak-to-peak height [m] of the roughness on the slope."""
    stair_height: list[float] = harder([0.02, 0.2])
    """`stairs_up`, `stairs_down`: height [m] of a step at difficulty 0 and 1."""
    stair_tread: float = positive(0.3)
    """`stairs_up`, `stairs_down`: depth [m] of a step."""
    curb_height: list[float] = harder([0.02, 0.2])
    """`curbs`: height [m] of the obstacles at difficulty 0 and 1."""
    stone_size: list[float] = shrinking([0.9, 0.3])
    """`stepping_stones`: edge [m] of a stone at difficulty 0 and 1."""
    stone_gap: list[float] = harder([0.1, 0.3])
    """`stepping_stones`: gap [m] between the tops of stones at difficulty 0 and 1."""
    gap_width: list[float] = harder([0.05, 0.5])
    """`gaps`: width [m] of a gap at difficulty 0 and 1."""
    gap_depth: float = positive(0.6)
    """`gaps`, `stepping_stones`: depth [m] at difficulty 1."""
    easiest_gap_depth: float | None = positive(None)
    """`gaps`, `stepping_stones`: depth [m] at difficulty 0; null: `gap_depth` at every difficulty. Shallow
    holes are solved sooner, by stepping into them."""
    pit_depth: list[float] = harder([0.02, 0.3])
    """`pits`: depth [m] at difficulty 0 and 1."""
    hurdle_height: list[float] = harder([0.02, 0.25])
    """`hurdles`: height [m] of the bars at difficulty 0 and 1."""
    wave_height: list[float] = harder([0.02, 0.3])
    """`wave`: height [m] from trough to crest at difficulty 0 and 1."""

"""The tables of the ground, from the geoms that MuJoCo would have on each column of the terrain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from legged_ppo.errors import ConfigError
from legged_ppo.sim.simd.ground import Ground
from legged_ppo.sim.simd.ground_bounds import CELL, Cells, bounding_planes
from legged_ppo.sim.simd.ground_geoms import Column, read_column
from legged_ppo.sim.simd.robot import Robot
from legged_ppo.terrain.grid import Terrain

_MARGIN = 1.0
"""m of cells around the tiles; the outermost cells hold for everything beyond."""
_BURIED = 0.03
"""m under the top of a box at which another is out of reach for whatever does not sink in so far."""
_LARGEST_INDEX = 2**24
"""Positions in tables are float32 while they are computed."""


@dataclass
class Reach:
    """How far from its middle a collider touches things [m]."""

    sphere: float
    capsule: float


def reach_of(robot: Robot) -> Reach:
    """Of the robot's largest sphere and capsule."""
    spheres = [c.radius for c in robot.colliders if c.half_length == 0.0]
    capsules = [c.radius + c.half_length for c in robot.colliders if c.half_length > 0.0]
    return Reach(max(spheres, default=0.0), max(capsules, default=0.0))


def read_ground(terrain: Terrain, reach: Reach) -> Ground:
    """The ground of all columns; each cell has the geoms of its column alone, as in `mujoco_c`.

    Raises:
        ConfigError: a geom that the engine does not know, or more ground than float32 can number.
    """
    columns = [read_column(terrain, index) for index in range(len(terrain.types))]
    size = terrain.config.tile_size
    x, y = -_MARGIN, -_MARGIN
    nx = int(np.ceil((len(columns) * size + 2 * _MARGIN) / CELL))
    ny = int(np.ceil((terrain.num_levels * size + 2 * _MARGIN) / CELL))
    centres = x + (np.arange(nx) + 0.5) * CELL
    owner = np.clip((centres // size).astype(int), 0, len(columns) - 1)
    cells = Cells(nx, ny, x, y, owner)
    ground = Ground(
        x=x,
        y=y,
        cell=CELL,
        last_x=nx - 1.0,
        last_y=ny - 1.0,
        cell_plane=np.repeat([columns[i].plane for i in owner], ny),
    )
    _add_boxes(ground, cells, columns, reach)
    _add_fields(ground, cells, columns, reach)
    ground.cell_bound = bounding_planes(columns, cells, max(reach.sphere, reach.capsule))
    for name in ("near_boxes", "far_boxes", "cell_heights"):
        if getattr(ground, name).size > _LARGEST_INDEX:
            raise ConfigError("sim.engine", "simd", f"mujoco_c, or fewer tiles: too many {name}")
    return ground


def _add_boxes(ground: Ground, cells: Cells, columns: list[Column], reach: Reach) -> None:
    boxes = np.concatenate([column.boxes for column in columns])
    corner = np.floor(boxes[:, :2])
    ground.boxes = np.concatenate([corner, boxes[:, :2] - corner, boxes[:, 2:]], axis=1)
    owners = np.repeat(np.arange(len(columns)), [len(column.boxes) for column in columns])
    near, far = (_listed(boxes, owners, cells, r) for r in (reach.sphere, reach.capsule))
    ground.near_boxes, ground.near_room = near, near.shape[-1]
    ground.far_boxes, ground.far_room = far, far.shape[-1]


def _listed(boxes: np.ndarray, owners: np.ndarray, cells: Cells, reach: float) -> np.ndarray:
    """[nx, ny, room], boxes within `reach` of each cell; not those that a larger one buries there."""
    lists: list[list[int]] = [[] for _ in range(cells.nx * cells.ny)]
    for index, (box, owner) in enumerate(zip(boxes, owners, strict=True)):
        low, high = box[:2] - box[3:5] - reach, box[:2] + box[3:5] + reach
        across, along = cells.span(low, high)
        for i in range(across.start, across.stop):
            if cells.owner[i] == owner:
                for j in range(along.start, along.stop):
                    lists[i * cells.ny + j].append(index)
    lists = [_unburied(boxes, each, place, cells, reach) for place, each in enumerate(lists)]
    table = np.full((len(lists), max(map(len, lists))), -1.0)
    for row, each in zip(table, lists, strict=True):
        row[: len(each)] = each
    return table.reshape(cells.nx, cells.ny, -1)


def _unburied(
    boxes: np.ndarray, found: list[int], place: int, cells: Cells, reach: float
) -> list[int]:
    """Without boxes that lie deep under one that covers all of the cell's surroundings."""
    if len(found) < 2:
        return found
    low = np.array([cells.x, cells.y]) + CELL * np.array(divmod(place, cells.ny)) - 2 * reach
    high = low + CELL + 4 * reach
    chosen = boxes[found]
    covers = (chosen[:, :2] - chosen[:, 3:5] <= low) & (chosen[:, :2] + chosen[:, 3:5] >= high)
    tops = chosen[:, 2] + chosen[:, 5]
    highest = tops[covers.all(1)].max(initial=-np.inf)
    return [box for box, top in zip(found, tops, strict=True) if top >= highest - _BURIED]


def _add_fields(ground: Ground, cells: Cells, columns: list[Column], reach: Reach) -> None:
    at = np.full((cells.nx, cells.ny), -1.0)
    rows: list[list[float]] = []
    heights, start = [], 0
    for owner, column in enumerate(columns):
        for field in column.fields:
            # Tiles meet at their rims, which are flat at 0 like the plane: a cell's middle decides.
            across, along = cells.span(field.low + CELL / 2, field.high - CELL / 2)
            own = at[across, along]
            own[cells.owner[across] == owner] = len(rows)
            h = field.heights
            corners = np.stack([h[:-1, :-1], h[:-1, 1:], h[1:, :-1], h[1:, 1:]], axis=-1)
            rows_of, columns_of, _ = corners.shape
            rows.append([*field.low, field.spacing, columns_of, rows_of, start, 0.0, 0.0])
            heights.append(corners.reshape(-1, 4))
            start += rows_of * columns_of
    ground.cell_field = at
    finest = min((f.spacing for column in columns for f in column.fields), default=1.0)
    ground.sphere_span, ground.capsule_span = (
        int(2 * length / finest) + 2 for length in (reach.sphere, reach.capsule)
    )
    ground.fields = np.array(rows)
    ground.cell_heights = np.concatenate(heights) if heights else np.zeros(0)

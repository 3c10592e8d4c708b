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
    """[nx, ny, room], boxes within `reach` of each cell, but for those that others bury."""
    cell, box = _pairs(boxes, owners, cells, reach)
    kept = ~_buried(boxes[box], cell, cells, reach)
    order = np.argsort(cell[kept], kind="stable")
    cell, box = cell[kept][order], box[kept][order]
    counts = np.bincount(cell, minlength=cells.nx * cells.ny)
    place = np.arange(len(cell)) - np.repeat(np.cumsum(counts) - counts, counts)
    table = np.full((len(counts), counts.max()), -1.0)
    table[cell, place] = box
    return table.reshape(cells.nx, cells.ny, -1)


def _pairs(
    boxes: np.ndarray, owners: np.ndarray, cells: Cells, reach: float
) -> tuple[np.ndarray, np.ndarray]:
    """[pairs] each: a cell and the number of a box of its column within `reach` of it."""
    found = []
    for box, owner in zip(boxes, owners, strict=True):
        across, along = cells.span(box[:2] - box[3:5] - reach, box[:2] + box[3:5] + reach)
        i, j = np.arange(across.start, across.stop), np.arange(along.start, along.stop)
        found.append((i[cells.owner[i] == owner][:, None] * cells.ny + j).ravel())
    numbers = np.repeat(np.arange(len(boxes)), [len(each) for each in found])
    return np.concatenate([*found, np.zeros(0, dtype=int)]), numbers


def _buried(boxes: np.ndarray, cell: np.ndarray, cells: Cells, reach: float) -> np.ndarray:
    """[pairs] bool, the box lies deep under another that covers all of the cell's surroundings."""
    corner = np.stack(np.divmod(cell, cells.ny), axis=1) * CELL + [cells.x, cells.y]
    low, high = corner - 2 * reach, corner + CELL + 2 * reach
    inside = (boxes[:, :2] - boxes[:, 3:5] <= low) & (boxes[:, :2] + boxes[:, 3:5] >= high)
    covers, tops = inside.all(1), boxes[:, 2] + boxes[:, 5]
    highest = np.full(cells.nx * cells.ny, -np.inf)
    np.maximum.at(highest, cell[covers], tops[covers])
    return tops < highest[cell] - _BURIED


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

"""The tables of the ground, from the geoms that MuJoCo would have on each column of the terrain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mujoco
import numpy as np

from legged_ppo.errors import ConfigError
from legged_ppo.sim.simd.ground import Ground
from legged_ppo.sim.simd.robot import Robot
from legged_ppo.terrain.grid import Terrain

CELL = 0.25
"""m"""
_MARGIN = 1.0
"""m of cells around the tiles; the outermost cells hold for everything beyond."""
_BURIED = 0.03
"""m under the top of a box at which another is out of reach for whatever does not sink in so far."""
_LARGEST_INDEX = 2**24
"""Positions in tables are float32 while they are computed."""


@dataclass
class _Field:
    """A height field."""

    low: np.ndarray
    """[2] m, low corner"""
    heights: np.ndarray
    """[rows, columns] m"""
    spacing: float
    """m"""

    @property
    def high(self) -> np.ndarray:
        return self.low + self.spacing * (np.array(self.heights.shape[::-1]) - 1)


@dataclass
class _Column:
    """The geoms of one column."""

    plane: float
    boxes: np.ndarray
    """[boxes, 6] centre, half edges"""
    fields: list[_Field]


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
    columns = [_read_column(terrain, index) for index in range(len(terrain.types))]
    size = terrain.config.tile_size
    x, y = -_MARGIN, -_MARGIN
    nx = int(np.ceil((len(columns) * size + 2 * _MARGIN) / CELL))
    ny = int(np.ceil((terrain.num_levels * size + 2 * _MARGIN) / CELL))
    centres = x + (np.arange(nx) + 0.5) * CELL
    owner = np.clip((centres // size).astype(int), 0, len(columns) - 1)
    cells = _Cells(nx, ny, x, y, owner)
    ground = Ground(
        x=x,
        y=y,
        inverse_cell=1 / CELL,
        last_x=nx - 1.0,
        last_y=ny - 1.0,
        cell_plane=np.repeat([columns[i].plane for i in owner], ny),
    )
    _add_boxes(ground, cells, columns, reach)
    _add_fields(ground, cells, columns, reach)
    ground.cell_high = _highest(cells, ground, columns, max(reach.sphere, reach.capsule))
    for name in ("near_boxes", "far_boxes", "heights"):
        if getattr(ground, name).size > _LARGEST_INDEX:
            raise ConfigError("sim.engine", "simd", f"mujoco_c, or fewer tiles: too many {name}")
    return ground


def _read_column(terrain: Terrain, index: int) -> _Column:
    spec = mujoco.MjSpec()
    terrain.add_to(spec, column=index)
    model = spec.compile()
    plane, boxes, fields = 0.0, [], []
    for geom in range(model.ngeom):
        position, size = model.geom_pos[geom], model.geom_size[geom]
        kind = mujoco.mjtGeom(int(model.geom_type[geom]))
        if not np.array_equal(model.geom_quat[geom], [1, 0, 0, 0]):
            raise _unknown("a tilted geom", terrain, index)
        if kind == mujoco.mjtGeom.mjGEOM_PLANE:
            plane = float(position[2])
        elif kind == mujoco.mjtGeom.mjGEOM_BOX:
            boxes.append(np.concatenate([position, size]))
        elif kind == mujoco.mjtGeom.mjGEOM_HFIELD:
            fields.append(_read_field(model, geom))
        else:
            raise _unknown(f"a {kind.name.removeprefix('mjGEOM_').lower()}", terrain, index)
    return _Column(plane, np.array(boxes).reshape(-1, 6), fields)


def _unknown(what: str, terrain: Terrain, index: int) -> ConfigError:
    return ConfigError("sim.engine", "simd", f"mujoco_c: {terrain.types[index]} has {what}")


def _read_field(model: mujoco.MjModel, geom: int) -> _Field:
    field = int(model.geom_dataid[geom])
    rows, columns = int(model.hfield_nrow[field]), int(model.hfield_ncol[field])
    half_x, half_y, peak, _ = model.hfield_size[field]
    start = int(model.hfield_adr[field])
    data = model.hfield_data[start : start + rows * columns].reshape(rows, columns)
    position = model.geom_pos[geom]
    low, spacing = position[:2] - [half_x, half_y], float(2 * half_x / (columns - 1))
    return _Field(low, position[2] + peak * data, spacing)


@dataclass
class _Cells:
    """The grid of cells."""

    nx: int
    ny: int
    x: float
    y: float
    owner: np.ndarray
    """[nx], column of the terrain"""

    def span(self, low: np.ndarray, high: np.ndarray) -> tuple[slice, slice]:
        """Cells that touch a rectangle."""
        first = np.floor((low - [self.x, self.y]) / CELL).astype(int)
        last = np.floor((high - [self.x, self.y]) / CELL).astype(int) + 1
        shape = [self.nx, self.ny]
        # What lies beyond the cells belongs to the outermost ones.
        first, last = np.clip(first, 0, np.array(shape) - 1), np.clip(last, 1, shape)
        return slice(first[0], last[0]), slice(first[1], last[1])


def _add_boxes(ground: Ground, cells: _Cells, columns: list[_Column], reach: Reach) -> None:
    ground.boxes = np.concatenate([column.boxes for column in columns])
    owners = np.repeat(np.arange(len(columns)), [len(column.boxes) for column in columns])
    near, far = (_listed(ground.boxes, owners, cells, r) for r in (reach.sphere, reach.capsule))
    ground.near_boxes, ground.near_room = near, near.shape[-1]
    ground.far_boxes, ground.far_room = far, far.shape[-1]


def _listed(boxes: np.ndarray, owners: np.ndarray, cells: _Cells, reach: float) -> np.ndarray:
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
    boxes: np.ndarray, found: list[int], place: int, cells: _Cells, reach: float
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


def _add_fields(ground: Ground, cells: _Cells, columns: list[_Column], reach: Reach) -> None:
    at = np.full((cells.nx, cells.ny), -1.0)
    rows: list[list[float]] = []
    heights, start = [], 0
    for owner, column in enumerate(columns):
        for field in column.fields:
            # Tiles meet at their rims, which are flat at 0 like the plane: a cell's middle decides.
            across, along = cells.span(field.low + CELL / 2, field.high - CELL / 2)
            own = at[across, along]
            own[cells.owner[across] == owner] = len(rows)
            shape = field.heights.shape
            rows.append([*field.low, field.spacing, shape[1], shape[0], start])
            heights.append(field.heights.ravel())
            start += field.heights.size
    ground.cell_field = at
    finest = min((f.spacing for column in columns for f in column.fields), default=1.0)
    ground.sphere_span, ground.capsule_span = (
        int(2 * length / finest) + 2 for length in (reach.sphere, reach.capsule)
    )
    ground.fields = np.array(rows)
    ground.heights = np.concatenate(heights) if heights else np.zeros(0)


def _highest(cells: _Cells, ground: Ground, columns: list[_Column], reach: float) -> np.ndarray:
    """[nx, ny], highest ground within `reach` of each cell."""
    high = ground.cell_plane.reshape(cells.nx, cells.ny).copy()
    for box, owner in _with_owner(columns, lambda column: list(column.boxes)):
        span = cells.span(box[:2] - box[3:5] - reach, box[:2] + box[3:5] + reach)
        _raise(high, span, cells, owner, box[2] + box[5])
    for field, owner in _with_owner(columns, lambda column: column.fields):
        vertices = int(np.ceil((CELL + 2 * reach) / field.spacing)) + 1
        rows, across = field.heights.shape
        for i in range(0, across, vertices):
            for j in range(0, rows, vertices):
                patch = field.heights[j : j + vertices + 1, i : i + vertices + 1]
                first = field.low + field.spacing * np.array([i, j])
                last = first + field.spacing * (np.array(patch.shape[::-1]) - 1)
                span = cells.span(first - reach, last + reach)
                _raise(high, span, cells, owner, float(patch.max()))
    return high


def _with_owner(columns: list[_Column], of: Callable[[_Column], list]) -> list[tuple]:
    return [(each, owner) for owner, column in enumerate(columns) for each in of(column)]


def _raise(
    high: np.ndarray, span: tuple[slice, slice], cells: _Cells, owner: int, top: float
) -> None:
    part = high[span]
    mine = cells.owner[span[0]] == owner
    part[mine] = np.maximum(part[mine], top)

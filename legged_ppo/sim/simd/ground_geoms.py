"""The geoms that MuJoCo would have on a column of the terrain, as arrays."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from legged_ppo.errors import ConfigError
from legged_ppo.terrain.grid import Terrain


@dataclass
class Field:
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
class Column:
    """The geoms of one column."""

    plane: float
    boxes: np.ndarray
    """[boxes, 6] centre, half edges"""
    fields: list[Field]


def read_column(terrain: Terrain, index: int) -> Column:
    """The geoms of one column of the terrain.

    Raises:
        ConfigError: a geom that the engine does not know.
    """
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
    return Column(plane, np.array(boxes).reshape(-1, 6), fields)


def _unknown(what: str, terrain: Terrain, index: int) -> ConfigError:
    return ConfigError("sim.engine", "simd", f"mujoco_c: {terrain.types[index]} has {what}")


def _read_field(model: mujoco.MjModel, geom: int) -> Field:
    field = int(model.geom_dataid[geom])
    rows, columns = int(model.hfield_nrow[field]), int(model.hfield_ncol[field])
    half_x, half_y, peak, _ = model.hfield_size[field]
    start = int(model.hfield_adr[field])
    data = model.hfield_data[start : start + rows * columns].reshape(rows, columns)
    position = model.geom_pos[geom]
    low, spacing = position[:2] - [half_x, half_y], float(2 * half_x / (columns - 1))
    return Field(low, position[2] + peak * data, spacing)

"""The ground as the engine's memory holds it: some numbers and tables, the same for all robots.

Square cells over the terrain say what a robot there may touch: the height of the plane, boxes, a height field.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from legged_ppo.runtime.lanes.values import Emitter


def _no_entries() -> np.ndarray:
    return np.zeros(0)


@dataclass
class Ground:
    """Lengths in m, in the world; a position in a cell's list that holds nothing is -1."""

    plane: float = 0.0
    """Height of the plane where there is nothing else anywhere."""
    x: float = 0.0
    """Low corner of the cells."""
    y: float = 0.0
    cell: float = 1.0
    """Edge of a cell."""
    last_x: float = 0.0
    """Index of the last cell along x."""
    last_y: float = 0.0
    near_room: int = 0
    """Positions in a cell's list of boxes that a sphere in it may touch."""
    far_room: int = 0
    """Positions in its list of boxes that a capsule with its middle in it may touch."""
    sphere_span: int = 0
    """Cells of a height field, along an axis, that the largest sphere reaches over."""
    capsule_span: int = 0
    """Likewise the longest capsule."""
    cell_plane: np.ndarray = field(default_factory=_no_entries)
    """[cells] height of the plane there"""
    cell_bound: np.ndarray = field(default_factory=_no_entries)
    """[cells, 4] a plane that no ground rises above which a collider with its middle there can reach sideways:
    its height at the cell's middle, its slopes along x and y; 0"""
    cell_field: np.ndarray = field(default_factory=_no_entries)
    """[cells]"""
    near_boxes: np.ndarray = field(default_factory=_no_entries)
    """[cells, near_room]"""
    far_boxes: np.ndarray = field(default_factory=_no_entries)
    """[cells, far_room]"""
    boxes: np.ndarray = field(default_factory=_no_entries)
    """[boxes, 8] centre (whole metres of x and y, the rest of x and y, z), half edges"""
    fields: np.ndarray = field(default_factory=_no_entries)
    """[fields, 8] see `height_fields.Field`; 0, 0"""
    cell_heights: np.ndarray = field(default_factory=_no_entries)
    """[cells of all fields, 4] row by row: heights at the low corner, one on along x, along y, along both"""

    def packed(self) -> tuple[np.ndarray, list[np.ndarray]]:
        """Addresses [numbers, indices, tables...] as `EmittedGround` reads them, and their arrays."""
        values = (
            [getattr(self, name) for name in _NUMBERS],
            [getattr(self, name) for name in _INDICES],
        )
        arrays = [np.array(values[0], dtype=np.float32), np.array(values[1], dtype=np.int32)]
        arrays += [np.ascontiguousarray(getattr(self, name), dtype=np.float32) for name in _TABLES]
        return np.array([array.ctypes.data for array in arrays], dtype=np.uint64), arrays


_NUMBERS = [each.name for each in fields(Ground) if each.type == "float"]
_INDICES = [each.name for each in fields(Ground) if each.type == "int"]
_TABLES = [each.name for each in fields(Ground) if each.type == "np.ndarray"]


class EmittedGround:
    """A `Ground` behind a pointer: what is used is loaded where it is used."""

    def __init__(self, m: Emitter, pointer: Any) -> None:
        self._m, self._pointer = m, pointer

    def __getattr__(self, name: str) -> Any:
        m = self._m
        if name in _NUMBERS:
            return m.load_number(m.load_pointer(self._pointer, 0), _NUMBERS.index(name))
        if name in _INDICES:
            return m.load_index(m.load_pointer(self._pointer, 1), _INDICES.index(name))
        return m.load_pointer(self._pointer, 2 + _TABLES.index(name))

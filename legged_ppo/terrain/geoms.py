"""Conversion of tiles to the geoms of a MuJoCo model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from legged_ppo.terrain.tile import Box, Tile

_BASE_THICKNESS = 0.5
"""Depth [m] of solid ground below a height field, so that a fast foot cannot pass through."""
SURFACE: dict[str, Any] = {
    "contype": 1,
    "conaffinity": 0,
    "condim": 3,
    "group": 0,
    "priority": 0,
    "friction": [0.8, 0.02, 0.01],
    "margin": 0.0,
    "gap": 0.0,
    "solmix": 1.0,
    "solref": [0.02, 1.0],
    "solimp": [0.9, 0.95, 0.001, 0.5, 2.0],
}
"""Attributes set explicitly, because a geom would inherit them from the default class of the robot's MJCF."""


@dataclass(frozen=True)
class PlacedTile:
    """A tile at a position in the world."""

    name: str
    tile: Tile
    centre: tuple[float, float]
    """m"""


def add_ground(
    spec: mujoco.MjSpec, placed: Sequence[PlacedTile], size: float, border: float
) -> None:
    """Add adjacent tiles that cover a rectangle, and flat ground around them.

    Args:
        size: edge [m] of a tile.
        border: width [m] of the flat ground around the tiles if any of them is sunken; otherwise an infinite
            plane surrounds them.
    """
    look = _ground_material(spec)
    floor = min(each.tile.floor for each in placed)
    # Measured: robots stumble on height fields at 0 without the plane under them.
    sunken = any(each.tile.sunken for each in placed)
    spec.worldbody.add_geom(
        name="ground",
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        size=[0, 0, 1],
        pos=[0, 0, floor - _BASE_THICKNESS if sunken else 0.0],
        material=look,
        **SURFACE,
    )
    if sunken:
        centres = np.array([each.centre for each in placed])
        low, high = centres.min(0) - size / 2, centres.max(0) + size / 2
        _add_border(spec, low, high, border, floor - _BASE_THICKNESS, look)
    half = size / 2
    for each in placed:
        origin = np.array([*each.centre, 0.0])
        if each.tile.patch is not None:
            _add_field(spec, each.name, each.tile.patch, origin, size, look)
        elif sunken and not each.tile.sunken:
            slab = Box((-half, -half, floor - _BASE_THICKNESS), (half, half, 0.0))
            _add_box(spec, f"{each.name}:slab", slab, origin, look)
        for i, box in enumerate(each.tile.boxes):
            if not box.empty:
                _add_box(spec, f"{each.name}:{i}", box, origin, look)


def _add_border(
    spec: mujoco.MjSpec, low: np.ndarray, high: np.ndarray, width: float, bottom: float, look: str
) -> None:
    """Add four boxes around a rectangle, with tops at height 0."""
    (x0, y0), (x1, y1) = low, high
    for name, near, far in (
        ("left", (x0 - width, y0 - width), (x0, y1 + width)),
        ("right", (x1, y0 - width), (x1 + width, y1 + width)),
        ("near", (x0, y0 - width), (x1, y0)),
        ("far", (x0, y1), (x1, y1 + width)),
    ):
        box = Box((*near, bottom), (*far, 0.0))
        _add_box(spec, f"border:{name}", box, np.zeros(3), look)


def _add_box(spec: mujoco.MjSpec, name: str, box: Box, origin: np.ndarray, look: str) -> None:
    low, high = np.array(box.low), np.array(box.high)
    spec.worldbody.add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=(high - low) / 2,
        pos=origin + (high + low) / 2,
        material=look,
        **SURFACE,
    )


def add_field_data(spec: mujoco.MjSpec, name: str, patch: np.ndarray, size: float) -> None:
    """Add the heights of a tile with edge `size` m as a height-field asset that geoms can refer to."""
    low = float(patch.min())
    peak = max(float(patch.max()) - low, 1e-3)
    spec.add_hfield(
        name=name,
        size=[size / 2, size / 2, peak, _BASE_THICKNESS],
        nrow=patch.shape[1],
        ncol=patch.shape[0],
        userdata=((patch.T - low) / peak).ravel(),  # MuJoCo: rows along y, columns along x
    )


def _add_field(
    spec: mujoco.MjSpec, name: str, patch: np.ndarray, origin: np.ndarray, size: float, look: str
) -> None:
    add_field_data(spec, name, patch, size)
    spec.worldbody.add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_HFIELD,
        hfieldname=name,
        pos=origin + np.array([0.0, 0.0, float(patch.min())]),
        material=look,
        **SURFACE,
    )


def _ground_material(spec: mujoco.MjSpec) -> str:
    texture = spec.add_texture(
        name="ground",
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
        rgb1=[0.36, 0.42, 0.46],
        rgb2=[0.30, 0.35, 0.39],
        width=300,
        height=300,
    )
    material = spec.add_material(name="ground", texrepeat=[1, 1], texuniform=True, reflectance=0.0)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = texture.name
    return material.name

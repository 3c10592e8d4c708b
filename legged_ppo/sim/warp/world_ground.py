"""Ground of worlds with one tile each: the same number of geoms, with positions and sizes per world.

MuJoCo Warp tests every geom of a robot against every geom of the ground in each substep. A model of the whole
grid has a thousand ground geoms; this ground has as many as the tile with the most.
"""

from __future__ import annotations

import mujoco
import numpy as np

from legged_ppo.terrain.geoms import SURFACE, PlacedTile, add_field_data, add_ground
from legged_ppo.terrain.grid import Terrain

MODEL_FIELDS = ("geom_size", "geom_aabb", "geom_rbound", "geom_dataid")
"""Model fields that differ between tiles, besides `geom_pos`."""
_PLANE, _BOX, _FIELD = (
    int(kind)
    for kind in (
        mujoco.mjtGeom.mjGEOM_PLANE,
        mujoco.mjtGeom.mjGEOM_BOX,
        mujoco.mjtGeom.mjGEOM_HFIELD,
    )
)
_AWAY = -1000.0
"""Height [m] of the geoms that a tile does not use."""


class WorldGround:
    """Geom slots (planes, boxes, height fields) that can represent any tile of a terrain."""

    def __init__(self, terrain: Terrain) -> None:
        self._terrain = terrain
        self._tiles = [tile for column in terrain.tiles for tile in column]
        self._grounds = [self._compile(number) for number in range(len(self._tiles))]
        counts = [np.bincount(model.geom_type, minlength=8) for model in self._grounds]
        most = np.max(counts, axis=0)
        self._slot_types = [k for k in (_PLANE, _BOX, _FIELD) for _ in range(most[k])]

    def add_to(self, spec: mujoco.MjSpec) -> None:
        """Add the slots, far below the ground, and all height fields."""
        size = self._terrain.config.tile_size
        for number, tile in enumerate(self._tiles):
            if tile.patch is not None:
                add_field_data(spec, _field_name(number), tile.patch, size)
        first = next((i for i, tile in enumerate(self._tiles) if tile.patch is not None), 0)
        for slot, kind in enumerate(self._slot_types):
            spec.worldbody.add_geom(
                name=_slot_name(slot),
                type=mujoco.mjtGeom(kind),
                size=[0, 0, 1] if kind == _PLANE else [0.1, 0.1, 0.1],
                pos=[0, 0, _AWAY],
                hfieldname=_field_name(first) if kind == _FIELD else "",
                **SURFACE,
            )

    def geoms(self, model: mujoco.MjModel) -> slice:
        """Slice of the slots among the geoms of a model with this ground."""
        first = model.geom(_slot_name(0)).id
        return slice(first, first + len(self._slot_types))

    def tables(self, model: mujoco.MjModel) -> dict[str, np.ndarray]:
        """`geom_pos` and `MODEL_FIELDS` of the slots on every tile, [tiles, slots, ...], float32 and int32.

        Args:
            model: compiled with this ground.
        """
        ours = self.geoms(model)
        tables = {
            name: np.stack([getattr(model, name)[ours]] * len(self._tiles))
            for name in ("geom_pos", *MODEL_FIELDS)
        }
        for number, ground in enumerate(self._grounds):
            for kind in (_PLANE, _BOX, _FIELD):
                geoms = np.flatnonzero(ground.geom_type == kind)
                slots = np.flatnonzero(np.array(self._slot_types) == kind)[: len(geoms)]
                for name, table in tables.items():
                    table[number, slots] = getattr(ground, name)[geoms]
                if kind == _FIELD and len(geoms):
                    tables["geom_dataid"][number, slots] = model.hfield(_field_name(number)).id
        tables["geom_aabb"] = tables["geom_aabb"].reshape(*tables["geom_aabb"].shape[:2], 2, 3)
        return {
            name: table.astype(np.int32 if table.dtype.kind == "i" else np.float32)
            for name, table in tables.items()
        }

    def _compile(self, number: int) -> mujoco.MjModel:
        """Compile one tile at its position in the grid, with flat ground around it."""
        terrain = self._terrain
        column, level = divmod(number, terrain.num_levels)
        size = terrain.config.tile_size
        spec = mujoco.MjSpec()
        centre = ((column + 0.5) * size, (level + 0.5) * size)
        placed = [PlacedTile("tile", terrain.tiles[column][level], centre)]
        add_ground(spec, placed, size, terrain.config.border)
        return spec.compile()


def _slot_name(slot: int) -> str:
    return f"ground:{slot}"


def _field_name(number: int) -> str:
    return f"tile:{number}"

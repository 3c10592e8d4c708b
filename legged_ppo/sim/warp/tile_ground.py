"""The ground geoms of every world, as those of the tile of its robot."""

from __future__ import annotations

from collections.abc import Mapping

import mujoco
import torch
import warp as wp

from legged_ppo.sim.warp.kernels import place_ground
from legged_ppo.sim.warp.world_ground import MODEL_FIELDS, WorldGround

_VECTORS = ("geom_pos", "geom_size", "geom_aabb")


class TileGround:
    """Writes places and sizes of the slots of `WorldGround`.

    Args:
        model: compiled with these slots.
        fields: `MODEL_FIELDS` and `geom_pos` of all geoms, [N, geoms, ...]
    """

    def __init__(
        self, slots: WorldGround, model: mujoco.MjModel, fields: Mapping[str, torch.Tensor]
    ) -> None:
        names, where = ("geom_pos", *MODEL_FIELDS), slots.geoms(model)
        self._kinds = [wp.vec3 if name in _VECTORS else None for name in names]
        self._placed = [fields[name][:, where] for name in names]
        device, tables = self._placed[0].device, slots.tables(model)
        self._tables = [torch.as_tensor(tables[name], device=device) for name in names]
        self.tiles = torch.zeros(len(self._placed[0]), dtype=torch.int32, device=device)
        """[N], see `Simulator.assign`"""

    def launch(self) -> None:
        """Place the ground of every robot's tile."""
        tables, fields = (
            [wp.from_torch(x, kind) for x, kind in zip(tensors, self._kinds, strict=True)]
            for tensors in (self._tables, self._placed)
        )
        inputs, shape = [wp.from_torch(self.tiles), *tables], self._placed[0].shape[:2]
        device = wp.device_from_torch(self.tiles.device)
        wp.launch(place_ground, shape, inputs, fields, device=device)

"""Depth images of the terrain from any pose: rays marched on tensors."""

from __future__ import annotations

import math

import torch

from legged_ppo.sensors.ray_march import Ray, TorchMachine, advance, start
from legged_ppo.terrain.grid import Terrain
from legged_ppo.terrain.surface import build_surface

_MOST_STEPS = 128
"""Steps after which a ray ends where it is, near a grazed edge."""


def pixel_directions(rows: int, columns: int, horizontal_fov_deg: float) -> torch.Tensor:
    """[3, rows * columns], directions of the pixels' middles: x forward of length 1, y left, z up."""
    half = math.tan(math.radians(horizontal_fov_deg) / 2)
    y = half * (1.0 - (2.0 * torch.arange(columns) + 1.0) / columns)
    z = half * (rows / columns) * (1.0 - (2.0 * torch.arange(rows) + 1.0) / rows)
    left = y.expand(rows, columns).reshape(-1)
    up = z[:, None].expand(rows, columns).reshape(-1)
    return torch.stack([torch.ones(rows * columns), left, up])


class DepthRenderer:
    """Depth images of the ground on which robots are; tiles repeat as they do for the robots.

    Args:
        directions: [3, P], see `pixel_directions`.
        far: depth [m] at which rays end.
    """

    def __init__(
        self, terrain: Terrain, directions: torch.Tensor, far: float, device: torch.device
    ) -> None:
        surface = build_surface(terrain)
        self._cells, self._scale = surface.cells, 1.0 / surface.cell_size
        self._planes = torch.from_numpy(surface.planes).to(device)  # [tiles, cells, 4]
        self._directions, self._far = directions.to(device), far
        levels = terrain.num_levels
        tiles = torch.arange(len(self._planes), device=device)
        corners = torch.stack([tiles // levels, tiles % levels], dim=1)
        self._corners = corners.float() * terrain.config.tile_size  # [tiles, 2] m

    def __call__(
        self, position: torch.Tensor, rotation: torch.Tensor, tile: torch.Tensor
    ) -> torch.Tensor:
        """Depths [n, P] m along the optical axis, at most `far`.

        Args:
            position: [n, 3] m, of the cameras in the world.
            rotation: [n, 3, 3], columns: optical axis, left and up in the world.
            tile: [n] int64, each robot's tile.
        """
        local = (position[:, :2] - self._corners[tile]) * self._scale
        local = local.remainder(self._cells)
        origin = torch.cat([local, position[:, 2:]], dim=1)
        return self._march(origin, rotation, tile)

    def _march(
        self, origin: torch.Tensor, rotation: torch.Tensor, tile: torch.Tensor
    ) -> torch.Tensor:
        """Depths [n, P] m of cameras at [n, 3], in cells from the tile's corner and m."""
        m, table = TorchMachine(), self._planes.view(-1, 4)
        ray = self._rays(origin, rotation)
        first = (tile * self._planes.shape[1])[:, None]
        at = start(m, torch.zeros_like(ray.direction[0]), torch.ones_like(ray.ahead[0]) > 0)
        for _ in range(_MOST_STEPS):
            at = advance(m, ray, at, (table, first), self._cells, self._far)
        return at.depth.clamp(max=self._far)

    def _rays(self, origin: torch.Tensor, rotation: torch.Tensor) -> Ray:
        scale = torch.tensor([self._scale, self._scale, 1.0], device=origin.device)
        dx, dy, dz = ((rotation @ self._directions) * scale[:, None]).unbind(1)  # [n, P] each
        ox, oy, oz = origin[:, :, None].unbind(1)
        dx, dy = (torch.where(d.abs() < 1e-6, 1e-6, d) for d in (dx, dy))
        ahead = ((dx > 0).float(), (dy > 0).float())
        return Ray((ox, oy, oz), (dx, dy, dz), (1.0 / dx, 1.0 / dy), ahead)

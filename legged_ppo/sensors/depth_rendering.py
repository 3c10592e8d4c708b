"""Depth images of the terrain from any pose."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from legged_ppo.sensors.ray_march import MOST_STEPS, TorchMachine, advance, ray_of, start
from legged_ppo.terrain.grid import Terrain
from legged_ppo.terrain.surface import build_surface

if TYPE_CHECKING:
    from legged_ppo.sensors.compiled_march import CompiledMarch


def pixel_directions(rows: int, columns: int, horizontal_fov_deg: float) -> torch.Tensor:
    """[3, rows * columns], directions of the pixels' middles: x forward of length 1, y left, z up."""
    half = math.tan(math.radians(horizontal_fov_deg) / 2)
    y = half * (1.0 - (2.0 * torch.arange(columns) + 1.0) / columns)
    z = half * (rows / columns) * (1.0 - (2.0 * torch.arange(rows) + 1.0) / rows)
    left = y.expand(rows, columns).reshape(-1)
    up = z[:, None].expand(rows, columns).reshape(-1)
    return torch.stack([torch.ones(rows * columns), left, up])


class TorchMarch:
    """Depths of the rays through pixels, by tensor operations on any device; see `CompiledMarch`."""

    def __init__(
        self, planes: torch.Tensor, cells: int, directions: torch.Tensor, far: float
    ) -> None:
        self._table, self._count = planes.view(-1, 4), planes.shape[1]
        self._cells, self._directions, self._far = cells, directions, far

    def __call__(
        self, origin: torch.Tensor, rotation: torch.Tensor, tile: torch.Tensor
    ) -> torch.Tensor:
        """See `CompiledMarch`. Every ray makes as many steps as any may need: on a GPU, to ask whether all have
        ended would wait for it."""
        m = TorchMachine()
        direction = (rotation @ self._directions).unbind(1)  # [n, P] each
        ray = ray_of(m, origin[:, :, None].unbind(1), direction)
        first = (tile * self._count)[:, None]
        zero = torch.zeros_like(direction[0])
        at = start(zero, torch.ones_like(zero, dtype=torch.bool))
        for _ in range(MOST_STEPS):
            at = advance(m, ray, at, (self._table, first), self._cells, self._far)
        return at.depth.clamp(max=self._far)


class DepthRenderer:
    """Depth images of the ground on which robots are; tiles repeat as they do for the robots.

    Args:
        directions: [3, P], see `pixel_directions`.
        far: depth [m] at which rays end.
        threads: of a CPU.
    """

    def __init__(
        self,
        terrain: Terrain,
        directions: torch.Tensor,
        far: float,
        device: torch.device,
        threads: int = 1,
    ) -> None:
        surface = build_surface(terrain)
        self._cells, scale = surface.cells, 1.0 / surface.cell_size
        planes = torch.from_numpy(surface.planes).to(device)
        directions = directions.to(device)
        self._march = _march(planes, self._cells, directions, far, threads)
        self._scale = torch.tensor([scale, scale, 1.0], device=device)
        levels = terrain.num_levels
        tiles = torch.arange(len(planes), device=device)
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
        local = (position[:, :2] - self._corners[tile]) * self._scale[:2]
        origin = torch.cat([local.remainder(self._cells), position[:, 2:]], dim=1)
        return self._march(origin, rotation * self._scale[:, None], tile)


def _march(
    planes: torch.Tensor, cells: int, directions: torch.Tensor, far: float, threads: int
) -> CompiledMarch | TorchMarch:
    """The faster one on the planes' device."""
    if planes.device.type != "cpu":
        return TorchMarch(planes, cells, directions, far)
    # Here, because other devices need no LLVM.
    from legged_ppo.sensors.compiled_march import CompiledMarch

    return CompiledMarch(planes, cells, directions, far, threads)

"""Ground heights on a device; each robot's tile repeats periodically."""

from __future__ import annotations

import torch

from legged_ppo.terrain.grid import Terrain


class HeightMap:
    """Bilinear height queries.

    The tile of each robot repeats periodically in x and y: a position beyond an edge has the height at
    the corresponding position inside the opposite edge, where a robot that crosses the edge re-enters.
    """

    def __init__(self, terrain: Terrain, device: torch.device) -> None:
        z = torch.as_tensor(terrain.heights, dtype=torch.float32, device=device)
        # The four corners of each cell are contiguous, so a query needs one gather instead of four.
        corners = [z[..., :-1, :-1], z[..., :-1, 1:], z[..., 1:, :-1], z[..., 1:, 1:]]
        self._corners = torch.stack(corners, dim=-1).reshape(-1, 4)
        self._cells = z.shape[-1] - 1
        self._size = terrain.config.tile_size
        self._scale = self._cells / self._size
        levels = z.shape[1]
        tiles = torch.arange(z.shape[0] * levels, device=device)
        index = torch.stack([tiles // levels, tiles % levels], dim=1)
        self._tile_corners = index.float() * self._size  # [tiles, 2]

    def __call__(self, xy: torch.Tensor, tile: torch.Tensor) -> torch.Tensor:
        """Ground height [m] at world positions.

        Args:
            xy: [N, K, 2] m.
            tile: [N] int64, type times `num_levels` plus level of each robot's tile.

        Returns:
            [N, K] m.
        """
        grid = (xy - self._tile_corners[tile].unsqueeze(1)).mul_(self._scale)
        grid = grid.remainder_(self._cells)
        # In float32 a remainder can round up to the divisor itself.
        cell = grid.floor().clamp_(max=self._cells - 1)
        fx, fy = (grid - cell).unbind(-1)
        x, y = cell.long().unbind(-1)
        index = (tile.unsqueeze(1) * self._cells + x) * self._cells + y
        corners = torch.nn.functional.embedding(index, self._corners)  # faster than indexing
        z00, z01, z10, z11 = corners.unbind(-1)
        near = torch.lerp(z00, z01, fy)
        return torch.lerp(near, torch.lerp(z10, z11, fy), fx)

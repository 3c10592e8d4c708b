"""Ground heights on a device; each robot's tile repeats periodically."""

from __future__ import annotations

import torch

from legged_ppo.terrain.grid import Terrain

_EDGE = 0.05
"""Difference [m] of the heights at the corners of a cell from which an edge runs through it."""


class HeightMap:
    """Bilinear height queries.

    The tile of each robot repeats periodically in x and y: a position beyond an edge has the height at
    the corresponding position inside the opposite edge, where a robot that crosses the edge re-enters.
    """

    def __init__(self, terrain: Terrain, device: torch.device) -> None:
        z = torch.as_tensor(terrain.heights, dtype=torch.float32, device=device)
        # The four corners of each cell are contiguous, so a query needs one gather instead of four.
        corners = [z[..., :-1, :-1], z[..., :-1, 1:], z[..., 1:, :-1], z[..., 1:, 1:]]
        stacked = torch.stack(corners, dim=-1)
        self._corners = stacked.reshape(-1, 4)
        self.edges = _with_neighbours(stacked.amax(-1) - stacked.amin(-1) > _EDGE).flatten()
        """[cells of all tiles] bool, near an edge"""
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
        index, fractions = self._find_cells(xy, tile)
        fx, fy = fractions.unbind(-1)
        corners = torch.nn.functional.embedding(index, self._corners)  # faster than indexing
        z00, z01, z10, z11 = corners.unbind(-1)
        near = torch.lerp(z00, z01, fy)
        return torch.lerp(near, torch.lerp(z10, z11, fy), fx)

    def near_edge(self, xy: torch.Tensor, tile: torch.Tensor) -> torch.Tensor:
        """[N, K] bool, whether an edge, a step of 5 cm within a cell, runs through the cell of each position or
        through one beside it; arguments as of a height query."""
        return self.edges[self._find_cells(xy, tile)[0]]

    def _find_cells(
        self, xy: torch.Tensor, tile: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Numbers [N, K] of the cells at world positions, and the positions inside them [N, K, 2] in [0, 1]."""
        grid = (xy - self._tile_corners[tile].unsqueeze(1)).mul_(self._scale)
        grid = grid.remainder_(self._cells)
        # In float32 a remainder can round up to the divisor itself.
        cell = grid.floor().clamp_(max=self._cells - 1)
        x, y = cell.long().unbind(-1)
        return (tile.unsqueeze(1) * self._cells + x) * self._cells + y, grid - cell


def _with_neighbours(cells: torch.Tensor) -> torch.Tensor:
    """`cells` [..., X, Y] bool or one of their eight neighbours, on tiles that repeat."""
    for axis in (-2, -1):
        cells = cells | cells.roll(1, axis) | cells.roll(-1, axis)
    return cells

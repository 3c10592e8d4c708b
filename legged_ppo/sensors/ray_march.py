"""One step of a ray over the planes of `terrain.surface`, written once for all machines.

`m` is a machine of numbers: `sim.simd.llvm_machine` emits the code for CPUs, `TorchMachine` computes with tensors
on any device. A ray is o + t d; lengths are in finest cells horizontally and in m vertically, and t is the depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch

from legged_ppo.terrain.surface import LEVELS, STRIDE

Number = Any
Mask = Any

_COARSEST = float(STRIDE ** (LEVELS - 1))
_AHEAD = 1e-3
"""Finest cells ahead of a ray at which its cell is looked up: on an edge it is in the cell that it enters, whatever
the rounding, so that it always goes on."""
_LEAST_SLOPE = 1e-6
"""Cells of a horizontal direction below which its reciprocal would overflow."""
_NEVER = 1e9
MOST_STEPS = 64
"""Steps after which a ray ends where it is: 3 in 100,000 on `terrain=full`, all along grazed edges."""


@dataclass(frozen=True)
class Ray:
    """Rays that start at o in direction d; the direction is 1 along the optical axis."""

    origin: tuple[Number, Number, Number]
    direction: tuple[Number, Number, Number]
    inverse: tuple[Number, Number]
    """1 / d of x and y"""
    rises: tuple[Number, Number]
    """1 where d is positive, else 0, of x and y"""
    lead: tuple[Number, Number]
    """`_AHEAD` in the direction of x and y"""


@dataclass(frozen=True)
class Position:
    """How far rays have come: depth t, edge of the cells they are among, and whether they have not ended."""

    depth: Number
    cell: Number
    going: Mask


def ray_of(m: Any, origin: Sequence[Number], direction: Sequence[Number]) -> Ray:
    """Rays in a direction whose horizontal parts may be 0."""
    dx, dy, dz = direction
    dx, dy = (m.select(m.maximum(d, -d) < _LEAST_SLOPE, _LEAST_SLOPE, d) for d in (dx, dy))
    rises = (m.select(dx > 0.0, 1.0, 0.0), m.select(dy > 0.0, 1.0, 0.0))
    lead = (rises[0] * (2 * _AHEAD) - _AHEAD, rises[1] * (2 * _AHEAD) - _AHEAD)
    ox, oy, oz = origin
    return Ray((ox, oy, oz), (dx, dy, dz), (1.0 / dx, 1.0 / dy), rises, lead)


def start(zero: Number, going: Mask) -> Position:
    """At the camera, among the coarsest cells."""
    return Position(zero, zero + _COARSEST, going)


def advance(m: Any, ray: Ray, at: Position, planes: Any, cells: int, far: float) -> Position:
    """Go on to the plane of the present cell, then down a level; or to the cell's edge, then up a level where
    that is an edge of the level above.

    Args:
        planes: what `m.record` reads the tile's planes from.
        cells: finest cells along an edge of the tile, which repeats.
        far: depth [m] at which rays end.
    """
    (ox, oy, oz), (dx, dy, dz) = ray.origin, ray.direction
    t, cell = at.depth, at.cell
    x, y = ox + t * dx, oy + t * dy
    ahead_x, ahead_y = x + ray.lead[0], y + ray.lead[1]
    tile_x, tile_y = (m.floor(p * (1.0 / cells)) * float(cells) for p in (ahead_x, ahead_y))
    own_x, own_y = x - tile_x, y - tile_y
    inverse = _by_level(m, cell, [1.0 / STRIDE**level for level in range(LEVELS)])
    i, j = (
        m.minimum(m.floor(p * inverse), inverse * cells - 1.0)
        for p in (ahead_x - tile_x, ahead_y - tile_y)
    )
    first = _by_level(m, cell, first_planes(cells))
    a, b, c, _ = m.record(planes, (first + i * (inverse * cells) + j) * 4.0, 4)

    edge_x, edge_y = i + ray.rises[0], j + ray.rises[1]
    leaves_x = (edge_x * cell + tile_x - ox) * ray.inverse[0]
    leaves_y = (edge_y * cell + tile_y - oy) * ray.inverse[1]
    leaves = m.minimum(leaves_x, leaves_y)
    above = oz + t * dz - (a + b * own_x + c * own_y)
    climb = dz - (b * dx + c * dy)
    falling = climb < 0.0
    reached = t - above / m.select(falling, climb, -1.0)
    reached = m.select(above > 0.0, m.select(falling, reached, _NEVER), t)
    met = reached < leaves

    finest = cell < 2.0
    next_t = m.select(met, reached, m.maximum(leaves, t))
    edge = m.select(leaves_x < leaves_y, edge_x, edge_y) * (1.0 / STRIDE)
    upward = (m.floor(edge) >= edge) & (cell < _COARSEST)
    next_cell = m.select(met, cell * (1.0 / STRIDE), m.select(upward, cell * float(STRIDE), cell))
    going = at.going
    return Position(
        m.select(going, next_t, t),
        m.select(going, m.maximum(next_cell, 1.0), cell),
        going & ~(met & finest) & (next_t < far),
    )


def _by_level(m: Any, cell: Number, values: Sequence[float]) -> Number:
    """The value of the level that has cells of this edge, from those of all levels."""
    found: Number = values[-1]
    for level in reversed(range(LEVELS - 1)):
        found = m.select(cell < 1.5 * STRIDE**level, values[level], found)
    return found


def first_planes(cells: int) -> list[float]:
    """Number of the first plane of each level."""
    counts = ((cells // STRIDE**level) ** 2 for level in range(LEVELS - 1))
    return list(accumulate(map(float, counts), initial=0.0))


class TorchMachine:
    """Numbers are float32 tensors of one shape, masks bool tensors."""

    select = staticmethod(torch.where)
    floor = staticmethod(torch.floor)

    @staticmethod
    def minimum(a: torch.Tensor, b: Number) -> torch.Tensor:
        return torch.minimum(a, b) if isinstance(b, torch.Tensor) else a.clamp(max=b)

    @staticmethod
    def maximum(a: torch.Tensor, b: Number) -> torch.Tensor:
        return torch.maximum(a, b) if isinstance(b, torch.Tensor) else a.clamp(min=b)

    @staticmethod
    def record(
        planes: tuple[torch.Tensor, torch.Tensor], position: torch.Tensor, count: int
    ) -> tuple[torch.Tensor, ...]:
        """Rows of a table [rows, count], from `(table, first rows)`: positions count numbers, not rows."""
        table, first = planes
        rows = first + (position * (1.0 / count)).long()
        return torch.nn.functional.embedding(rows, table).unbind(-1)

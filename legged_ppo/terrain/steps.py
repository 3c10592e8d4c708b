"""Tiles with vertical faces, made of boxes: stairs, curbs, gaps, pits, hurdles; and stepping stones."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from legged_ppo.terrain.tile import RIM, Box, Tile, centimetres, lerp

_DEPTH = 0.3
"""Thickness [m] of solid ground below the lowest surface."""
_STONE_CELL = (0.025, 0.05)
"""Finest and coarsest cells [m] of stepping stones; half the finest for gaps under 10 cm."""
_STONE_ERROR = 0.004
"""Accepted error [m] of the size of a stone or a gap, in exchange for coarser, faster cells."""


def _square(half: float, bottom: float, top: float) -> Box:
    return Box((-half, -half, bottom), (half, half, top))


def _ring(inner: float, outer: float, bottom: float, top: float) -> list[Box]:
    """Four boxes that form the square ring between two half widths [m]."""
    return [
        Box((-outer, inner, bottom), (outer, outer, top)),
        Box((-outer, -outer, bottom), (outer, -inner, top)),
        Box((inner, -inner, bottom), (outer, inner, top)),
        Box((-outer, -inner, bottom), (-inner, inner, top)),
    ]


@dataclass(frozen=True)
class Stairs:
    """Square stairs around a platform, ascending or descending outwards (legged_gym's pyramid stairs)."""

    size: float
    platform: float
    tread: float
    """Depth [m] of a step."""
    riser: tuple[float, float]
    """Height [m] of a step at difficulty 0 and 1."""
    ascending: bool

    @property
    def steps(self) -> int:
        """Steps between the platform and the rim."""
        return int((self.size / 2 - RIM - self.platform / 2) / self.tread + 1e-6)

    @property
    def spawn_radius(self) -> float:
        """See `TileType.spawn_radius`."""
        return self.platform / 2 - 0.5

    def build(self, difficulty: float, rng: np.random.Generator) -> Tile:
        """See `TileType.build`."""
        riser, steps = lerp(self.riser, difficulty), self.steps
        inner = self.size / 2 - RIM - steps * self.tread
        spawn, feature = self.spawn_radius, centimetres(riser)
        if not self.ascending:
            # Stacked boxes, from the widest step to the platform.
            boxes = [
                _square(inner + (steps - 1 - k) * self.tread, 0.0, (k + 1) * riser)
                for k in range(steps)
            ]
            return Tile(boxes, spawn_radius=spawn, feature=feature)
        floor = -steps * riser - _DEPTH
        boxes = [_square(inner, floor, -steps * riser)]
        for k in range(1, steps):
            edge = inner + k * self.tread
            boxes += _ring(edge - self.tread, edge, floor, (k - steps) * riser)
        boxes += _ring(inner + (steps - 1) * self.tread, self.size / 2, floor, 0.0)
        return Tile(boxes, sunken=True, spawn_radius=spawn, feature=feature)


@dataclass(frozen=True)
class Curbs:
    """Flat-topped rectangular obstacles of 1 to 2 m around the platform [legged_gym: discrete]."""

    size: float
    platform: float
    height: tuple[float, float]
    """Height [m] of the highest obstacle at difficulty 0 and 1; the lowest has half of it."""
    count: int = 16

    @property
    def spawn_radius(self) -> float:
        """See `TileType.spawn_radius`."""
        return self.platform / 2 - 0.3

    def build(self, difficulty: float, rng: np.random.Generator) -> Tile:
        """See `TileType.build`."""
        height = lerp(self.height, difficulty)
        reach = self.size / 2 - RIM
        boxes = []
        for i in range(self.count):
            half = rng.uniform(0.5, 1.0, size=2)
            centre = rng.uniform(half - reach, reach - half)
            (x0, y0), (x1, y1) = (centre - half).tolist(), (centre + half).tolist()
            boxes.append(Box((x0, y0, 0.0), (x1, y1, height * (1.0 - 0.5 * i / self.count))))
        kept = [part for box in boxes for part in _outside(box, self.platform / 2)]
        return Tile(kept, spawn_radius=self.spawn_radius, feature=centimetres(height))


def _outside(box: Box, half: float) -> list[Box]:
    """The parts of the box outside the central square of this half width."""
    (x0, y0, z0), (x1, y1, z1) = box.low, box.high
    if x0 >= half or x1 <= -half or y0 >= half or y1 <= -half:
        return [box]
    parts = []
    if x0 < -half:
        parts.append(Box((x0, y0, z0), (-half, y1, z1)))
    if x1 > half:
        parts.append(Box((half, y0, z0), (x1, y1, z1)))
    left, right = max(x0, -half), min(x1, half)
    if y0 < -half:
        parts.append(Box((left, y0, z0), (right, -half, z1)))
    if y1 > half:
        parts.append(Box((left, half, z0), (right, y1, z1)))
    return parts


@dataclass(frozen=True)
class Gaps:
    """Two square moats around the platform."""

    size: float
    platform: float
    width: tuple[float, float]
    """Width [m] of a moat at difficulty 0 and 1."""
    depth: tuple[float, float]
    """Depth [m] of the moats at difficulty 0 and 1."""

    @property
    def spawn_radius(self) -> float:
        """See `TileType.spawn_radius`."""
        return self.platform / 2 - 0.4

    def build(self, difficulty: float, rng: np.random.Generator) -> Tile:
        """See `TileType.build`."""
        width, bottom = lerp(self.width, difficulty), -lerp(self.depth, difficulty)
        reach = self.size / 2 - RIM
        middle = (self.platform / 2 + reach - width) / 2  # inner edge of the land between the moats
        boxes = [_square(self.size / 2, bottom - _DEPTH, bottom)]
        boxes.append(_square(self.platform / 2, bottom, 0.0))
        boxes += _ring(self.platform / 2 + width, middle + width / 2, bottom, 0.0)
        boxes += _ring(middle + 1.5 * width, self.size / 2, bottom, 0.0)
        spawn, feature = self.spawn_radius, centimetres(width)
        return Tile(boxes, sunken=True, holes=True, spawn_radius=spawn, feature=feature)


@dataclass(frozen=True)
class Pit:
    """A square pit with vertical walls that the robot has to climb out of."""

    size: float
    platform: float
    depth: tuple[float, float]
    """Depth [m] at difficulty 0 and 1."""

    @property
    def spawn_radius(self) -> float:
        """See `TileType.spawn_radius`."""
        return self.platform / 2 - 0.3

    def build(self, difficulty: float, rng: np.random.Generator) -> Tile:
        """See `TileType.build`."""
        depth = lerp(self.depth, difficulty)
        half, floor = self.platform / 2 + 0.5, -depth - _DEPTH
        boxes = [_square(half, floor, -depth), *_ring(half, self.size / 2, floor, 0.0)]
        spawn, feature = self.spawn_radius, centimetres(depth)
        return Tile(boxes, sunken=True, spawn_radius=spawn, feature=feature)


@dataclass(frozen=True)
class Hurdles:
    """Square bars around the platform to step over."""

    size: float
    platform: float
    height: tuple[float, float]
    """Height [m] of the bars at difficulty 0 and 1."""
    spacing: float = 0.8
    """m from bar to bar"""
    thickness: float = 0.1
    """m"""

    @property
    def spawn_radius(self) -> float:
        """See `TileType.spawn_radius`."""
        return self.platform / 2 - 0.4

    def build(self, difficulty: float, rng: np.random.Generator) -> Tile:
        """See `TileType.build`."""
        height, edge = lerp(self.height, difficulty), self.platform / 2 + 0.2
        boxes = []
        while edge + self.thickness <= self.size / 2 - RIM:
            boxes += _ring(edge, edge + self.thickness, 0.0, height)
            edge += self.spacing
        return Tile(boxes, spawn_radius=self.spawn_radius, feature=centimetres(height))


@dataclass(frozen=True)
class SteppingStones:
    """Square stones with gaps between them, around the platform.

    A height field, because boxes for ten levels would be a thousand geoms and slower (docs/terrain.md).
    The cell size (2.5 to 5 cm) is chosen so that stones and gaps are whole numbers of cells, to 4 mm.
    Walls are inclined by one cell; the configured gap is the opening at the top.
    """

    size: float
    platform: float
    stone: tuple[float, float]
    """Edge [m] of a stone at difficulty 0 and 1."""
    gap: tuple[float, float]
    """Gap [m] between the tops of stones at difficulty 0 and 1."""
    depth: tuple[float, float]
    """Depth [m] of the gaps at difficulty 0 and 1."""

    @property
    def spawn_radius(self) -> float:
        """See `TileType.spawn_radius`."""
        return self.platform / 2 - 0.3

    def build(self, difficulty: float, rng: np.random.Generator) -> Tile:
        """See `TileType.build`."""
        wanted = lerp(self.stone, difficulty), lerp(self.gap, difficulty)
        cells, stone, gap = _fitting_cells(self.size, *wanted)
        cell, spawn = self.size / cells, self.spawn_radius
        if gap == 0:
            return Tile(spawn_radius=spawn, feature=centimetres(0.0))
        index, bottom = np.arange(cells + 1), -lerp(self.depth, difficulty)
        on_stone = (index + int(rng.integers(stone + gap))) % (stone + gap) <= stone
        heights = np.where(np.logical_and.outer(on_stone, on_stone), 0.0, bottom)
        middle = np.abs(np.linspace(-self.size / 2, self.size / 2, cells + 1))
        distance, slack = np.maximum.outer(middle, middle), cell - 1e-6
        land = distance <= self.platform / 2 + slack
        land |= distance >= self.size / 2 - RIM - slack
        return Tile(
            patch=np.where(land, 0.0, heights),
            sunken=True,
            holes=True,
            spawn_radius=spawn,
            feature=centimetres(gap * cell),
        )


def _fitting_cells(size: float, stone: float, gap: float) -> tuple[int, int, int]:
    """Numbers of cells along a tile's edge, a stone and a gap of these lengths [m].

    The coarsest cells with an error under `_STONE_ERROR`, or else those with the least error. A gap has at
    least three cells, so that there is a floor between its walls, or two if three would need cells under
    1.25 cm.
    """
    finest = min(max(gap / 4, _STONE_CELL[0] / 2), _STONE_CELL[0])
    coarsest = min(max(gap / 3, 1.25 * finest), _STONE_CELL[1])
    best = (math.inf, 0, 0, 0)
    for cells in range(math.ceil(size / coarsest - 1e-9), math.floor(size / finest + 1e-9) + 1):
        cell = size / cells
        across, opening = max(round(stone / cell), 1), round(gap / cell)
        if opening == 1:  # too narrow for two walls
            opening = 2 if gap > cell else 0
        error = max(abs(across * cell - stone), abs(opening * cell - gap))
        best = min(best, (error, cells, across, opening))
        if error < _STONE_ERROR:
            break
    return best[1:]

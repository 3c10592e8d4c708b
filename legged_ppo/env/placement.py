"""Where the robots are: their tiles, where they start on them, and how far they have walked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from legged_ppo.runtime.owned_state import OwnedState
from legged_ppo.sim.rotations import quadratic_form, rotation_matrix
from legged_ppo.sim.simulator import Simulator
from legged_ppo.terrain.curriculum import TerrainCurriculum
from legged_ppo.terrain.grid import Terrain
from legged_ppo.terrain.height_map import HeightMap

_FOOT_REACH = 0.1
"""Distance [m] from its place in the default pose within which a foot may begin."""


class Placement(OwnedState):
    """N robots on the tiles that a curriculum gives them. Every tile is endless: a robot that crosses an edge
    enters at the opposite one.

    Args:
        forward_types: terrain types that `on_forward` tells of.
    """

    owned = ("wrapped", "start", "farthest")

    def __init__(
        self, terrain: Terrain, simulator: Simulator, forward_types: Sequence[str] = ()
    ) -> None:
        self.terrain, self._simulator = terrain, simulator
        n, device = simulator.num_envs, simulator.device
        types, levels = terrain.assign(n)
        self.curriculum = TerrainCurriculum(
            terrain.config.curriculum,
            torch.as_tensor(types, device=device),
            torch.as_tensor(levels, device=device),
            torch.Size(terrain.heights.shape[:2]),
        )
        self.heights = HeightMap(terrain, device)
        self._origins = _floats(terrain.origins, device).view(-1, 3)  # [tiles, 3]
        self._spawn_radius = _floats(terrain.spawn_radius, device).view(-1)  # [tiles]
        self.holes = _floats(terrain.holes, device).view(-1)
        """[tiles], 1 where what lies below the tile's edges is not to be stepped on"""
        self.tile = torch.zeros(n, dtype=torch.int64, device=device)
        """[N] int64, counted along the levels of one type after the other"""
        self.origin = torch.zeros(n, 3, device=device)
        """[N, 3] m, middle of each robot's tile, on the ground"""
        self.on_flat = torch.zeros(n, dtype=torch.bool, device=device)
        """[N] bool, robots on `flat` tiles"""
        self.on_forward = torch.zeros(n, dtype=torch.bool, device=device)
        """[N] bool, robots on tiles of the `forward_types`"""
        columns = [i for i, name in enumerate(terrain.types) if name in forward_types]
        self._forward = torch.tensor(columns, dtype=torch.int64, device=device)
        self.wrapped = torch.zeros(n, 2, device=device)
        """[N, 2] m, sum of the shifts from edge to edge in this episode"""
        self.start = torch.zeros(n, 2, device=device)
        """[N, 2] m, where the episode began"""
        self.farthest = torch.zeros(n, device=device)
        """[N] m, largest distance from the start along x or y in this episode"""
        self._form, self._stance = quadratic_form(device), self._find_stance()
        self.find_tiles()

    @property
    def position(self) -> torch.Tensor:
        """[N, 2] m, where the robot has walked to on its endless tile; no jumps at the tile's edges"""
        return self._simulator.state.base_pos[:, :2] - self.wrapped

    @property
    def spawn_radius(self) -> torch.Tensor:
        """[N] m, robots start within this distance of the origin, along each axis"""
        return self._spawn_radius[self.tile]

    def find_tiles(self) -> None:
        """Look up the robots' tiles, which follow from types and levels, and assign them in the engine."""
        self.look_up_tiles()
        self._simulator.assign(self.tile)

    def look_up_tiles(self) -> None:
        """`find_tiles` without telling the engine."""
        types, levels = self.curriculum.types, self.curriculum.levels
        self.tile.copy_(types * self.terrain.num_levels + levels)
        self.origin.copy_(self._origins[self.tile])
        if "flat" in self.terrain.types:
            self.on_flat.copy_(types == self.terrain.types.index("flat"))
        if len(self._forward):
            self.on_forward.copy_((types[:, None] == self._forward).any(1))

    def place(self, column: int, level: int) -> None:
        """Put every robot on this tile, from the next reset on."""
        self.curriculum.types.fill_(column)
        self.curriculum.levels.fill_(level)
        self.find_tiles()

    def load_levels(self, states: list[dict[str, Any]], rank: int, ranks: int) -> None:
        """Take over this rank's share of the levels in the curriculum states of a run on any number of ranks."""
        self.curriculum.load_share(states, rank, ranks)
        self.find_tiles()

    def find_shift(self) -> torch.Tensor:
        """[N, 2] m that takes robots which crossed an edge of their tile to the opposite one, so that their
        ground goes on for ever at their own type and level. Rims are flat, so nothing else changes.

        `wrapped` counts it as done.
        """
        size = self.terrain.config.tile_size
        local = self._simulator.state.base_pos[:, :2] - self.origin[:, :2]
        shift = torch.round(local / size) * -size
        self.wrapped += shift
        return shift

    def measure(self) -> None:
        """Take the distances from the start after a control step."""
        distance = (self.position - self.start).abs().amax(1)
        torch.maximum(self.farthest, distance, out=self.farthest)

    def lift(self, qpos: torch.Tensor, robots: torch.Tensor) -> None:
        """`lift_all` of these robots [n] int64 alone."""
        chosen, tile, ground = qpos[robots], self.tile[robots], self.origin[robots, 2]
        qpos[robots, 2] += self._rise(chosen, tile, ground)

    def lift_all(self, qpos: torch.Tensor) -> None:
        """Raise positions [N, 7 + J] given above the tile's middle to the highest ground under the base and
        around the feet of the default pose, so that no foot begins in the ground."""
        qpos[:, 2] += self._rise(qpos, self.tile, self.origin[:, 2])

    def _rise(self, qpos: torch.Tensor, tile: torch.Tensor, ground: torch.Tensor) -> torch.Tensor:
        turn = rotation_matrix(qpos[:, 3:7], self._form)[:, :2, :2]
        points = qpos[:, None, :2] + self._stance @ turn.transpose(1, 2)
        return self.heights(points, tile).amax(1) - ground

    def begin(self, mask: torch.Tensor) -> None:
        """Start new episodes of the masked robots [N] bool where they are now."""
        self.wrapped.masked_fill_(mask[:, None], 0.0)
        self.farthest.masked_fill_(mask, 0.0)
        torch.where(mask[:, None], self.position, self.start, out=self.start)

    def _find_stance(self) -> torch.Tensor:
        """[P, 2] m from the base: where the default pose may touch the ground. An engine begins with all
        robots in that pose."""
        state, device = self._simulator.state, self._simulator.device
        feet = (state.foot_pos[0] - state.base_pos[0])[:, None, :2]
        around = torch.tensor([-_FOOT_REACH, 0.0, _FOOT_REACH], device=device)
        points = feet + torch.cartesian_prod(around, around)
        return torch.cat([points.flatten(0, 1), torch.zeros(1, 2, device=device)])


def _floats(values: Any, device: torch.device) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.float32, device=device)

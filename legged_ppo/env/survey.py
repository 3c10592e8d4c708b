"""Survey: attitude and heights above the ground of N robots, derived from the physics' state."""

from __future__ import annotations

import torch

from legged_ppo.env.placement import Placement
from legged_ppo.sensors.height_scan import Scandots
from legged_ppo.sim.simulator import Simulator


class Survey:
    """What rewards and observations read, as of the last `take`."""

    projected_gravity: torch.Tensor
    """[N, 3] direction of gravity in the base frame"""
    yaw: torch.Tensor
    """[N] rad"""
    base_height: torch.Tensor
    """[N] m above the ground; over a hole, above the ground beside it"""
    foot_height: torch.Tensor
    """[N, F] m, of the feet's centres above the ground; in and over a hole, above the ground beside it"""
    clearance: torch.Tensor
    """[N, D] m, height of the base above each point of the scandots"""

    def __init__(self, simulator: Simulator, placement: Placement, scandots: Scandots) -> None:
        self._simulator, self._placement, self._scandots = simulator, placement, scandots
        self.take()

    def take(self, robots: torch.Tensor | None = None) -> None:
        """Derive everything from the present state; with `robots` [n] int64 of these alone."""
        state, tile = self._simulator.state, self._placement.tile
        measured = [state.base_rotation, state.base_pos, state.foot_pos, tile]
        if robots is not None:
            measured = [values.index_select(0, robots) for values in measured]
        rotation, position, feet, tile = measured
        yaw = torch.atan2(rotation[:, 1, 0], rotation[:, 0, 0])
        base = position[:, None, :2]
        points = torch.cat([base, feet[..., :2], self._scandots.points(base, yaw)], 1)
        ground = self._placement.heights(points, tile)
        standing, grid = ground.split([1 + feet.shape[1], self._scandots.size], dim=1)
        # The ground beside a hole is at height 0.
        standing = standing - standing.clamp(max=0.0) * self._placement.holes[tile][:, None]
        base_ground, foot_ground = standing[:, 0], standing[:, 1:]
        self._keep("projected_gravity", -rotation[:, 2], robots)
        self._keep("yaw", yaw, robots)
        self._keep("base_height", position[:, 2] - base_ground, robots)
        self._keep("foot_height", feet[..., 2] - foot_ground, robots)
        self._keep("clearance", position[:, 2:3] - grid, robots)

    def _keep(self, name: str, values: torch.Tensor, robots: torch.Tensor | None) -> None:
        """Set an attribute, or with `robots` these rows of it, to a new tensor: the reward inputs of the step
        hold the old one."""
        if robots is not None:
            values = getattr(self, name).index_copy(0, robots, values)
        setattr(self, name, values)

"""Observation groups of the task and their noise."""

from __future__ import annotations

import torch

from legged_ppo.config.schema import ObservationConfig
from legged_ppo.env.environment import Observations
from legged_ppo.env.randomization import NUM_PRIVILEGED
from legged_ppo.robots.spec import RobotSpec
from legged_ppo.sim.simulator import SimState
from legged_ppo.terrain.grid import HeightMap

_NOMINAL_HEIGHT = 0.3
"""Base height [m] that scandots are measured from, as legged_gym and Extreme Parkour do."""
_HEIGHT_CLIP = 1.0
"""Scandots are clipped to +- this [m]."""


class ObservationBuilder:
    """Builds the groups

    - `proprioception`: angular velocity 3, projected gravity 3, joint angles about the default pose J,
      joint velocities J, last action J, foot contacts F;
    - `commands`: forward, lateral velocity, yaw rate;
    - `scandots`: base height above each point of the grid, about the nominal height;
    - `privileged` (critic only, without noise): base velocity 3, physical parameters 8, height 1, foot forces F.
    """

    def __init__(
        self,
        config: ObservationConfig,
        robot: RobotSpec,
        heights: HeightMap,
        generator: torch.Generator,
        num_envs: int,
    ) -> None:
        self.config, self._heights, self._generator = config, heights, generator
        device, j, f = generator.device, robot.num_joints, robot.num_feet
        self._default = torch.as_tensor(robot.default_joint_pos, dtype=torch.float32, device=device)
        x, y = torch.tensor(config.scandots_x), torch.tensor(config.scandots_y)
        self._grid = torch.cartesian_prod(x, y).reshape(-1, 2).to(device)  # [D, 2]
        c = config
        parts = [
            (3, c.ang_vel_noise * c.ang_vel_scale),
            (3, c.gravity_noise),
            (j, c.joint_pos_noise),
            (j, c.joint_vel_noise * c.joint_vel_scale),
            (j, 0.0),  # last action
            (f, 0.0),  # contacts
        ]
        self._noise = torch.cat([torch.full((n,), std) for n, std in parts]).to(device)
        self.dims = {
            "proprioception": len(self._noise),
            "commands": 3,
            "scandots": len(self._grid),
            "privileged": 3 + NUM_PRIVILEGED + 1 + f,
        }

    def __call__(
        self,
        state: SimState,
        projected_gravity: torch.Tensor,
        command: torch.Tensor,
        action: torch.Tensor,
        contact: torch.Tensor,
        yaw: torch.Tensor,
        parameters: torch.Tensor,
    ) -> Observations:
        """Observations of the current state; arguments as in `RewardInputs`, yaw [N] rad, parameters [N, 8]."""
        c = self.config
        proprioception = torch.cat(
            [
                state.base_ang_vel * c.ang_vel_scale,
                projected_gravity,
                state.joint_pos - self._default,
                state.joint_vel * c.joint_vel_scale,
                action,
                contact.float(),
            ],
            dim=1,
        )
        clearance = self._clearance(state, yaw)  # [N, 1 + D], the first below the base
        scandots = clearance[:, 1:]
        if c.noise:
            proprioception = proprioception + self._noise * self._normal(proprioception)
            scandots = scandots + c.height_noise * self._normal(scandots)
        privileged = torch.cat(
            [
                state.base_lin_vel * 2.0,
                parameters,
                clearance[:, :1] * 5.0,
                state.foot_force / 100.0,
            ],
            dim=1,
        )
        return {
            "proprioception": proprioception,
            "commands": command.clone(),
            "scandots": scandots * c.height_scale,
            "privileged": privileged,
        }

    def _clearance(self, state: SimState, yaw: torch.Tensor) -> torch.Tensor:
        """Base height above the ground below the base and below each scandot, about the nominal height [m]."""
        cos, sin = torch.cos(yaw)[:, None], torch.sin(yaw)[:, None]
        gx, gy = self._grid.unbind(1)
        offsets = torch.stack([cos * gx - sin * gy, sin * gx + cos * gy], dim=-1)  # [N, D, 2]
        base = state.base_pos[:, None, :2]
        ground = self._heights(torch.cat([base, base + offsets], dim=1))
        height = state.base_pos[:, 2:3] - _NOMINAL_HEIGHT - ground
        return height.clamp(-_HEIGHT_CLIP, _HEIGHT_CLIP)

    def _normal(self, like: torch.Tensor) -> torch.Tensor:
        return torch.randn(like.shape, generator=self._generator, device=like.device)

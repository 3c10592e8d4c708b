"""Observation groups of the task and their noise."""

from __future__ import annotations

import torch

from legged_ppo.config.schema import ObservationConfig
from legged_ppo.env.randomization import NUM_PRIVILEGED
from legged_ppo.interface import Observations
from legged_ppo.robots.spec import RobotSpec
from legged_ppo.sensors.height_scan import NOMINAL_HEIGHT
from legged_ppo.sim.simulator import SimState

_HEIGHT_CLIP = 1.0
"""Bound [m] to which the base height observed by the critic is clipped."""


class ObservationBuilder:
    """Builds the observation groups:

    - `proprioception`: angular velocity 3, projected gravity 3, joint angles about the default pose J,
      joint velocities J, last action J, foot contacts F;
    - `commands`: forward, lateral velocity, yaw rate;
    - `scandots`: readings of the height sensor D;
    - `extrinsics` (the RMA architecture only): physical parameters 8;
    - `privileged` (critic only, without noise): base velocity 3, physical parameters 8, height 1, foot forces F.
    """

    def __init__(
        self,
        config: ObservationConfig,
        robot: RobotSpec,
        num_scandots: int,
        generator: torch.Generator,
    ) -> None:
        self.config, self._generator = config, generator
        device, j, f = generator.device, robot.num_joints, robot.num_feet
        self._default = torch.as_tensor(robot.default_joint_pos, dtype=torch.float32, device=device)
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
            "scandots": num_scandots,
            "extrinsics": NUM_PRIVILEGED,
            "privileged": 3 + NUM_PRIVILEGED + 1 + f,
        }

    def __call__(
        self,
        state: SimState,
        projected_gravity: torch.Tensor,
        command: torch.Tensor,
        action: torch.Tensor,
        contact: torch.Tensor,
        scandots: torch.Tensor,
        base_height: torch.Tensor,
        parameters: torch.Tensor,
    ) -> Observations:
        """Observations of the current state.

        Shapes and units are those of `RewardInputs`; scandots are [N, D] m, parameters [N, 8].
        """
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
        if c.noise:
            noise = torch.randn(
                proprioception.shape, generator=self._generator, device=proprioception.device
            )
            proprioception = torch.addcmul(proprioception, self._noise, noise)
        height = (base_height - NOMINAL_HEIGHT).clamp(-_HEIGHT_CLIP, _HEIGHT_CLIP)
        privileged = torch.cat(
            [
                state.base_lin_vel * 2.0,
                parameters,
                height[:, None] * 5.0,
                state.foot_force / 100.0,
            ],
            dim=1,
        )
        return {
            "proprioception": proprioception,
            "commands": command.clone(),
            "scandots": scandots * c.height_scale,
            "extrinsics": parameters,
            "privileged": privileged,
        }

"""Observation groups of the task and their noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from legged_ppo.config.schema import ObservationConfig
from legged_ppo.env.randomization import NUM_PRIVILEGED
from legged_ppo.interface import Observations
from legged_ppo.robots.spec import RobotSpec
from legged_ppo.sensors.height_scan import NOMINAL_HEIGHT
from legged_ppo.sim.simulator import SimState

_HEIGHT_CLIP = 1.0
"""Bound [m] to which the base height observed by the critic is clipped."""


@dataclass
class ObservationInputs:
    """What observations are made of, after a control step or a reset. N robots, J joints, F feet."""

    state: SimState
    config: ObservationConfig
    command: torch.Tensor
    """[N, 3] forward, lateral velocity [m/s] and yaw rate [rad/s]"""
    observed_commands: torch.Tensor
    """[N, 3 or 5] the command and, where there is one, sine and cosine of the gait clock's phase"""
    projected_gravity: torch.Tensor
    """[N, 3] unit vector of gravity in the base frame"""
    yaw: torch.Tensor
    """[N] rad, heading of the base"""
    action: torch.Tensor
    """[N, J] the last action; 0 after a reset"""
    contact: torch.Tensor
    """[N, F] bool, foot in contact"""
    air_time: torch.Tensor
    """[N, F] s since the foot left the ground; 0 in contact"""
    foot_height: torch.Tensor
    """[N, F] m of the feet's centres above the ground, which no robot measures"""
    base_height: torch.Tensor
    """[N] m of the base above the ground, which no robot measures"""
    scandots: torch.Tensor
    """[N, D] m, readings of the height sensor"""
    parameters: torch.Tensor
    """[N, 8] the drawn physical parameters, standardised, which no robot measures"""
    default_joint_pos: torch.Tensor
    """[J] rad"""
    dt: float
    """s, control step"""
    generator: torch.Generator
    """Source of sensor noise; `config.noise` decides whether there is any."""


class ObservationBuilder:
    """Builds the observation groups:

    - `proprioception`: angular velocity 3, projected gravity 3, joint angles about the default pose J,
      joint velocities J, last action J, foot contacts F;
    - `commands`: forward, lateral velocity, yaw rate; sine and cosine of the gait clock, where there is one;
    - `scandots`: readings of the height sensor D;
    - `extrinsics` (the RMA architecture only): physical parameters 8;
    - `privileged` (critic only, without noise): base velocity 3, physical parameters 8, height 1, foot forces F.
    """

    def __init__(
        self,
        config: ObservationConfig,
        robot: RobotSpec,
        num_scandots: int,
        num_clock: int,
        device: torch.device,
    ) -> None:
        self.config = config
        j, f = robot.num_joints, robot.num_feet
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
            "commands": 3 + num_clock,
            "scandots": num_scandots,
            "extrinsics": NUM_PRIVILEGED,
            "privileged": 3 + NUM_PRIVILEGED + 1 + f,
        }

    def __call__(self, x: ObservationInputs) -> Observations:
        """Observations of the current state."""
        c, state = self.config, x.state
        proprioception = torch.cat(
            [
                state.base_ang_vel * c.ang_vel_scale,
                x.projected_gravity,
                state.joint_pos - self._default,
                state.joint_vel * c.joint_vel_scale,
                x.action,
                x.contact.float(),
            ],
            dim=1,
        )
        if c.noise:
            noise = torch.randn(
                proprioception.shape, generator=x.generator, device=proprioception.device
            )
            proprioception = torch.addcmul(proprioception, self._noise, noise)
        height = (x.base_height - NOMINAL_HEIGHT).clamp(-_HEIGHT_CLIP, _HEIGHT_CLIP)
        privileged = torch.cat(
            [
                state.base_lin_vel * 2.0,
                x.parameters,
                height[:, None] * 5.0,
                state.foot_force / 100.0,
            ],
            dim=1,
        )
        return {
            "proprioception": proprioception,
            "commands": x.observed_commands,
            "scandots": x.scandots * c.height_scale,
            "extrinsics": x.parameters,
            "privileged": privileged,
        }

"""Randomization: physical parameters, initial states and pushes of the robots."""

from __future__ import annotations

import torch

from legged_ppo.config.schema import RandomizationConfig
from legged_ppo.robots.spec import RobotSpec
from legged_ppo.runtime.owned_state import OwnedState
from legged_ppo.runtime.sampling import uniform
from legged_ppo.sim.rotations import from_yaw
from legged_ppo.sim.simulator import PhysicalParameters

_COLUMNS = {
    "friction": 1,
    "added_mass": 1,
    "com_shift": 3,
    "kp_scale": 1,
    "kd_scale": 1,
    "motor_strength": 1,
}
"""The `PhysicalParameters` observed by the critic and their widths, concatenated in one tensor."""
NUM_PRIVILEGED = sum(_COLUMNS.values())
"""Width of `privileged`."""
_CENTRE = (0.8, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0)
_SCALE = (1.0, 0.5, 20.0, 20.0, 20.0, 5.0, 5.0, 5.0)
"""Standardisation of each column for the critic: (value - centre) * scale."""


class Randomization(OwnedState):
    """Randomization of N robots; the last sample is kept, also for the observations of the critic."""

    def __init__(
        self,
        config: RandomizationConfig,
        robot: RobotSpec,
        num_envs: int,
        control_dt: float,
        substep_dt: float,
        generator: torch.Generator,
    ) -> None:
        self.config, self._robot, self._generator = config, robot, generator
        self._n, self._control_dt, self._substep_dt = num_envs, control_dt, substep_dt
        self._default = torch.as_tensor(
            robot.default_joint_pos, dtype=torch.float32, device=generator.device
        )
        self._low, self._span = self._ranges()
        centre, scale = torch.tensor([_CENTRE, _SCALE], device=generator.device)
        self._centre, self._scale = centre, scale
        self.armature = self._draw_armature()
        self.values = self._draw_parameters()
        """[N, 8] the drawn parameters side by side, of which `parameters` are views"""
        self.parameters = self._views()
        self.latency = self._draw_latency()
        self.push_clock = uniform((0.0, max(config.push_interval_s, 0.0)), (num_envs,), generator)
        self.owned = ("values", "push_clock")
        self.owned += ("latency",) * (self.latency is not None)
        self.owned += ("armature",) * bool(config.armature_scale)

    def resample(self, mask: torch.Tensor) -> None:
        """Sample new parameters for the masked robots [N] bool."""
        torch.where(mask, self._draw_armature(), self.armature, out=self.armature)
        torch.where(mask[:, None], self._draw_parameters(), self.values, out=self.values)
        latency = self._draw_latency()
        if latency is not None and self.latency is not None:
            torch.where(mask, latency, self.latency, out=self.latency)

    def initial_state(
        self, origins: torch.Tensor, spread: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Positions [N, 7 + J] and velocities [N, 6 + J] at a reset, within +- spread [N] m of origins [N, 3]."""
        g, n, j = self._generator, self._n, self._robot.num_joints
        unit = uniform((-1.0, 1.0), (n, 2 + 1 + j + 6), g)
        place, heading, wiggle, speed = unit.split([2, 1, j, 6], dim=1)
        position = origins.clone()
        position[:, :2] += spread[:, None] * place
        position[:, 2] += self._robot.config.spawn_height
        joints = self._default + self.config.init_joint_pos * wiggle
        qpos = torch.cat([position, from_yaw(torch.pi * heading[:, 0]), joints], dim=1)
        qvel = torch.nn.functional.pad(self.config.init_velocity * speed, (0, j))
        return qpos, qvel

    def pushes(self) -> torch.Tensor | None:
        """Planar velocity [N, 2] m/s to add in this control step; None when pushes are off."""
        c = self.config
        if c.push_interval_s <= 0:
            return None
        self.push_clock += self._control_dt
        due = self.push_clock >= c.push_interval_s
        self.push_clock.masked_fill_(due, 0.0)
        push = uniform((-c.push_velocity, c.push_velocity), (self._n, 2), self._generator)
        return push * due[:, None]

    @property
    def privileged(self) -> torch.Tensor:
        """[N, 8] the drawn parameters, shifted and scaled to order 1 for the critic"""
        return (self.values - self._centre) * self._scale

    def _ranges(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Lower bounds and widths of the parameters' ranges [8]; an empty range is the nominal value."""
        nominal = {"friction": self._robot.foot_friction, "added_mass": 0.0, "com_shift": 0.0}
        low, span = [], []
        for name, width in _COLUMNS.items():
            bounds = getattr(self.config, name) or [nominal.get(name, 1.0)] * 2
            low += [bounds[0]] * width
            span += [bounds[1] - bounds[0]] * width
        bounds = torch.tensor([low, span], device=self._generator.device)
        return bounds[0], bounds[1]

    def _draw_parameters(self) -> torch.Tensor:
        """[N, 8]"""
        unit = uniform((0.0, 1.0), (self._n, NUM_PRIVILEGED), self._generator)
        return torch.addcmul(self._low, self._span, unit)

    def _views(self) -> PhysicalParameters:
        parts = dict(zip(_COLUMNS, self.values.split(list(_COLUMNS.values()), dim=1), strict=True))
        return PhysicalParameters(
            **{n: part if _COLUMNS[n] > 1 else part[:, 0] for n, part in parts.items()},
            armature_scale=self.armature,
        )

    def _draw_armature(self) -> torch.Tensor:
        """[N]; ones, without a random draw, if no range is configured."""
        if not self.config.armature_scale:
            return torch.ones(self._n, device=self._generator.device)
        return uniform(self.config.armature_scale, (self._n,), self._generator)

    def _draw_latency(self) -> torch.Tensor | None:
        """Delays in substeps, [N] int64."""
        if not self.config.latency_s:
            return None
        seconds = uniform(self.config.latency_s, (self._n,), self._generator)
        return (seconds / self._substep_dt).round().long()

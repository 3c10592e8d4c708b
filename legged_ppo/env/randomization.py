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
_BODY = slice(1, 5)
"""Columns that a body sets: mass and centre of mass."""
_CENTRE = (0.8, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0)
_SCALE = (1.0, 0.5, 20.0, 20.0, 20.0, 5.0, 5.0, 5.0)
"""Standardisation of each column for the critic: (value - centre) * scale."""


class Randomization(OwnedState):
    """Randomization of N robots; the last sample is kept, also for the observations of the critic.

    Args:
        num_bodies: K; masses, centres of mass and armatures are those of one of the `bodies`. 0: they are drawn
            anew for every robot.
    """

    def __init__(
        self,
        config: RandomizationConfig,
        robot: RobotSpec,
        num_envs: int,
        control_dt: float,
        substep_dt: float,
        generator: torch.Generator,
        num_bodies: int = 0,
    ) -> None:
        self.config, self._robot, self._generator = config, robot, generator
        self._n, self._control_dt, self._substep_dt = num_envs, control_dt, substep_dt
        self._default = torch.as_tensor(
            robot.default_joint_pos, dtype=torch.float32, device=generator.device
        )
        self._low, self._span = self._ranges()
        centre, scale = torch.tensor([_CENTRE, _SCALE], device=generator.device)
        self._centre, self._scale = centre, scale
        self.bodies: PhysicalParameters | None = None
        """[K] the bodies; the parameters besides are not used"""
        if num_bodies:
            drawn, armature = self._draw_parameters(num_bodies), self._draw_armature(num_bodies)
            self.bodies = _views(drawn, armature)
            self._bank = torch.cat([drawn[:, _BODY], armature[:, None]], dim=1)  # [K, 5]
        self.armature = self._draw_armature(num_envs)
        self.values = self._draw_parameters(num_envs)
        """[N, 8] the drawn parameters side by side, of which `parameters` are views"""
        self.parameters = _views(self.values, self.armature)
        if num_bodies:
            self.body = torch.zeros(num_envs, dtype=torch.int64, device=generator.device)
            """[N] the bodies that the last `resample` chose"""
            self.parameters.body = self.body
        self.latency = self._draw_latency()
        self.push_clock = uniform((0.0, max(config.push_interval_s, 0.0)), (num_envs,), generator)
        self.owned = ("values", "push_clock")
        self.owned += ("latency",) * (self.latency is not None)
        self.owned += ("armature",) * bool(config.armature_scale)

    def resample(self, mask: torch.Tensor) -> None:
        """Sample new parameters for the masked robots [N] bool."""
        armature, values = self._draw_armature(self._n), self._draw_parameters(self._n)
        if self.bodies is not None:
            armature = self._choose_bodies(values)
        torch.where(mask, armature, self.armature, out=self.armature)
        torch.where(mask[:, None], values, self.values, out=self.values)
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

    def _choose_bodies(self, values: torch.Tensor) -> torch.Tensor:
        """Give every robot one of the bodies, in its `values` [N, 8]; returns the armatures [N]."""
        device = self._generator.device
        count = len(self._bank)
        chosen = torch.randint(count, (self._n,), generator=self._generator, device=device)
        self.body.copy_(chosen)
        drawn = self._bank[chosen]
        values[:, _BODY] = drawn[:, :-1]
        return drawn[:, -1]

    def _draw_parameters(self, count: int) -> torch.Tensor:
        """[count, 8]"""
        unit = uniform((0.0, 1.0), (count, NUM_PRIVILEGED), self._generator)
        return torch.addcmul(self._low, self._span, unit)

    def _draw_armature(self, count: int) -> torch.Tensor:
        """[count]; ones, without a random draw, if no range is configured."""
        if not self.config.armature_scale:
            return torch.ones(count, device=self._generator.device)
        return uniform(self.config.armature_scale, (count,), self._generator)

    def _draw_latency(self) -> torch.Tensor | None:
        """Delays in substeps, [N] int64."""
        if not self.config.latency_s:
            return None
        seconds = uniform(self.config.latency_s, (self._n,), self._generator)
        return (seconds / self._substep_dt).round().long()


def _views(values: torch.Tensor, armature: torch.Tensor) -> PhysicalParameters:
    """Parameters of robots from `values` [N, 8] and the scales of their armatures [N]."""
    parts = dict(zip(_COLUMNS, values.split(list(_COLUMNS.values()), dim=1), strict=True))
    return PhysicalParameters(
        **{n: part if _COLUMNS[n] > 1 else part[:, 0] for n, part in parts.items()},
        armature_scale=armature,
    )

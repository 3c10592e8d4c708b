"""Randomization: physical parameters, initial states and pushes of the robots."""

from __future__ import annotations

import torch

from legged_ppo.config.schema import RandomizationConfig
from legged_ppo.env.sampling import uniform
from legged_ppo.robots.spec import RobotSpec
from legged_ppo.sim.rotations import from_yaw
from legged_ppo.sim.simulator import PhysicalParameters

_NOMINAL_FRICTION = 0.8
NUM_PRIVILEGED = 8
"""Width of `privileged`."""


class Randomization:
    """Draws of N robots; what was drawn last is kept, for the critic's observations too."""

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
        self.parameters = self._draw_parameters()
        self.privileged = privileged(self.parameters)
        self.latency = self._draw_latency()
        self.push_clock = uniform((0.0, max(config.push_interval_s, 0.0)), (num_envs,), generator)

    def resample(self, mask: torch.Tensor) -> None:
        """Draw new parameters for the masked robots [N] bool."""
        drawn = self._draw_parameters()
        for name, value in vars(drawn).items():
            keep = getattr(self.parameters, name)
            chosen = mask.view(-1, *[1] * (value.dim() - 1))
            setattr(self.parameters, name, torch.where(chosen, value, keep))
        self.privileged = privileged(self.parameters)
        latency = self._draw_latency()
        if latency is not None and self.latency is not None:
            self.latency = torch.where(mask, latency, self.latency)

    def initial_state(self, origins: torch.Tensor, spread: float) -> tuple[torch.Tensor, ...]:
        """Positions (N, 7 + J) and velocities (N, 6 + J) at a reset, within +- spread m of origins [N, 3]."""
        g, n, j = self._generator, self._n, self._robot.num_joints
        position = origins.clone()
        position[:, :2] += uniform((-spread, spread), (n, 2), g)
        position[:, 2] += self._robot.config.spawn_height
        quat = from_yaw(uniform((-torch.pi, torch.pi), (n,), g))
        wiggle = self.config.init_joint_pos
        joints = self._default + uniform((-wiggle, wiggle), (n, j), g)
        speed = self.config.init_velocity
        base_velocity = uniform((-speed, speed), (n, 6), g)
        qpos = torch.cat([position, quat, joints], dim=1)
        qvel = torch.cat([base_velocity, torch.zeros(n, j, device=g.device)], dim=1)
        return qpos, qvel

    def pushes(self) -> torch.Tensor | None:
        """Planar velocity [N, 2] m/s to add in this control step; None when pushes are off."""
        c = self.config
        if c.push_interval_s <= 0:
            return None
        self.push_clock += self._control_dt
        due = self.push_clock >= c.push_interval_s
        self.push_clock = torch.where(due, 0.0, self.push_clock)
        push = uniform((-c.push_velocity, c.push_velocity), (self._n, 2), self._generator)
        return push * due[:, None]

    def state_dict(self) -> dict[str, torch.Tensor]:
        state = {name: value.clone() for name, value in vars(self.parameters).items()}
        state["push_clock"] = self.push_clock.clone()
        if self.latency is not None:
            state["latency"] = self.latency.clone()
        return state

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self.parameters = PhysicalParameters(
            **{name: state[name].clone() for name in vars(self.parameters)}
        )
        self.privileged = privileged(self.parameters)
        self.push_clock = state["push_clock"].clone()
        if self.latency is not None:
            self.latency = state["latency"].clone()

    def _draw_parameters(self) -> PhysicalParameters:
        c, g, n = self.config, self._generator, self._n

        def draw(bounds: list[float], nominal: float, shape: tuple[int, ...]) -> torch.Tensor:
            if not bounds:
                return torch.full(shape, nominal, device=g.device)
            return uniform(bounds, shape, g)

        return PhysicalParameters(
            friction=draw(c.friction, self._robot.foot_friction, (n,)),
            added_mass=draw(c.added_mass, 0.0, (n,)),
            com_shift=draw(c.com_shift, 0.0, (n, 3)),
            kp_scale=draw(c.kp_scale, 1.0, (n,)),
            kd_scale=draw(c.kd_scale, 1.0, (n,)),
            motor_strength=draw(c.motor_strength, 1.0, (n,)),
        )

    def _draw_latency(self) -> torch.Tensor | None:
        """Delays in substeps, [N] int64."""
        if not self.config.latency_s:
            return None
        seconds = uniform(self.config.latency_s, (self._n,), self._generator)
        return (seconds / self._substep_dt).round().long()


def privileged(parameters: PhysicalParameters) -> torch.Tensor:
    """[N, 8] the parameters, about the nominal ones and of order 1, for the critic."""
    p = parameters
    return torch.cat(
        [
            (p.friction - _NOMINAL_FRICTION)[:, None],
            p.added_mass[:, None] / 2.0,
            p.com_shift * 20.0,
            (p.kp_scale[:, None] - 1.0) * 5.0,
            (p.kd_scale[:, None] - 1.0) * 5.0,
            (p.motor_strength[:, None] - 1.0) * 5.0,
        ],
        dim=1,
    )

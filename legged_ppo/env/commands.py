"""Velocity commands: drawn at a reset and again every few seconds, some robots told to stand."""

from __future__ import annotations

import torch

from legged_ppo.config.schema import CommandConfig
from legged_ppo.env.sampling import uniform
from legged_ppo.sim.rotations import wrap_to_pi


class VelocityCommands:
    """The commands of N robots. `command` is [N, 3]: forward, lateral velocity, yaw rate."""

    def __init__(
        self, config: CommandConfig, num_envs: int, dt: float, generator: torch.Generator
    ) -> None:
        self.config, self._dt, self._generator = config, dt, generator
        device = generator.device
        self.command = torch.zeros(num_envs, 3, device=device)
        self.heading = torch.zeros(num_envs, device=device)
        self.standing = torch.zeros(num_envs, dtype=torch.bool, device=device)
        self.time_left = torch.zeros(num_envs, device=device)
        self._fixed: torch.Tensor | None = None
        ranges = torch.tensor([config.lin_vel_x, config.lin_vel_y, config.yaw_rate], device=device)
        self._low, self._span = ranges[:, 0], ranges[:, 1] - ranges[:, 0]

    def fix(self, command: tuple[float, float, float] | None) -> None:
        """Give every robot this command from now on; None goes back to drawing."""
        self._fixed = None
        if command is not None:
            self._fixed = torch.tensor(command, dtype=torch.float32, device=self.command.device)
            self.command = self._fixed.repeat(len(self.command), 1)

    def resample(self, mask: torch.Tensor) -> None:
        """Draw new commands for the masked robots [N] bool."""
        c = self.config
        unit = uniform((0.0, 1.0), (len(mask), 5), self._generator)
        drawn = torch.addcmul(self._low, self._span, unit[:, :3])
        heading = torch.pi * (2.0 * unit[:, 3] - 1.0)
        standing = unit[:, 4] < c.standing_fraction
        slow = drawn[:, :2].norm(dim=1, keepdim=True) < c.min_speed
        drawn[:, :2] = torch.where(slow, 0.0, drawn[:, :2])
        drawn = torch.where(standing[:, None], 0.0, drawn)
        if self._fixed is not None:
            drawn = self._fixed.expand_as(drawn)
        self.command = torch.where(mask[:, None], drawn, self.command)
        self.heading = torch.where(mask, heading, self.heading)
        self.standing = torch.where(mask, standing, self.standing)
        self.time_left = torch.where(mask, c.resample_time_s, self.time_left)

    def step(self, yaw: torch.Tensor) -> None:
        """Let one control step pass; in heading mode steer from the robots' headings `yaw` [N] rad."""
        self.time_left -= self._dt
        due = self.time_left <= 0.0
        # On a GPU asking would stall the stream.
        if due.device.type != "cpu" or bool(due.any()):
            self.resample(due)
        self.steer(yaw)

    def steer(self, yaw: torch.Tensor) -> None:
        """In heading mode set the yaw rates from the heading errors."""
        c = self.config
        if c.heading and self._fixed is None:
            rate = c.heading_gain * wrap_to_pi(self.heading - yaw)
            rate = rate.clamp(c.yaw_rate[0], c.yaw_rate[1])
            self.command[:, 2] = torch.where(self.standing, 0.0, rate)

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {
            name: getattr(self, name).clone()
            for name in ("command", "heading", "standing", "time_left")
        }

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        for name, value in state.items():
            setattr(self, name, value.clone())

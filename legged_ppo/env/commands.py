"""Velocity commands: sampled at a reset and every few seconds; some commands are to stand still."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from legged_ppo.config.schema import CommandConfig
from legged_ppo.errors import ConfigError
from legged_ppo.runtime.device import any_without_sync
from legged_ppo.runtime.owned_state import OwnedState
from legged_ppo.runtime.sampling import uniform
from legged_ppo.sim.rotations import wrap_to_pi

_MEMORY = 3.0
"""Time constant [s] with which the course follows a turn that was not commanded. Robots that circle on a
platform of a few metres deviate by more than a right angle in this time; the sway of a gait does not."""
_DRAWS = 5
"""Random numbers of a command: forward, lateral, yaw rate, heading, whether to stand."""


Sampler = Callable[[torch.Tensor, CommandConfig], torch.Tensor]
"""Uniform numbers [N, 5] in [0, 1) -> commands [N, 3]: a pure function, so that planned draws repeat."""


class VelocityCommands(OwnedState):
    """The commands of N robots. `command` is [N, 3]: forward and lateral velocity [m/s], yaw rate [rad/s].

    Args:
        sampler: draws the commands instead of the configured ranges.
    """

    owned = ("command", "heading", "turn", "course", "pending", "standing", "time_left")

    def __init__(
        self,
        config: CommandConfig,
        num_envs: int,
        dt: float,
        generator: torch.Generator,
        sampler: Sampler | None = None,
    ) -> None:
        self.config, self._dt, self._generator, self._sampler = config, dt, generator, sampler
        device = generator.device
        self.command = torch.zeros(num_envs, 3, device=device)
        self.heading = torch.zeros(num_envs, device=device)
        self.turn = torch.zeros(num_envs, device=device)
        """[N] rad, commanded heading relative to the heading of the robot at the time of the command"""
        self.course = torch.zeros(num_envs, device=device)
        """[N] rad, heading of a robot that turns exactly as commanded. In heading mode it turns to the
        commanded heading. Otherwise it turns at the commanded rate, and its deviation from the robot's
        heading decays with the time constant `_MEMORY`"""
        self.pending = torch.zeros(num_envs, dtype=torch.bool, device=device)
        """[N] bool, the command is new; `steer`, which receives the yaw, has not processed it yet"""
        self.standing = torch.zeros(num_envs, dtype=torch.bool, device=device)
        self.time_left = torch.zeros(num_envs, device=device)
        self.on_flat = torch.zeros(num_envs, dtype=torch.bool, device=device)
        """[N] bool, robots on `flat` tiles"""
        self.on_forward = torch.zeros(num_envs, dtype=torch.bool, device=device)
        """[N] bool, robots on tiles of the `forward_types`"""
        self._fixed: torch.Tensor | None = None
        self._planned: torch.Tensor | None = None  # [count, N, draws]
        ranges = torch.tensor([config.lin_vel_x, config.lin_vel_y, config.yaw_rate], device=device)
        self._low, self._span = ranges[:, 0], ranges[:, 1] - ranges[:, 0]
        self._scale = torch.ones((), device=device)  # read by graphs, so not a number of Python's

    def set_progress(self, progress: float) -> None:
        """Scale the velocity ranges by the progress of the training in [0, 1]."""
        start, ramp = self.config.initial_scale, self.config.ramp
        self._scale.fill_(start + (1.0 - start) * min(progress / ramp, 1.0))

    @property
    def draws_itself(self) -> bool:
        """Whether no extension draws the commands."""
        return self._sampler is None

    def fix(self, command: Sequence[float] | torch.Tensor | None) -> None:
        """Set the command of every robot, one for all or [N, 3], from now on; None returns to sampling.

        The yaw rate of the command is applied directly, also in heading mode.
        """
        self._fixed = None
        if command is not None:
            self._fixed = torch.as_tensor(command).to(self.command)
            self.command.copy_(self._fixed.expand_as(self.command))

    def plan(self, count: int) -> None:
        """Sample `count` commands of every robot now and repeat them in order from now on.

        The commands of a robot then do not depend on the falls of others, as comparisons require.
        """
        n = len(self.command)
        self._planned = torch.rand(
            (count, n, _DRAWS), generator=self._generator, device=self.command.device
        )
        self._next = torch.zeros(n, dtype=torch.int64, device=self.command.device)

    def resample(self, mask: torch.Tensor) -> None:
        """Sample new commands for the masked robots [N] bool."""
        c, unit = self.config, self._draw(mask)
        drawn = torch.addcmul(self._low, self._span, unit[:, :3]) * self._scale
        turn = c.heading_range[0] + (c.heading_range[1] - c.heading_range[0]) * unit[:, 3]
        standing = unit[:, 4] < c.standing_fraction
        slow = drawn[:, :2].norm(dim=1, keepdim=True) < c.min_speed * self._scale
        drawn[:, :2] = torch.where(slow, 0.0, drawn[:, :2])
        if c.flat_velocity:
            drawn, turn, standing = self._on_flat_ground(drawn, turn, standing, unit)
        if c.forward_types:
            drawn, turn = self._forward(drawn, turn, unit)
        if self._sampler is not None:
            drawn, standing = self._sampled(self._sampler, unit)
        drawn = torch.where(standing[:, None], 0.0, drawn)
        if self._fixed is not None:
            drawn = self._fixed.expand_as(drawn)
        torch.where(mask[:, None], drawn, self.command, out=self.command)
        torch.where(mask, turn, self.turn, out=self.turn)
        self.pending |= mask
        torch.where(mask, standing, self.standing, out=self.standing)
        self.time_left.masked_fill_(mask, c.resample_time_s)

    def _sampled(self, sampler: Sampler, unit: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Commands [N, 3] of the extension's sampler, and which of them are to stand still [N] bool."""
        drawn = sampler(unit, self.config)
        if drawn.shape != self.command.shape or drawn.dtype != torch.float32:
            expected = f"a tensor of shape {tuple(self.command.shape)} and type torch.float32"
            key = f"extensions (COMMANDS[{self.config.sampler!r}])"
            raise ConfigError(key, f"{tuple(drawn.shape)} {drawn.dtype}", expected)
        return drawn * self._scale, (drawn == 0.0).all(1)

    def _on_flat_ground(
        self, drawn: torch.Tensor, turn: torch.Tensor, standing: torch.Tensor, unit: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """On flat tiles: a curve, a turn on the spot or a stop, with a probability of one third each."""
        c, flat, choice = self.config, self.on_flat, unit[:, 4]
        curve = choice < 1 / 3
        speed = c.flat_velocity[0] + (c.flat_velocity[1] - c.flat_velocity[0]) * unit[:, 0]
        speed = speed * self._scale
        forward = torch.where(curve, speed, 0.0)
        planar = torch.stack([forward, torch.zeros_like(forward)], dim=1)
        drawn = torch.cat([torch.where(flat[:, None], planar, drawn[:, :2]), drawn[:, 2:]], dim=1)
        bend = c.flat_heading[0] + (c.flat_heading[1] - c.flat_heading[0]) * unit[:, 3]
        around = torch.pi * (2.0 * unit[:, 3] - 1.0)
        turn = torch.where(flat, torch.where(curve, bend, around), turn)
        return drawn, turn, torch.where(flat, choice >= 2 / 3, standing)

    def _forward(
        self, drawn: torch.Tensor, turn: torch.Tensor, unit: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """On tiles of the `forward_types`: ahead, with small turns."""
        c = self.config
        (slow, fast), (right, left) = c.forward_velocity, c.forward_heading
        speed = (slow + (fast - slow) * unit[:, 0]) * self._scale
        planar = torch.stack([speed, torch.zeros_like(speed)], dim=1)
        planar = torch.where(self.on_forward[:, None], planar, drawn[:, :2])
        bend = right + (left - right) * unit[:, 3]
        return torch.cat([planar, drawn[:, 2:]], dim=1), torch.where(self.on_forward, bend, turn)

    def _draw(self, mask: torch.Tensor) -> torch.Tensor:
        """Uniform numbers [N, 5] in [0, 1), those of the masked robots taken from the plan, if any."""
        if self._planned is None:
            return uniform((0.0, 1.0), (len(mask), _DRAWS), self._generator)
        robots = torch.arange(len(mask), device=mask.device)
        drawn = self._planned[self._next % len(self._planned), robots]
        self._next = self._next + mask.long()
        return drawn

    def step(self, yaw: torch.Tensor) -> None:
        """Advance by one control step; in heading mode compute yaw rates from the headings `yaw` [N] rad."""
        due = self.advance(yaw)
        if any_without_sync(due):
            self.resample(due)
        self.steer(yaw)

    def advance(self, yaw: torch.Tensor) -> torch.Tensor:
        """Advance courses and times; returns which robots are due for a new command, [N] bool."""
        self.course += self._dt * self._course_rate(yaw)
        self.time_left -= self._dt
        return self.time_left <= 0.0

    def steer(self, yaw: torch.Tensor) -> None:
        """Initialise the courses and headings of new commands; in heading mode set the yaw rates from the
        heading errors."""
        torch.where(self.pending, yaw, self.course, out=self.course)
        torch.where(self.pending, wrap_to_pi(yaw + self.turn), self.heading, out=self.heading)
        self.pending.zero_()
        if self._steers:
            self.command[:, 2] = torch.where(self.standing, 0.0, self._rate_from(yaw))

    @property
    def _steers(self) -> bool:
        return self.config.heading and self._fixed is None

    def _rate_from(self, yaw: torch.Tensor) -> torch.Tensor:
        """Yaw rate [N] rad/s that turns a robot from the heading `yaw` to the commanded one."""
        low, high = self.config.yaw_rate
        return (self.config.heading_gain * wrap_to_pi(self.heading - yaw)).clamp(low, high)

    def _course_rate(self, yaw: torch.Tensor) -> torch.Tensor:
        """Rate of change of `course` [N] rad/s. The commanded yaw rates of heading mode cannot be used: they
        also correct deviations of the robot."""
        if self._steers:
            return self._rate_from(self.course)
        return self.command[:, 2] + wrap_to_pi(yaw - self.course) / _MEMORY

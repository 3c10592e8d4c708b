"""Scandots: a grid of terrain heights around the robot, seen late, now and then, and with noise."""

from __future__ import annotations

import math

import torch

from legged_ppo.config.schema import ScandotsConfig
from legged_ppo.runtime.owned_state import OwnedState
from legged_ppo.runtime.sampling import uniform

NOMINAL_HEIGHT = 0.3
"""Base height [m] that scandots are measured from, as Extreme Parkour does."""
CLIP = 1.0
"""Bound [m] of the scandots about the nominal height."""


class Scandots(OwnedState):
    """The height sensor of N robots.

    `reading` [N, D] is the policy's input: the base's height above the ground at each point of the
    grid, about the nominal height [m], as of the last update.

    Args:
        dt: control step [s].
        noisy: add the configured noise.
    """

    owned = ("reading", "time_left", "past", "delay")

    def __init__(
        self,
        config: ScandotsConfig,
        num_envs: int,
        dt: float,
        generator: torch.Generator,
        noisy: bool = True,
    ) -> None:
        self._noise = config.noise if noisy else 0.0
        self.config, self._dt, self._generator = config, dt, generator
        device = generator.device
        x, y = torch.tensor(config.x), torch.tensor(config.y)
        self.grid = torch.cartesian_prod(x, y).reshape(-1, 2).to(device)  # [D, 2]
        self.size = len(self.grid)
        self.reading = torch.zeros(num_envs, self.size, device=device)
        self.time_left = torch.zeros(num_envs, device=device)
        # The last true scans, the newest first; robot i reads what lies `delay[i]` steps back.
        steps = max(1, math.ceil(config.latency_s[1] / dt)) if config.latency_s else 0
        self.past = torch.zeros(steps + 1, num_envs, self.size, device=device)
        self.delay = torch.zeros(num_envs, device=device)

    def points(self, base: torch.Tensor, yaw: torch.Tensor) -> torch.Tensor:
        """World positions (x, y) of the grid [N, D, 2] m, for bases at [N, 1, 2] m with headings [N] rad."""
        cos, sin = torch.cos(yaw), torch.sin(yaw)
        turn = torch.stack([cos, sin, -sin, cos], dim=1).view(-1, 2, 2)
        return torch.baddbmm(base, self.grid.expand(len(yaw), -1, 2), turn)

    def step(self, clearance: torch.Tensor) -> None:
        """Let one control step pass; `clearance` [N, D] m is the base's true height above each point."""
        if self.config.period_s:
            self.time_left -= self._dt
            due = self.time_left < 0.5 * self._dt
            period = uniform(self.config.period_s, due.shape, self._generator)
            # The remainder of either sign is kept: dropped, the mean period would be too long. It is
            # bounded for periods below a control step.
            remainder = self.time_left.clamp(min=-0.5 * self._dt)
            torch.where(due, remainder + period, self.time_left, out=self.time_left)
            fresh = self._measure(self._delayed(clearance))
            torch.where(due[:, None], fresh, self.reading, out=self.reading)
        else:
            self.reading.copy_(self._measure(self._delayed(clearance)))

    def reset(self, mask: torch.Tensor, clearance: torch.Tensor) -> None:
        """Start anew for the masked robots [N] bool, with what they see now."""
        chosen = mask[:, None]
        torch.where(chosen, self._measure(clearance), self.reading, out=self.reading)
        if self.config.period_s:
            period = uniform(self.config.period_s, mask.shape, self._generator)
            torch.where(mask, period, self.time_left, out=self.time_left)
        if self.config.latency_s:
            delay = uniform(self.config.latency_s, mask.shape, self._generator) / self._dt
            torch.where(mask, delay, self.delay, out=self.delay)
            torch.where(chosen, clearance, self.past, out=self.past)

    def _delayed(self, clearance: torch.Tensor) -> torch.Tensor:
        if not self.config.latency_s:
            return clearance
        self.past[1:] = self.past[:-1].clone()
        self.past[0] = clearance
        robots = torch.arange(len(clearance), device=clearance.device)
        # Latencies are fractions of a control step: what was seen lies between two scans.
        newer = self.delay.long().clamp(max=len(self.past) - 2)
        between = (self.delay - newer)[:, None]
        return torch.lerp(self.past[newer, robots], self.past[newer + 1, robots], between)

    def _measure(self, clearance: torch.Tensor) -> torch.Tensor:
        seen = (clearance - NOMINAL_HEIGHT).clamp(-CLIP, CLIP)
        if self._noise == 0.0:
            return seen
        noise = torch.randn(seen.shape, generator=self._generator, device=seen.device)
        return torch.add(seen, noise, alpha=self._noise)

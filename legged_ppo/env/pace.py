"""Pace: the share of its commanded speed that a robot has lately moved with, which tells that it is stuck."""

from __future__ import annotations

import math

import torch

from legged_ppo.runtime.owned_state import OwnedState

_STUCK = 0.2
"""Pace below which a robot is stuck."""
_SLOWEST = 0.1
"""Commanded speed [m/s] up to which every pace is right."""


class Pace(OwnedState):
    """Exponential averages of N robots.

    Args:
        stuck_after_s: time [s] in which a robot that stops becomes stuck; 0: none ever does.
        stuck_from: share of the training from which robots become stuck.
    """

    owned = ("average",)

    def __init__(
        self,
        stuck_after_s: float,
        num_envs: int,
        dt: float,
        device: torch.device,
        stuck_from: float = 0.0,
    ) -> None:
        self.watched = stuck_after_s > 0.0
        self._from = stuck_from
        self._active = torch.ones((), dtype=torch.bool, device=device)  # read by graphs
        time_constant = stuck_after_s / math.log(1.0 / _STUCK)
        self._share = -math.expm1(-dt / time_constant) if self.watched else 0.0
        self.average = torch.ones(num_envs, device=device)
        """[N] at most 1"""

    def set_progress(self, progress: float) -> None:
        """Take over the training's progress in [0, 1]."""
        self._active.fill_(progress >= self._from)

    def step(self, path_velocity: torch.Tensor, command: torch.Tensor) -> None:
        """Count a control step.

        Args:
            path_velocity: [N] m/s, along the commanded path.
            command: [N, 3] m/s, m/s and rad/s.
        """
        speed = command[:, :2].norm(dim=1)
        pace = (path_velocity / speed.clamp(min=_SLOWEST)).clamp(-1.0, 1.0)
        self.average.lerp_(torch.where(speed > _SLOWEST, pace, 1.0), self._share)

    def stuck(self) -> torch.Tensor:
        """[N] bool"""
        return (self.average < _STUCK) & self._active

    def reset(self, mask: torch.Tensor) -> None:
        """Begin the episodes of the masked robots [N] bool."""
        self.average.masked_fill_(mask, 1.0)

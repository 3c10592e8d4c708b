"""The gait clock: a periodic phase that the policy observes while the robot is commanded to move."""

from __future__ import annotations

import math

import torch

from legged_ppo.config.schema import GaitConfig
from legged_ppo.errors import ConfigError
from legged_ppo.runtime.owned_state import OwnedState


class GaitClock(OwnedState):
    """Phases of N robots with F feet; without a frequency nothing is observed.

    Raises:
        ConfigError: the number of phase offsets is not F.
    """

    owned = ("phase",)

    def __init__(
        self,
        config: GaitConfig,
        num_envs: int,
        num_feet: int,
        dt: float,
        generator: torch.Generator,
    ) -> None:
        if config.frequency and len(config.offsets) != num_feet:
            expected = f"{num_feet} phases, one for each of robot.foot_geoms"
            raise ConfigError("task.gait.offsets", config.offsets, expected)
        self.config, self._generator = config, generator
        self._step = config.frequency * dt
        self._offsets = torch.tensor(config.offsets, device=generator.device)
        self.phase = torch.zeros(num_envs, device=generator.device)
        """[N] in [0, 1): share of the stride of the first foot, which swings first"""

    @property
    def size(self) -> int:
        """Number of observed entries."""
        return 2 if self.config.frequency > 0.0 else 0

    def step(self) -> None:
        """Advance by one control step."""
        self.phase.add_(self._step).remainder_(1.0)

    def reset(self, mask: torch.Tensor) -> None:
        """Start the masked robots [N] bool at a random half stride."""
        if self.size:  # without a clock nothing is drawn
            shape, device = self.phase.shape, mask.device
            half = torch.rand(shape, generator=self._generator, device=device).round() / 2
            torch.where(mask, half, self.phase, out=self.phase)

    def observation(self, moving: torch.Tensor) -> torch.Tensor:
        """[N, size] sine and cosine of the phase; 0 for robots that are commanded to stand."""
        if not self.size:
            return self.phase.new_empty(len(self.phase), 0)
        angle = 2 * math.pi * self.phase[:, None]
        return torch.cat([angle.sin(), angle.cos()], dim=1) * moving[:, None]

    def swing(self) -> torch.Tensor:
        """[N, F] progress of each foot's swing in [0, 1); negative in stance."""
        foot = (self.phase[:, None] - self._offsets).remainder(1.0)
        return torch.where(foot < self.config.swing_share, foot / self.config.swing_share, -1.0)

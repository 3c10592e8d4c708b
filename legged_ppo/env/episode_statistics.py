"""Totals of the running episodes, and the metrics of those that end."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from legged_ppo.env.rewards import RewardInputs
from legged_ppo.runtime.owned_state import OwnedState
from legged_ppo.terrain.curriculum import EpisodeOutcome

_EPISODE_METRICS = ["count", "return", "length", "Episode/fall_rate", "path_distance", "commanded"]
_STEP_METRICS = ["Track/lin_vel_error", "Track/yaw_rate_error", "Sim/nonfinite_resets"]
_OUTCOME = ("length", "path_distance", "commanded")


class EpisodeStatistics(OwnedState):
    """Sums over the episodes of N robots, and the tracking errors of the last step.

    Args:
        reward_terms: names of the reward terms.
        max_length: control steps of an episode.
    """

    owned = ("totals",)

    def __init__(
        self, reward_terms: Sequence[str], max_length: int, num_envs: int, device: torch.device
    ) -> None:
        self._max_length = max_length
        self.episode_metrics = _EPISODE_METRICS + [f"Episode/rew_{n}" for n in reward_terms]
        self.step_metrics = _STEP_METRICS
        self._outcome_columns = [self.episode_metrics.index(name) for name in _OUTCOME]
        self.totals = torch.zeros(num_envs, len(self.episode_metrics), device=device)
        """[N, episode metrics]"""
        self.lin_vel_error = torch.zeros(num_envs, device=device)
        """[N] m/s in the last step; 0 of failed robots"""
        self.yaw_rate_error = torch.zeros(num_envs, device=device)
        """[N] rad/s"""

    def add(
        self,
        x: RewardInputs,
        reward: torch.Tensor,
        terms: torch.Tensor,
        fell: torch.Tensor,
        failed: torch.Tensor,
    ) -> None:
        """Add a step to the totals and take its tracking errors.

        Args:
            reward: [N], with its `terms` [N, terms].
            fell: [N] bool.
            failed: [N] bool, robots that blew up: what they did is not known, and NaN would spread over all sums.
        """
        state, command = x.state, x.command
        advance = torch.where(failed, 0.0, x.path_velocity * x.dt)
        commanded, one = command[:, :2].norm(dim=1) * x.dt, torch.ones_like(reward)
        columns = [one, reward, one, fell.float(), advance, commanded]
        self.totals += torch.cat([torch.stack(columns, dim=1), terms], dim=1)
        lin_vel_error = (state.base_lin_vel[:, :2] - command[:, :2]).norm(dim=1)
        yaw_rate_error = (state.base_ang_vel[:, 2] - command[:, 2]).abs()
        self.lin_vel_error = torch.where(failed, 0.0, lin_vel_error)
        self.yaw_rate_error = torch.where(failed, 0.0, yaw_rate_error)

    def info(self, done: torch.Tensor, failed: torch.Tensor) -> dict[str, torch.Tensor]:
        """`StepResult.info` of a step in which the episodes of `done` [N] bool ended."""
        ended = (self.totals * done[:, None]).sum(0)
        ended[0] = done.sum()
        errors = [self.lin_vel_error, self.yaw_rate_error, failed.float()]
        return {"episode": ended, "step": torch.stack(errors).sum(1)}

    def outcome(self, farthest: torch.Tensor, fell: torch.Tensor) -> EpisodeOutcome:
        """The episodes up to now, as the curriculum reads them."""
        steps, path_distance, commanded = (self.totals[:, i] for i in self._outcome_columns)
        return EpisodeOutcome(path_distance, commanded, farthest, fell, steps / self._max_length)

    def reset(self, mask: torch.Tensor) -> None:
        """Start the sums of the masked robots [N] bool anew."""
        self.totals.masked_fill_(mask[:, None], 0.0)  # a product keeps NaN

"""Schedules of the learning rate and the entropy coefficient over a run's progress in [0, 1]."""

from __future__ import annotations

import math

import torch

from legged_ppo.config.schema import PPOConfig

ADAPTIVE_BOUNDS = (1e-5, 1e-2)
"""Learning rates between which the adaptive rule moves (rsl_rl's)."""
_ADAPTIVE_FACTOR = 1.5


def scheduled_learning_rate(config: PPOConfig, progress: float) -> float:
    """Learning rate of the cosine, linear and constant schedules at `progress`."""
    start, end = config.learning_rate, config.learning_rate * config.final_lr_fraction
    progress = min(max(progress, 0.0), 1.0)
    match config.schedule:
        case "cosine":
            return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * progress))
        case "linear":
            return start + (end - start) * progress
    return start


def adapted_learning_rate(
    learning_rate: torch.Tensor, kl: torch.Tensor, desired_kl: float
) -> torch.Tensor:
    """The KL-adaptive rule: slower above twice the desired divergence, faster below half of it. Of scalars
    that stay on the device; in float64, so that the CPU computes what Python would."""
    low, high = ADAPTIVE_BOUNDS
    slower = (learning_rate / _ADAPTIVE_FACTOR).clamp(min=low)
    faster = (learning_rate * _ADAPTIVE_FACTOR).clamp(max=high)
    kl = kl.to(learning_rate.dtype)
    calm = (kl > 0.0) & (kl < 0.5 * desired_kl)
    return torch.where(kl > 2.0 * desired_kl, slower, torch.where(calm, faster, learning_rate))


def annealed(start: float, end: float | None, progress: float) -> float:
    """A value that goes linearly from `start` to `end`, where one is set."""
    if end is None:
        return start
    return start + (end - start) * min(max(progress, 0.0), 1.0)

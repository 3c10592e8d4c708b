"""Schedules of the learning rate and the entropy coefficient over a run's progress in [0, 1]."""

from __future__ import annotations

import math

import torch

from legged_ppo.config.schema import PPOConfig

ADAPTIVE_BOUNDS = (1e-5, 1e-2)
"""Smallest and largest learning rate of the adaptive rule (as in rsl_rl)."""
_ADAPTIVE_FACTOR = 1.5


def scheduled_learning_rate(config: PPOConfig, progress: float) -> float:
    """Learning rate of the cosine, linear or constant schedule at `progress` in [0, 1] of the run."""
    start, end = config.learning_rate, config.learning_rate * config.final_lr_fraction
    progress = min(max(progress, 0.0), 1.0)
    match config.schedule:
        case "cosine":
            return cosine(start, end, progress)
        case "linear":
            return start + (end - start) * progress
    return start


def cosine(start: float, end: float, progress: float) -> float:
    """From `start` to `end` along half a cosine, at `progress` in [0, 1]."""
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * progress))


def adapted_learning_rate(
    learning_rate: torch.Tensor, kl: torch.Tensor, desired_kl: float
) -> torch.Tensor:
    """KL-adaptive rule: a lower rate above twice the desired divergence, a higher one below half of it.

    Works on device scalars without synchronisation; float64 gives the same numbers as Python's floats.
    """
    low, high = ADAPTIVE_BOUNDS
    slower = (learning_rate / _ADAPTIVE_FACTOR).clamp(min=low)
    faster = (learning_rate * _ADAPTIVE_FACTOR).clamp(max=high)
    kl = kl.to(learning_rate.dtype)
    low_kl = (kl > 0.0) & (kl < 0.5 * desired_kl)
    return torch.where(kl > 2.0 * desired_kl, slower, torch.where(low_kl, faster, learning_rate))


def annealed(start: float, end: float | None, progress: float) -> float:
    """Linear interpolation from `start` to `end` at `progress`; `start` if `end` is None."""
    if end is None:
        return start
    return start + (end - start) * min(max(progress, 0.0), 1.0)

"""Losses and metrics of PPO over one minibatch (Schulman et al., 2017)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from legged_ppo.algorithms.rollout_buffer import Minibatch
from legged_ppo.interface import SignedPermutation
from legged_ppo.models.distributions import ActionDistribution

LOSS_METRICS = (
    "Loss/surrogate",
    "Loss/value",
    "Loss/entropy",
    "Policy/approx_kl",
    "Policy/clip_fraction",
    "Policy/mean_std",
)


@dataclass
class Losses:
    """Scalars; `metrics` [6] in the order of `LOSS_METRICS`, detached."""

    total: torch.Tensor
    metrics: torch.Tensor


def ppo_losses(
    distribution: ActionDistribution,
    values: torch.Tensor,
    batch: Minibatch,
    clip_range: float,
    value_clip_range: float | None,
    value_coef: float,
    entropy_coef: float | torch.Tensor,
) -> Losses:
    """Clipped surrogate + value_coef * clipped value loss - entropy_coef * entropy.

    Every step of the minibatch [L, B] is valid and counts once; there is no padding.
    """
    log_ratio = distribution.log_prob(batch.actions) - batch.log_probs
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1.0 - clip_range, 1.0 + clip_range)
    surrogate = -torch.minimum(batch.advantages * ratio, batch.advantages * clipped).mean()
    value_loss = clipped_value_loss(values, batch.values, batch.returns, value_clip_range)
    entropy = distribution.entropy().mean()
    total = surrogate + value_coef * value_loss - entropy_coef * entropy
    with torch.no_grad():
        # Unbiased, never negative estimate of KL(old || new): http://joschu.net/blog/kl-approx.html
        kl = (ratio - 1.0 - log_ratio).mean()
        clip_fraction = ((ratio - 1.0).abs() > clip_range).float().mean()
        std = distribution.std.mean()
        metrics = torch.stack([surrogate, value_loss, entropy, kl, clip_fraction, std])
    return Losses(total, metrics)


def mirror_loss(
    mean: torch.Tensor, mirrored_mean: torch.Tensor, reflect: SignedPermutation
) -> torch.Tensor:
    """Symmetry loss (Yu et al., 2018): mean squared distance between the mean action of a mirrored copy and
    the reflected mean action of its robot. The latter is detached.

    Args:
        mean: [..., A], mean actions of the robots.
        mirrored_mean: [..., A], mean actions of their mirrored copies.
        reflect: reflection of actions.
    """
    return (mirrored_mean - reflect(mean).detach()).square().mean()


def clipped_value_loss(
    values: torch.Tensor,
    old_values: torch.Tensor,
    returns: torch.Tensor,
    clip_range: float | None,
) -> torch.Tensor:
    """Mean squared error; with a clip range, the maximum of it and the error of the value clipped around the
    old one."""
    loss = (values - returns).square()
    if clip_range is not None:
        near = old_values + (values - old_values).clamp(-clip_range, clip_range)
        loss = torch.maximum(loss, (near - returns).square())
    return loss.mean()


def explained_variance(values: torch.Tensor, returns: torch.Tensor) -> torch.Tensor:
    """Share of the variance of the returns that the values explain: at most 1, 0 for a constant and for a
    single sample."""
    if returns.numel() < 2:
        return returns.new_zeros(())
    return 1.0 - (returns - values).var() / returns.var().clamp(min=1e-8)

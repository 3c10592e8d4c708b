"""Losses and metrics of PPO over one minibatch (Schulman et al., 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from legged_ppo.algorithms.rollout_buffer import Minibatch
from legged_ppo.interface import SignedPermutation
from legged_ppo.models.distributions import ActionDistribution

LOSS_METRICS = (
    "Loss/surrogate",
    "Loss/value",
    "Loss/value_clip_fraction",
    "Loss/entropy",
    "Policy/approx_kl",
    "Policy/clip_fraction",
    "Policy/mean_std",
)


@dataclass
class Losses:
    """Scalars; `metrics` [7] in the order of `LOSS_METRICS`, detached."""

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
    entropy = distribution.entropy().mean()
    clip = clip_range, value_clip_range
    surrogate, value_loss, kl, clip_fraction, value_clip_fraction = _Objective.apply(
        distribution.log_prob(batch.actions), values, batch, clip
    )
    total = surrogate + value_coef * value_loss - entropy_coef * entropy
    with torch.no_grad():
        std = distribution.std.mean()
        metrics = torch.stack(
            [surrogate, value_loss, value_clip_fraction, entropy, kl, clip_fraction, std]
        )
    return Losses(total, metrics)


class _Objective(torch.autograd.Function):
    """Surrogate and value loss with their derivatives written out: a quarter of the operators of autograd's,
    each of which costs more to call than to compute on a minibatch."""

    @staticmethod
    def forward(
        ctx: Any,
        log_probs: torch.Tensor,
        values: torch.Tensor,
        batch: Minibatch,
        clip: tuple[float, float | None],
    ) -> tuple[torch.Tensor, ...]:
        """Surrogate, value loss, approximate KL divergence, shares of clipped ratios and of clipped values."""
        clip_range, value_clip_range = clip
        log_ratio = log_probs - batch.log_probs
        ratio = log_ratio.exp()
        gain = batch.advantages * ratio
        clipped = batch.advantages * ratio.clamp(1.0 - clip_range, 1.0 + clip_range)
        smaller = torch.minimum(gain, clipped)
        error = values - batch.returns
        value_loss, slope = error.square(), error
        if value_clip_range is None:
            value_clip_fraction = values.new_zeros(())
        else:
            change = values - batch.values
            limited = change.clamp(-value_clip_range, value_clip_range)
            within = limited == change
            value_clip_fraction = 1.0 - within.float().mean()
            near = batch.values + limited - batch.returns
            squared = near.square()
            # Beyond its range the value that is clipped has no slope.
            slope = torch.where(squared > value_loss, near.where(within, 0.0), slope)
            value_loss = torch.maximum(value_loss, squared)
        ctx.save_for_backward(gain.where(gain == smaller, 0.0), slope)
        # Unbiased, never negative estimate of KL(old || new): http://joschu.net/blog/kl-approx.html
        kl = (ratio - 1.0 - log_ratio).mean()
        clip_fraction = ((ratio - 1.0).abs() > clip_range).float().mean()
        found = -smaller.mean(), value_loss.mean(), kl, clip_fraction, value_clip_fraction
        ctx.mark_non_differentiable(*found[2:])
        return found

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, d_surrogate: torch.Tensor, d_value_loss: torch.Tensor, *_: torch.Tensor
    ) -> tuple[torch.Tensor | None, ...]:
        """Gradients of `log_probs` and `values`."""
        gain, slope = ctx.saved_tensors
        count = gain.numel()
        return gain * (d_surrogate / -count), slope * (d_value_loss * (2.0 / count)), None, None


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


def explained_variance(values: torch.Tensor, returns: torch.Tensor) -> torch.Tensor:
    """Share of the variance of the returns that the values explain: at most 1, 0 for a constant and for a
    single sample."""
    if returns.numel() < 2:
        return returns.new_zeros(())
    return 1.0 - (returns - values).var() / returns.var().clamp(min=1e-8)

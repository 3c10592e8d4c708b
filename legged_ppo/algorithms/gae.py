"""Generalised advantage estimation (Schulman et al., 2016) with time limits."""

from __future__ import annotations

import torch


def gae(
    rewards: torch.Tensor,
    values: torch.Tensor,
    next_value: torch.Tensor,
    terminated: torch.Tensor,
    truncated: torch.Tensor,
    final_values: torch.Tensor,
    gamma: float,
    gae_lambda: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Advantages and returns of T steps of N environments.

    Args:
        rewards, values: [T, N].
        next_value: [N], value of the observation after the last step.
        terminated, truncated: [T, N] bool; both end the sum of advantages, only termination sets the
            following value to 0.
        final_values: [T, N], value of the true last observation where `truncated`, with the recurrent
            state of the ended episode; ignored elsewhere.

    Returns:
        advantages [T, N] and returns [T, N] = advantages + values.
    """
    following = torch.cat([values[1:], next_value.unsqueeze(0)])
    following = torch.where(truncated, final_values, following)
    following = torch.where(terminated, 0.0, following)
    deltas = rewards + gamma * following - values
    decay = gamma * gae_lambda * (~(terminated | truncated)).to(rewards.dtype)
    advantages = torch.empty_like(rewards)
    running = torch.zeros_like(next_value)
    for t in range(len(rewards) - 1, -1, -1):
        running = torch.addcmul(deltas[t], decay[t], running, out=advantages[t])
    return advantages, advantages + values

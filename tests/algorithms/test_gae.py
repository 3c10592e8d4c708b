"""GAE against its definition as a sum, around terminations and time limits."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch

from legged_ppo.algorithms.gae import gae

T, N, GAMMA, LAMBDA = 12, 6, 0.97, 0.9


class Rollout(NamedTuple):
    rewards: torch.Tensor
    values: torch.Tensor
    next_value: torch.Tensor
    terminated: torch.Tensor
    truncated: torch.Tensor
    final_values: torch.Tensor


def make_rollout() -> Rollout:
    """Random ends of both kinds, the last step included; `final_values` is rubbish where unused."""
    generator = torch.Generator().manual_seed(0)
    chance = torch.rand(T, N, generator=generator)
    chance[T - 1, 0], chance[T - 1, 1], chance[T - 1, 2] = 0.0, 1.0, 0.5
    terminated, truncated = chance < 0.2, chance > 0.8
    rewards, values, final = torch.randn(3, T, N, generator=generator)
    final = torch.where(truncated, final, 1e6)
    return Rollout(
        rewards, values, torch.randn(N, generator=generator), terminated, truncated, final
    )


def advantage_by_definition(rollout: Rollout, t: int, env: int) -> float:
    """A_t = sum_k (gamma lambda)^k delta_{t+k}, to the end of the episode or of the rollout."""
    r, v, next_value, terminated, truncated, final = (x.double().numpy() for x in rollout)
    total = 0.0
    for k in range(T - t):
        s = t + k
        if terminated[s, env]:
            following = 0.0
        elif truncated[s, env]:
            following = final[s, env]
        elif s == T - 1:
            following = next_value[env]
        else:
            following = v[s + 1, env]
        total += (GAMMA * LAMBDA) ** k * (r[s, env] + GAMMA * following - v[s, env])
        if terminated[s, env] or truncated[s, env]:
            break
    return total


def test_advantages_and_returns_equal_the_definition() -> None:
    rollout = make_rollout()
    advantages, returns = gae(*rollout, GAMMA, LAMBDA)
    expected = np.array(
        [[advantage_by_definition(rollout, t, n) for n in range(N)] for t in range(T)]
    )
    np.testing.assert_allclose(advantages, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(returns, expected + rollout.values.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("end", ["terminated", "truncated"])
def test_nothing_after_an_episodes_end_reaches_the_advantages_before(end: str) -> None:
    never = torch.zeros(T, N, dtype=torch.bool)
    rollout = make_rollout()._replace(terminated=never, truncated=never)
    cut = never.clone()
    cut[5] = True
    rollout = rollout._replace(**{end: cut})
    later = (torch.arange(T) > 5)[:, None]
    changed = rollout._replace(
        rewards=torch.where(later, 50.0, rollout.rewards),
        values=torch.where(later, -50.0, rollout.values),
        next_value=rollout.next_value + 50.0,
    )
    before, _ = gae(*rollout, GAMMA, LAMBDA)
    after, _ = gae(*changed, GAMMA, LAMBDA)
    assert torch.equal(before[:6], after[:6])
    assert not torch.isclose(before[6:], after[6:]).any()


def test_non_contiguous_tensors_give_the_same() -> None:
    rollout = make_rollout()
    strided = Rollout(*(x.t().contiguous().t() if x.dim() == 2 else x for x in rollout))
    assert not strided.rewards.is_contiguous()
    for ours, expected in zip(
        gae(*strided, GAMMA, LAMBDA), gae(*rollout, GAMMA, LAMBDA), strict=True
    ):
        assert torch.equal(ours, expected)

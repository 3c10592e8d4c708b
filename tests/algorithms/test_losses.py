"""PPO's losses against numbers worked out by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch

from legged_ppo.algorithms.losses import (
    LOSS_METRICS,
    explained_variance,
    ppo_losses,
)
from legged_ppo.algorithms.rollout_buffer import Minibatch

OLD_LOG_PROB, ENTROPY, STD = -1.0, 0.7, 0.4


@dataclass
class FixedDistribution:
    """Gives each action of a minibatch the log-probability that a test asks for."""

    log_probs: torch.Tensor

    def log_prob(self, action: torch.Tensor) -> torch.Tensor:
        return self.log_probs

    def entropy(self) -> torch.Tensor:
        return torch.full_like(self.log_probs, ENTROPY)

    @property
    def std(self) -> torch.Tensor:
        return torch.full((*self.log_probs.shape, 1), STD)


def losses_for(
    ratios: list[float], advantages: list[float], value_coef: float = 0.5, entropy_coef: float = 0.1
) -> tuple[torch.Tensor, torch.Tensor, dict[str, float]]:
    """Total loss, its gradient by the ratios and the metrics, for L=1; every value is 1 off."""
    ratio = torch.tensor([ratios], requires_grad=True)
    zeros = torch.zeros_like(ratio)
    batch = Minibatch(
        obs={},
        state=torch.zeros(1, len(ratios), 1),
        starts=zeros.bool(),
        actions=zeros[..., None],
        log_probs=zeros + OLD_LOG_PROB,
        values=zeros,
        advantages=torch.tensor([advantages]),
        returns=zeros + 1.0,
    )
    distribution = FixedDistribution(ratio.log() + OLD_LOG_PROB)
    losses = ppo_losses(distribution, zeros, batch, 0.2, 0.2, value_coef, entropy_coef)  # type: ignore[arg-type]
    (gradient,) = torch.autograd.grad(losses.total, ratio)
    metrics = dict(zip(LOSS_METRICS, losses.metrics.tolist(), strict=True))
    return losses.total.detach(), gradient[0], metrics


@pytest.mark.parametrize(
    ("ratio", "advantage", "objective", "has_gradient"),
    [
        (1.5, 2.0, 2.4, False),  # already likelier than the clip allows
        (0.5, 2.0, 1.0, True),
        (0.5, -2.0, -1.6, False),  # already less likely than the clip allows
        (1.5, -2.0, -3.0, True),
        (1.1, 2.0, 2.2, True),
    ],
)
def test_surrogate_is_the_pessimistic_clipped_objective(
    ratio: float, advantage: float, objective: float, has_gradient: bool
) -> None:
    _, gradient, metrics = losses_for([ratio], [advantage])
    assert metrics["Loss/surrogate"] == pytest.approx(-objective, rel=1e-5)
    assert float(gradient) == pytest.approx(-advantage if has_gradient else 0.0, abs=1e-5)


def test_total_weighs_the_three_losses_and_metrics_are_their_means() -> None:
    ratios, advantages = [1.5, 0.5, 1.1, 1.0], [1.0, 1.0, -2.0, 3.0]
    total, _, metrics = losses_for(ratios, advantages, value_coef=0.25, entropy_coef=0.1)
    surrogate = -(1.2 + 0.5 - 2.2 + 3.0) / 4
    kl = sum(r - 1 - math.log(r) for r in ratios) / 4
    expected = {
        "Loss/surrogate": surrogate,
        "Loss/value": 1.0,
        "Loss/value_clip_fraction": 0.0,
        "Loss/entropy": ENTROPY,
        "Policy/approx_kl": kl,
        "Policy/clip_fraction": 0.5,
        "Policy/mean_std": STD,
    }
    assert metrics == pytest.approx(expected, rel=1e-5)
    assert float(total) == pytest.approx(surrogate + 0.25 * 1.0 - 0.1 * ENTROPY, rel=1e-5)


@pytest.mark.parametrize(
    ("value", "target", "clipped", "unclipped"),
    [
        (1.0, 2.0, 3.24, 1.0),  # moved further than the clip: as if it had moved 0.2
        (1.0, 0.9, 0.49, 0.01),  # nearly right, but by too large a move
        (-1.0, -2.0, 3.24, 1.0),
        (-1.0, 2.0, 9.0, 9.0),  # moved the wrong way: the true error is the worse
        (0.1, 2.0, 3.61, 3.61),
    ],
)
def test_value_loss_is_the_worse_of_plain_and_clipped(
    value: float, target: float, clipped: float, unclipped: float
) -> None:
    for clip_range, expected in ((0.2, clipped), (None, unclipped)):
        batch = random_batch(1)
        batch.values, batch.returns = torch.zeros(1, 1), torch.full((1, 1), target)
        distribution = FixedDistribution(batch.log_probs)
        values = torch.full((1, 1), value)
        losses = ppo_losses(distribution, values, batch, 0.2, clip_range, 0.5, 0.0)  # type: ignore[arg-type]
        found = dict(zip(LOSS_METRICS, losses.metrics.tolist(), strict=True))
        assert found["Loss/value"] == pytest.approx(expected, rel=1e-5)
        left_the_range = clip_range is not None and abs(value) > clip_range
        assert found["Loss/value_clip_fraction"] == left_the_range


def random_batch(count: int) -> Minibatch:
    """Old values and returns, advantages and log-probabilities [1, count]."""
    generator = torch.Generator().manual_seed(3)
    numbers = torch.randn(4, 1, count, generator=generator)
    zeros = torch.zeros(1, count)
    return Minibatch({}, zeros[..., None], zeros.bool(), zeros[..., None], *numbers)


@pytest.mark.parametrize("clip_range", [0.3, None])
def test_gradients_are_those_that_autograd_finds(clip_range: float | None) -> None:
    batch = random_batch(400)
    generator = torch.Generator().manual_seed(4)
    moves = 0.4 * torch.randn(2, 1, 400, generator=generator)
    log_probs = (batch.log_probs + moves[0]).requires_grad_()
    values = (batch.values + moves[1]).requires_grad_()
    losses = ppo_losses(FixedDistribution(log_probs), values, batch, 0.2, clip_range, 0.5, 0.0)  # type: ignore[arg-type]
    found = torch.autograd.grad(losses.total, [log_probs, values])
    ratio = (log_probs - batch.log_probs).exp()
    gains = torch.stack([batch.advantages * r for r in (ratio, ratio.clamp(0.8, 1.2))])
    error = (values - batch.returns).square()
    if clip_range is not None:
        near = batch.values + (values - batch.values).clamp(-clip_range, clip_range)
        error = torch.maximum(error, (near - batch.returns).square())
    total = -gains.amin(0).mean() + 0.5 * error.mean()
    torch.testing.assert_close(losses.total, total)
    expected = torch.autograd.grad(total, [log_probs, values])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)
    assert all(0 < int((gradient == 0).sum()) < 400 for gradient in found[:1])


def test_explained_variance_is_one_if_perfect_zero_if_constant_negative_if_worse() -> None:
    returns = torch.tensor([[1.0, 2.0], [4.0, 7.0]])
    assert float(explained_variance(returns, returns)) == pytest.approx(1.0)
    assert float(explained_variance(torch.full_like(returns, 5.0), returns)) == pytest.approx(0.0)
    assert float(explained_variance(-returns, returns)) == pytest.approx(-3.0)


def test_a_single_sample_has_no_variance_to_explain() -> None:
    assert float(explained_variance(torch.ones(1, 1), torch.zeros(1, 1))) == 0.0

"""Action distributions against torch.distributions, and the heads' bounds and initial values."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import distributions as reference
from torch import nn

from legged_ppo.config.schema import PolicyConfig
from legged_ppo.models.distributions import (
    Categorical,
    Gaussian,
    ScaledBeta,
    bounded_log_std,
    make_head,
)

ACTIONS = 3
HEADS = ["gaussian", "fixed_gaussian", "state_gaussian", "beta"]
MIN_STD, MAX_STD = 0.05, 2.0


def gaussian() -> Gaussian:
    return Gaussian(torch.randn(4, 5, ACTIONS), torch.tensor([-1.0, 0.0, 0.5]))


def beta() -> ScaledBeta:
    return ScaledBeta(1 + 4 * torch.rand(4, 5, ACTIONS), 1 + 4 * torch.rand(4, 5, ACTIONS), 2.5)


def expected_of(ours: Gaussian | ScaledBeta) -> reference.Distribution:
    """The same distribution, over the whole action at once."""
    if isinstance(ours, Gaussian):
        return reference.Independent(reference.Normal(ours.mean, ours.log_std.exp()), 1)
    to_action = reference.AffineTransform(-ours.bound, 2 * ours.bound)
    unit = reference.Beta(ours.alpha, ours.beta)
    return reference.Independent(reference.TransformedDistribution(unit, [to_action]), 1)


def test_categorical_equals_the_reference_on_one_hot_rows() -> None:
    torch.manual_seed(0)
    logits = torch.randn(4, 5, ACTIONS, requires_grad=True)
    ours, theirs = Categorical(logits), reference.OneHotCategorical(logits=logits)
    action = ours.sample(torch.Generator().manual_seed(0))
    assert action.shape == logits.shape and torch.equal(action.sum(-1), torch.ones(4, 5))
    torch.testing.assert_close(ours.log_prob(action), theirs.log_prob(action))
    torch.testing.assert_close(ours.entropy(), theirs.entropy())
    torch.testing.assert_close(ours.std, theirs.variance.sqrt())
    assert torch.equal(ours.mode.argmax(-1), logits.argmax(-1))
    many = Categorical(logits[0, 0].expand(20_000, ACTIONS))
    frequencies = many.sample(torch.Generator().manual_seed(1)).mean(0)
    torch.testing.assert_close(frequencies, logits[0, 0].softmax(-1), rtol=0, atol=0.01)


@pytest.mark.parametrize("make", [gaussian, beta])
def test_log_prob_and_its_gradient_equal_the_reference(make: Any) -> None:
    torch.manual_seed(0)
    ours = make()
    for tensor in vars(ours).values():
        if isinstance(tensor, torch.Tensor):
            tensor.requires_grad_()
    theirs = expected_of(ours)
    action = 2.4 * (2 * torch.rand(4, 5, ACTIONS) - 1)
    wrt = [t for t in vars(ours).values() if isinstance(t, torch.Tensor)]
    a, b = ours.log_prob(action), theirs.log_prob(action)
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        torch.autograd.grad(a.sum(), wrt),
        torch.autograd.grad(b.sum(), wrt),
        rtol=1e-4,
        atol=1e-4,
    )


def test_log_prob_of_a_narrow_beta_loses_no_digits_that_a_ratio_needs() -> None:
    torch.manual_seed(0)
    alpha, beta = 80 + 10 * torch.rand(2, 100, 12)
    action = 0.2 * torch.randn(100, 12)
    ours = ScaledBeta(alpha, beta, 4.0).log_prob(action)
    exact = expected_of(ScaledBeta(alpha.double(), beta.double(), 4.0)).log_prob(action.double())
    torch.testing.assert_close(ours.double(), exact, rtol=1e-6, atol=1e-6)


def test_entropy_std_and_mode_equal_the_reference() -> None:
    torch.manual_seed(0)
    normal = gaussian()
    base = reference.Normal(normal.mean, normal.log_std.exp())
    torch.testing.assert_close(normal.entropy(), base.entropy().sum(-1))
    torch.testing.assert_close(normal.std, base.stddev)
    torch.testing.assert_close(normal.mode, base.mode)

    scaled, width = beta(), 5.0
    unit = reference.Beta(scaled.alpha, scaled.beta)
    expected = (unit.entropy() + torch.log(torch.tensor(width))).sum(-1)
    torch.testing.assert_close(scaled.entropy(), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(scaled.std, unit.stddev * width)
    torch.testing.assert_close(scaled.mode, (unit.mode - 0.5) * width)


@pytest.mark.parametrize(
    "ours",
    [
        Gaussian(torch.tensor([-1.0, 0.0, 2.0]), torch.tensor([-1.0, 0.0, 0.5])),
        ScaledBeta(torch.tensor([1.1, 2.0, 6.0]), torch.tensor([3.0, 2.0, 1.5]), bound=2.5),
    ],
    ids=["gaussian", "beta"],
)
def test_samples_have_the_distributions_mean_and_std(ours: Any) -> None:
    count = 40_000
    many = type(ours)(
        *(
            p.expand(count, ACTIONS) if isinstance(p, torch.Tensor) else p
            for p in vars(ours).values()
        )
    )
    samples = many.sample(torch.Generator().manual_seed(0))
    mean = ours.mode if isinstance(ours, Gaussian) else expected_mean(ours)
    error = (samples.mean(0) - mean).abs() / ours.std
    assert error.max() < 5 / count**0.5
    torch.testing.assert_close(samples.std(0), ours.std, rtol=0.03, atol=0)


def expected_mean(scaled: ScaledBeta) -> torch.Tensor:
    return (2 * scaled.alpha / (scaled.alpha + scaled.beta) - 1) * scaled.bound


@pytest.mark.parametrize("make", [gaussian, beta])
def test_sampling_draws_from_the_passed_generator_only(make: Any) -> None:
    distribution = make()
    before = torch.get_rng_state()
    first = distribution.sample(torch.Generator().manual_seed(1))
    torch.rand(3)
    after_use = torch.get_rng_state()
    second = distribution.sample(torch.Generator().manual_seed(1))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), after_use) and not torch.equal(before, after_use)
    assert not torch.equal(first, distribution.sample(torch.Generator().manual_seed(2)))


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("init_std", [0.4, 1.5])
def test_every_head_starts_at_the_asked_std_near_zero_action(name: str, init_std: float) -> None:
    head = make_head(8, ACTIONS, PolicyConfig(distribution=name, init_std=init_std))
    distribution = head(torch.randn(16, 8))
    torch.testing.assert_close(
        distribution.std, torch.full((16, ACTIONS), init_std), rtol=0.05, atol=0
    )
    assert distribution.mode.abs().max() < 0.3


@pytest.mark.parametrize("raw", [-1000.0, -10.0, 10.0, 1000.0])
def test_std_stays_within_its_bounds(raw: float) -> None:
    std = bounded_log_std(torch.tensor(raw), (MIN_STD, MAX_STD)).exp()
    assert MIN_STD * 0.999 <= std <= MAX_STD * 1.001


@pytest.mark.parametrize("name", ["gaussian", "state_gaussian"])
@pytest.mark.parametrize(("raw", "bound"), [(-8.0, MIN_STD), (8.0, MAX_STD)])
def test_std_at_its_bound_still_has_a_gradient(name: str, raw: float, bound: float) -> None:
    head = make_head(8, ACTIONS, PolicyConfig(distribution=name, min_std=MIN_STD, max_std=MAX_STD))
    suffix = "" if name == "gaussian" else ".bias"
    parameter = head.get_parameter(f"raw_log_std{suffix}")
    nn.init.constant_(parameter, raw)
    distribution = head(torch.zeros(2, 8))
    torch.testing.assert_close(distribution.std, torch.full((2, ACTIONS), bound), rtol=0.01, atol=0)
    distribution.entropy().sum().backward()
    assert parameter.grad is not None and (parameter.grad > 1e-4).all()


def test_beta_stays_finite_at_the_ends_of_its_interval_and_parameters() -> None:
    head = make_head(2, 1, PolicyConfig(distribution="beta"))
    generator = torch.Generator().manual_seed(0)
    for raw in (-200.0, 0.0, 200.0):
        nn.init.constant_(head.get_parameter("parameters_layer.bias"), raw)
        distribution = head(torch.zeros(64, 2))
        action = distribution.sample(generator)
        for tensor in (action, distribution.mode, distribution.std, distribution.entropy()):
            assert tensor.isfinite().all()
        for edge in (-4.0, 4.0):
            assert distribution.log_prob(torch.full_like(action, edge)).isfinite().all()

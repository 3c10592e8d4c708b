"""Learning rate and annealed values over a run."""

from __future__ import annotations

import random

import pytest
import torch

from legged_ppo.algorithms.schedules import (
    ADAPTIVE_BOUNDS,
    adapted_learning_rate,
    annealed,
    scheduled_learning_rate,
)
from legged_ppo.config.schema import PPOConfig


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("cosine", [1.0, 1.0, 0.8681981, 0.55, 0.1, 0.1]),
        ("linear", [1.0, 1.0, 0.775, 0.55, 0.1, 0.1]),
        ("constant", [1.0] * 6),
    ],
)
def test_schedule_goes_from_the_first_to_the_final_rate_and_no_further(
    schedule: str, expected: list[float]
) -> None:
    config = PPOConfig(schedule=schedule, learning_rate=2e-3, final_lr_fraction=0.1)
    rates = [scheduled_learning_rate(config, p) for p in (-1.0, 0.0, 0.25, 0.5, 1.0, 2.0)]
    assert rates == pytest.approx([2e-3 * share for share in expected])


def adapted(learning_rate: float, kl: float) -> float:
    rate = torch.tensor(learning_rate, dtype=torch.float64)
    return float(adapted_learning_rate(rate, torch.tensor(kl), desired_kl=0.01))


@pytest.mark.parametrize(
    ("kl", "factor"),
    [(0.021, 1 / 1.5), (0.019, 1.0), (0.006, 1.0), (0.004, 1.5), (0.0, 1.0), (float("nan"), 1.0)],
)
def test_adaptive_rate_falls_above_twice_and_rises_below_half_the_desired_kl(
    kl: float, factor: float
) -> None:
    draw = random.Random(0)
    for rate in (1e-3, *(draw.uniform(1e-4, 1e-3) for _ in range(50))):
        assert adapted(rate, kl) == (rate / 1.5 if factor < 1 else rate * factor)


def test_adaptive_rate_stays_within_its_bounds() -> None:
    low, high = ADAPTIVE_BOUNDS
    assert adapted(1.1 * low, 1.0) == low
    assert adapted(0.9 * high, 1e-6) == high


def test_annealed_value_moves_linearly_only_if_a_final_one_is_set() -> None:
    values = [annealed(0.01, 0.0, p) for p in (-1.0, 0.0, 0.25, 1.0, 2.0)]
    assert values == pytest.approx([0.01, 0.01, 0.0075, 0.0, 0.0])
    assert annealed(0.01, None, 0.7) == 0.01

"""Learning rate and annealed values over a run."""

from __future__ import annotations

import pytest

from legged_ppo.config.schema import PPOConfig
from legged_ppo.ppo.schedules import (
    ADAPTIVE_BOUNDS,
    adapted_learning_rate,
    annealed,
    scheduled_learning_rate,
)


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


@pytest.mark.parametrize(
    ("kl", "factor"), [(0.021, 1 / 1.5), (0.019, 1.0), (0.006, 1.0), (0.004, 1.5), (0.0, 1.0)]
)
def test_adaptive_rate_falls_above_twice_and_rises_below_half_the_desired_kl(
    kl: float, factor: float
) -> None:
    assert adapted_learning_rate(1e-3, kl, desired_kl=0.01) == pytest.approx(1e-3 * factor)


def test_adaptive_rate_stays_within_its_bounds() -> None:
    low, high = ADAPTIVE_BOUNDS
    assert adapted_learning_rate(1.1 * low, 1.0, desired_kl=0.01) == low
    assert adapted_learning_rate(0.9 * high, 1e-6, desired_kl=0.01) == high


def test_annealed_value_moves_linearly_only_if_a_final_one_is_set() -> None:
    values = [annealed(0.01, 0.0, p) for p in (-1.0, 0.0, 0.25, 1.0, 2.0)]
    assert values == pytest.approx([0.01, 0.01, 0.0075, 0.0, 0.0])
    assert annealed(0.01, None, 0.7) == 0.01

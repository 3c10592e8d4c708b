"""Model cards of the policies that come with the package: their figures, and whether a policy still has them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from legged_ppo.evaluation.statistics import interval_name
from legged_ppo.evaluation.task import task_of
from legged_ppo.evaluation.trained_policy import evaluate, load_policy
from legged_ppo.runs.pretrained import PREFIX
from legged_ppo.runtime.intervals import Z95

FIGURES = ("success_rate", "lin_vel_error", "yaw_rate_error", "time_to_fall_s")
"""What a row of a card has of `summarize`, each with its 95 % interval."""
GAIT = {
    "trot_index": 0.15,
    "stride_hz": 0.3,
    "swing_height_m": 0.02,
    "lateral_bias_m_s": 0.03,
    "power_above_8hz": 0.1,
    "fall_rate": 0.25,
}
STANDING = {"landings_per_s": 0.2, "drift_m_s": 0.03, "drift_rad_s": 0.03, "fall_rate": 0.25}
"""What a card has of `gait.gait_report`, and how far a measurement of a few robots may be from it."""
_UNLIKELY = 1e-4
"""Probability under the card's figures below which successes disagree with it."""
_DEVIATIONS = 5.0
"""Standard errors from which a mean disagrees."""


def measure_row(name: str, row: dict[str, Any], episodes: int, seed: int = 0) -> dict[str, Any]:
    """A row of the card of `pretrained:NAME` measured anew, as `evaluate.py --terrain TYPE --level LEVEL` does.

    Args:
        row: has "terrain", "level" and "overrides"; its figures are not read.
    """
    policy = load_policy(f"{PREFIX}{name}", row["overrides"])
    place = {"terrain": row["terrain"], "level": row["level"]}
    result = evaluate(policy, **place, episodes=episodes, seed=seed)
    found, group = result["overall"], result["terrain"][row["terrain"]]
    figures = {key: found[key] for each in FIGURES for key in (each, interval_name(each))}
    feature = group["features"][str(row["level"])]
    return {
        **place,
        "feature": feature,
        "overrides": row["overrides"],
        "episodes": episodes,
    } | figures


def measure_gait(name: str, robots: int, seed: int = 0) -> dict[str, Any]:
    """{"gait": {"0.5": figures, ...}, "standing": figures} of `pretrained:NAME`, as in `evaluate.py --json`; None
    where every robot fell."""
    policy = load_policy(f"{PREFIX}{name}")
    found = task_of(policy.config).evaluate_gait(policy.network, robots, seed)
    return {
        "robots": robots,
        "gait": {
            speed: {key: row.get(key) for key in GAIT} for speed, row in found["gait"].items()
        },
        "standing": {key: found["standing"].get(key) for key in STANDING},
    }


def row_disagreements(card: dict[str, Any], measured: dict[str, Any]) -> list[str]:
    """What of a measured row cannot be chance if the card's row is right; empty if nothing."""
    episodes = measured["episodes"]
    successes = round(measured["success_rate"] * episodes)
    low, high = card["success_ci95"]
    rate = low if measured["success_rate"] < card["success_rate"] else high
    lines = []
    if _tail(successes, episodes, rate) < _UNLIKELY:
        expected = f"the card has {card['success_rate']:.3f} ({low:.3f} to {high:.3f})"
        lines.append(f"success in {successes} of {episodes} episodes: {expected}")
    for name in FIGURES[1:]:
        of_card, of_measured = (
            _standard_error(row[interval_name(name)]) for row in (card, measured)
        )
        # The larger deviation of the two: no robot of the card may have fallen, or none of the measured ones.
        expected_of_measured = of_card * math.sqrt(card["episodes"] / episodes)
        error = math.hypot(of_card, max(expected_of_measured, of_measured))
        if abs(measured[name] - card[name]) > _DEVIATIONS * error:
            lines.append(f"{name} {measured[name]:.3f}: the card has {card[name]:.3f}")
    return lines


def gait_disagreements(card: dict[str, Any], measured: dict[str, Any]) -> list[str]:
    """What of a measured gait and standing is farther from the card's than `GAIT` and `STANDING` allow."""
    tests = [
        (f"{speed} m/s", card["gait"][speed], row, GAIT) for speed, row in measured["gait"].items()
    ]
    tests.append(("standing", card["standing"], measured["standing"], STANDING))
    return [
        f"{label}: {key} {row[key]}, the card has {known[key]:.3f}"
        for label, known, row, tolerances in tests
        for key, tolerance in tolerances.items()
        if row[key] is None or abs(row[key] - known[key]) > tolerance
    ]


def _standard_error(interval: Sequence[float]) -> float:
    """Of a mean, from its 95 % interval."""
    return (interval[1] - interval[0]) / (2 * Z95)


def _tail(successes: int, trials: int, rate: float) -> float:
    """Probability of a number of successes at least as far from `rate`, on the same side."""
    numbers = range(successes + 1) if successes < rate * trials else range(successes, trials + 1)
    return sum(math.comb(trials, k) * rate**k * (1 - rate) ** (trials - k) for k in numbers)

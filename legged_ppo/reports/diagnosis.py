"""Advice on a run: symptom, the figure that shows it, and the keys of the recipe to change."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from legged_ppo.reports.health import RULES, HealthMonitor, Rule, rules_for
from legged_ppo.reports.plots import series
from legged_ppo.reports.run_record import RunRecord

_RISING, _PAST = 0.02, 0.10
"""Change of a success rate that counts: within the last third of a run, and below its best"""
_FEW_ITERATIONS = 10
"""Evaluations below which nothing is said about their course."""


@dataclass(frozen=True)
class Advice:
    """One line of the report."""

    symptom: str
    figure: str
    """Metric and value."""
    change: str
    """Keys of the recipe, and in which direction."""
    steps: float | None
    """Environment steps [millions] at which it was due; None of the evaluation."""
    lasting: bool
    """The figure was unhealthy to the end."""


@dataclass(frozen=True)
class _GaitRule:
    """Unhealthy figure of a walking test."""

    figure: str
    unhealthy: Callable[[float, float], bool]
    """Of the figure and the commanded speed [m/s]"""
    symptom: str
    change: str


_GAIT_RULES = (
    _GaitRule(
        "saturated_torque",
        lambda share, _: share > 0.01,
        "joints are at their torque limit",
        "strengthen task.rewards.torques, or lower robot.kp or robot.action_scale",
    ),
    _GaitRule(
        "power_above_8hz",
        lambda share, _: share > 0.25,
        "actions jitter",
        "strengthen task.rewards.action_rate, or raise robot.kd",
    ),
    _GaitRule(
        "slip_m_s",
        lambda speed, _: speed > 0.15,
        "feet slip while they stand",
        "strengthen task.rewards.feet_slip",
    ),
    _GaitRule(
        "swing_height_m",
        lambda height, _: height < 0.03,
        "feet hardly leave the ground",
        "task.rewards.foot_clearance below 0 with task.rewards.clearance_target, "
        "or raise task.rewards.feet_air_time",
    ),
    _GaitRule(
        "velocity_m_s",
        lambda speed, command: speed < 0.7 * command,
        "walks more slowly than commanded",
        "raise task.rewards.tracking_lin_vel, or bring task.rewards.torques and work nearer to 0",
    ),
    _GaitRule(
        "lateral_bias_m_s",
        lambda speed, _: abs(speed) > 0.1,
        "walks sideways when told to walk straight ahead",
        "ppo.symmetry=equivariant or augmentation",
    ),
    _GaitRule(
        "fall_rate",
        lambda rate, _: rate > 0.05,
        "falls on flat ground",
        "train longer, or give terrain.proportions.flat a larger share",
    ),
)


def advice_for(run: RunRecord) -> list[Advice]:
    """What the run's own figures say, in the order of its history."""
    return [*_of_training(run), *_of_course(run), *_of_evaluation(run.evaluation)]


def _of_training(run: RunRecord) -> Iterator[Advice]:
    """The lines that the training printed."""
    monitor, found = HealthMonitor(_rules(run)), []
    for i, row in enumerate(run.rows):
        metrics = {key: math.nan if value is None else value for key, value in row.items()}
        due = monitor.due(metrics, int(row.get("iteration", i + 1)))
        found += [(rule, metrics[rule.metric], row["env_steps"] / 1e6) for rule in due]
    for rule, value, steps in found:
        symptom, _, change = rule.advice.partition(": ")
        yield Advice(symptom, f"{rule.metric} {value:.3g}", change, steps, monitor.lasting(rule))


def _rules(run: RunRecord) -> tuple[Rule, ...]:
    config = run.config
    if config is None:
        return RULES
    _, entropy = series(run.rows[:1], "Loss/entropy")
    # A new categorical policy is nearly uniform.
    choices = round(math.exp(min(float(entropy[0]), 20.0))) if len(entropy) else 2
    samples = config.training.num_envs * config.ppo.rollout_length
    return rules_for(config, choices, math.ceil(config.training.total_timesteps / samples))


def _of_course(run: RunRecord) -> Iterator[Advice]:
    """Whether the evaluations were still rising at the end, or have fallen since their best."""
    x, y = series(run.rows, "Eval/success_rate")
    if len(y) < _FEW_ITERATIONS:
        return
    half, best = max(1, len(y) // 6), float(y.max())
    recent, before = float(y[-half:].mean()), float(y[-2 * half : -half].mean())
    name = "Eval/success_rate"
    if best < 0.98 and recent - before > _RISING and run.state.state == "finished":
        text = f"{name} {before:.2f} to {recent:.2f} in the last third"
        yield Advice(
            "still improving at its end", text, "raise training.total_timesteps", None, True
        )
    if best - recent > _PAST:
        text = f"{name} {recent:.2f}, {best:.2f} at {x[y.argmax()]:.1f} M steps"
        change = "lower ppo.learning_rate, or set ppo.target_kl=0.02 or training.average_decay=0.99"
        yield Advice("worse than its best", text, change, None, True)


def _of_evaluation(evaluation: Mapping[str, Any]) -> Iterator[Advice]:
    for speed, figures in evaluation.get("gait", {}).items():
        for rule in _GAIT_RULES:
            value = figures.get(rule.figure)
            if value is not None and rule.unhealthy(value, float(speed)):
                text = f"{rule.figure} {value:.2f} at {speed} m/s"
                yield Advice(rule.symptom, text, rule.change, None, True)
    landings = evaluation.get("standing", {}).get("landings_per_s")
    if landings is not None and landings > 0.3:
        text = f"landings_per_s {landings:.1f} at a command of 0"
        change = "strengthen task.rewards.stand_still and task.rewards.stand_contact"
        yield Advice("steps while it should stand", text, change, None, True)
    for name, group in evaluation.get("terrain", {}).items():
        level, figures = next(iter(group["levels"].items()))
        if figures["episodes"] >= 4 and figures["success_rate"] < 0.5:
            text = f"success_rate {figures['success_rate']:.2f} at level {level}"
            change = f"raise terrain.proportions.{name}, or begin its levels lower"
            yield Advice(f"{name} fails where it is easiest", text, change, None, True)

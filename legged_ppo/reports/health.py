"""Advice: when a figure stays outside its healthy range, one line names the cause and the keys to change."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from legged_ppo.config.schema import Config


@dataclass(frozen=True)
class Rule:
    """A symptom (NaN is one of every rule), for how many iterations in a row it must last, and the advice."""

    metric: str
    unhealthy: Callable[[float], bool]
    patience: int
    advice: str
    warmup: int = 0
    """Iterations at the start of a run in which the rule is not applied."""
    until: float = math.inf
    """Last iteration in which the rule is applied."""


_COLLAPSE = Rule(
    "Policy/mean_std",
    lambda std: std < 0.1,
    20,
    "exploration has collapsed: raise ppo.entropy_coef or policy.min_std",
)
_STANDSTILL = Rule(
    "Policy/clip_fraction",
    lambda f: f < 0.05,
    50,
    "the policy hardly moves: raise ppo.learning_rate or ppo.num_epochs",
)
_BLOW_UP = Rule(
    "Sim/nonfinite_resets",
    lambda rate: rate > 1e-5,
    3,
    "robots blow up in the physics: set sim.integrator=implicitfast, "
    "lower sim.dt or robot.kp, or raise sim.iterations",
)
RULES = (
    Rule(
        "Policy/approx_kl",
        lambda kl: kl > 0.1,
        3,
        "updates are far too large: lower ppo.learning_rate or ppo.num_epochs, or set ppo.target_kl=0.02",
    ),
    Rule(
        "Policy/approx_kl",
        lambda kl: 0.05 < kl <= 0.1,
        10,
        "updates are large: lower ppo.learning_rate, or use ppo.schedule=adaptive",
    ),
    Rule(
        "Policy/clip_fraction",
        lambda f: f > 0.5,
        10,
        "most of the batch is clipped: lower ppo.learning_rate or ppo.num_epochs",
    ),
    _STANDSTILL,
    Rule(
        "Policy/explained_variance",
        lambda v: v < 0.5,
        50,
        "the critic explains little: raise ppo.value_coef or training.num_envs, lower ppo.learning_rate, "
        "or give it policy.critic_privileged=true",
        warmup=50,
    ),
    _COLLAPSE,
    Rule(
        "Track/progress",
        lambda share: share < 0.1,
        50,
        "robots stand still: bring task.rewards.torques and work nearer to 0 (a heavy robot needs "
        "smaller weights), or raise task.rewards.tracking_lin_vel",
        warmup=150,
    ),
    _BLOW_UP,
    Rule(
        "Sim/nonfinite_samples",
        lambda samples: samples > 0,
        1,
        "rewards or observations of the environment are not finite; they became 0 and their episodes ended",
    ),
    Rule(
        "Loss/skipped_steps",
        lambda steps: steps > 0,
        1,
        "losses or gradients are not finite and their optimizer steps are skipped: "
        "lower ppo.learning_rate, and check the rewards and observations",
    ),
    Rule(
        "Sim/overflows",
        lambda robots: robots > 0,
        3,
        "contacts are lost and robots sink: raise sim.contacts, sim.constraints and sim.convex_pairs",
    ),
)


def rules_for(config: Config, num_actions: int, total_iterations: int) -> tuple[Rule, ...]:
    """The rules that apply to this recipe."""
    left_out: list[Rule] = []
    added: list[Rule] = []
    ppo = config.ppo
    if ppo.num_epochs == 1 and ppo.num_minibatches == 1 and not ppo.sequences_per_minibatch:
        left_out.append(_STANDSTILL)  # every ratio of the only minibatch is 1
    if config.sim.integrator == "implicitfast":
        left_out.append(_BLOW_UP)
        advice = _BLOW_UP.advice.replace("set sim.integrator=implicitfast, ", "")
        added.append(replace(_BLOW_UP, advice=advice))
    if config.policy.distribution == "categorical":
        left_out.append(_COLLAPSE)  # a converged categorical policy has no spread
        added.append(_sudden_certainty(num_actions, total_iterations))
    return (*(rule for rule in RULES if rule not in left_out), *added)


def _sudden_certainty(num_actions: int, total_iterations: int) -> Rule:
    """A nearly deterministic choice among `num_actions` within the first quarter of the run."""
    lowest = 0.1 * math.log(num_actions)
    return Rule(
        "Loss/entropy",
        lambda entropy: entropy < lowest,
        10,
        "exploration ended early: raise ppo.entropy_coef or lower ppo.learning_rate",
        until=total_iterations / 4,
    )


@dataclass
class HealthMonitor:
    """Counts unhealthy iterations in a row; each rule gives its advice once until its figure is healthy again."""

    rules: tuple[Rule, ...] = RULES
    streaks: dict[str, int] = field(default_factory=dict)
    """By metric and advice, so that a resume with other rules keeps what still applies."""

    def check(self, metrics: Mapping[str, float], iteration: int) -> list[str]:
        """Advice that is due after this iteration, in lines."""
        return [
            f"{rule.metric} is {metrics[rule.metric]:.3g} for {rule.patience} iterations: {rule.advice}"
            for rule in self.due(metrics, iteration)
        ]

    def due(self, metrics: Mapping[str, float], iteration: int) -> list[Rule]:
        """Rules whose advice is due after this iteration."""
        due = []
        for rule in self.rules:
            key = f"{rule.metric}: {rule.advice}"
            value = metrics.get(rule.metric)
            applies = rule.warmup < iteration <= rule.until
            # A comparison with NaN is false, so it would pass as healthy.
            unhealthy = (
                applies and value is not None and (math.isnan(value) or rule.unhealthy(value))
            )
            self.streaks[key] = self.streaks.get(key, 0) + 1 if unhealthy else 0
            if self.streaks[key] == rule.patience:
                due.append(rule)
        return due

    def lasting(self, rule: Rule) -> bool:
        """Whether the rule's figure was unhealthy in the last iteration."""
        return self.streaks.get(f"{rule.metric}: {rule.advice}", 0) > 0

"""How good a policy is while it trains: one score, by which the best checkpoint is chosen."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from legged_ppo.config.schema import Config
from legged_ppo.evaluation.evaluator import evaluate_policy
from legged_ppo.models.actor_critic import ActorCritic


@dataclass
class PolicyScore:
    score: float
    """Higher is better."""
    metrics: dict[str, float]


PolicyScorer = Callable[[ActorCritic, Config, int, int], PolicyScore]
"""Of a policy, the run's configuration, a number of episodes and a seed."""


def score_policy(policy: ActorCritic, config: Config, episodes: int, seed: int) -> PolicyScore:
    """Robots by success less tracking errors, Gymnasium's environments by their mean return."""
    if config.gym.id:
        from legged_ppo.evaluation.returns import evaluate_returns

        figures = evaluate_returns(policy, config, episodes, seed)["overall"]
        return PolicyScore(figures["mean_return"], _metrics(figures, "success_rate", "mean_return"))
    figures = evaluate_policy(policy, config, episodes, seed)["overall"]
    errors = figures["lin_vel_error"], figures["yaw_rate_error"]
    score = -math.inf  # everybody fell in the first step
    if None not in errors:
        score = figures["success_rate"] - errors[0] - 0.5 * errors[1]
    return PolicyScore(score, _metrics(figures, "success_rate", "lin_vel_error", "yaw_rate_error"))


def _metrics(figures: dict[str, Any], *names: str) -> dict[str, float]:
    return {f"Eval/{name}": figures[name] for name in names if figures[name] is not None}

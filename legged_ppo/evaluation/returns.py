"""Evaluation on Gymnasium environments: returns of whole episodes."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from legged_ppo.config.schema import Config
from legged_ppo.evaluation.rollout import rollout
from legged_ppo.evaluation.statistics import mean_figure, wilson_interval
from legged_ppo.interop.gymnasium import GymnasiumEnv
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.models.recurrent_policy import RecurrentPolicy
from legged_ppo.runtime.progress_lines import ProgressLines

_log = logging.getLogger(__name__)

_MAX_ENVS = 100
"""Environments that are stepped together; more episodes than this take several rounds."""
_MAX_STEPS = 30_000
"""Steps after which an episode is cut where the environment itself sets no later limit. The longest common
ones are Atari's, of 27,000 decisions."""


def evaluate_returns(
    policy: ActorCritic, config: Config, episodes: int, seed: int, *, stochastic: bool = False
) -> dict[str, Any]:
    """Figures of `episodes` episodes from their starts; the same seed gives the same figures.

    Returns:
        {"overall": {"episodes", "success_rate", "success_ci95", "mean_return", "return_ci95", "std_return",
        "min_return", "max_return", "mean_length", "length_ci95", "unfinished"}}; a success is a return of
        `gym.success_return`, the intervals are as in `summarize`. `unfinished` episodes never ended: they
        were cut after `step_limit` steps, and count as they stood. A warning names their number.
    """
    sizes = [min(_MAX_ENVS, episodes - done) for done in range(0, episodes, _MAX_ENVS)]
    seeds = np.random.SeedSequence(seed).generate_state(len(sizes)).tolist()
    rounds = [
        _first_episodes(policy, config, size, round_seed, stochastic)
        for size, round_seed in zip(sizes, seeds, strict=True)
    ]
    returns, lengths, unfinished = (np.concatenate(parts) for parts in zip(*rounds, strict=True))
    if unfinished.any():
        _log.warning(unfinished_line(config.gym.id, int(unfinished.sum()), int(lengths.max())))
    successes = int((returns >= config.gym.success_return).sum())
    return {
        "overall": {
            "episodes": episodes,
            "success_rate": successes / episodes,
            "success_ci95": list(wilson_interval(successes, episodes)),
            **mean_figure("mean_return", returns),
            "std_return": float(returns.std()),
            "min_return": float(returns.min()),
            "max_return": float(returns.max()),
            **mean_figure("mean_length", lengths),
            "unfinished": int(unfinished.sum()),
        }
    }


def step_limit(env: GymnasiumEnv) -> int:
    """Steps that an episode is given to end."""
    spec = env.copies.get_attr("spec")[0]
    return max(_MAX_STEPS, (spec and spec.max_episode_steps) or 0)


def unfinished_line(name: str, count: int, steps: int) -> str:
    """The warning about episodes that do not end."""
    return (
        f"warning: {count} of the episodes of {name} had not ended after {steps:,} steps and count "
        "as they stood; gym.kwargs.max_episode_steps sets a time limit"
    )


def _first_episodes(
    policy: ActorCritic, config: Config, num_envs: int, seed: int, stochastic: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns and lengths [N] of the first episode of every environment, and whether it was cut."""
    gym = replace(config.gym, normalize_reward=False, processes=False)
    env = GymnasiumEnv(gym, num_envs, seed, config.ppo.gamma)
    noise = torch.Generator().manual_seed(seed) if stochastic else None
    actor = RecurrentPolicy(policy, num_envs, env.device, noise)
    obs = env.reset()
    alive = torch.ones(num_envs, dtype=torch.bool)
    returns, lengths = torch.zeros(num_envs, dtype=torch.float64), torch.zeros(num_envs)
    progress = ProgressLines(_log, f"evaluation of {num_envs} episodes", None)
    for step, result in zip(range(step_limit(env)), rollout(actor, env, obs), strict=False):
        progress.update(step)
        returns += result.reward * alive
        lengths += alive
        alive &= ~(result.terminated | result.truncated)
        if not bool(alive.any()):
            break
    env.close()
    return returns.numpy(), lengths.numpy(), alive.numpy()

"""Evaluation on environments of any kind: returns of whole episodes."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from legged_ppo.errors import ConfigError
from legged_ppo.evaluation.rollout import on_device, rollout
from legged_ppo.evaluation.statistics import mean_figure
from legged_ppo.interface import Environment
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.models.recurrent_policy import RecurrentPolicy
from legged_ppo.runtime.intervals import wilson_interval
from legged_ppo.runtime.progress_lines import ProgressLines

_log = logging.getLogger(__name__)

_MAX_ENVS = 100
"""Environments that are stepped together; more episodes than this take several rounds."""
_MAX_STEPS = 30_000
"""Steps after which an episode is cut unless the environment sets a later limit. The longest common
ones are Atari's, of 27,000 decisions."""


EnvMaker = Callable[[int, int, torch.device], Environment]
"""Of a number of environments, a seed and a device."""


def evaluate_returns(
    policy: ActorCritic,
    make: EnvMaker,
    episodes: int,
    seed: int,
    stochastic: bool = False,
    name: str = "the environment",
) -> dict[str, Any]:
    """Figures of `episodes` episodes from their starts; the same seed gives the same figures.

    Args:
        make: builds the environments, on any device.
        name: the environment's, for the warning about episodes that do not end.

    Returns:
        {"overall": {"episodes", "success_rate", "success_ci95", "mean_return", "return_ci95", "std_return",
        "min_return", "max_return", "mean_length", "length_ci95", "unfinished"}}; a success is what
        the environment says (`success` in its info) or a return of `Environment.success_return`, and without
        either there are no figures of success; the intervals are as in `summarize`. `unfinished` episodes
        never ended: they were cut after `step_limit` steps, and are counted
        with their return so far.
    """
    sizes = [min(_MAX_ENVS, episodes - done) for done in range(0, episodes, _MAX_ENVS)]
    seeds = np.random.SeedSequence(seed).generate_state(len(sizes)).tolist()
    parts = []
    threshold = math.inf
    for size, round_seed in zip(sizes, seeds, strict=True):
        env = make(size, round_seed, policy.device)
        check_fit(policy, env, name)
        parts.append(_first_episodes(on_device(policy, env.device), env, round_seed, stochastic))
        threshold = env.success_return
        env.close()
    returns, lengths, unfinished, successes = (
        np.concatenate(part) for part in zip(*parts, strict=True)
    )
    if unfinished.any():
        _log.warning(unfinished_line(name, int(unfinished.sum()), int(lengths.max())))
    return {
        "overall": {
            "episodes": episodes,
            **({} if math.isinf(threshold) else _success_figures(successes)),
            **mean_figure("mean_return", returns),
            "std_return": float(returns.std()),
            "min_return": float(returns.min()),
            "max_return": float(returns.max()),
            **mean_figure("mean_length", lengths),
            "unfinished": int(unfinished.sum()),
        }
    }


def check_fit(policy: ActorCritic, env: Environment, name: str) -> None:
    """Refuse an environment with other observations or actions than the policy was made for.

    Raises:
        ConfigError: the first group or the number of actions that differs.
    """
    sizes = {**env.obs_dims, "actions": env.num_actions}
    for key, size in {**policy.obs_dims, "actions": policy.num_actions}.items():
        if sizes.get(key) != size:
            expected = f"{size}, as the policy was trained"
            raise ConfigError(f"size of {key} of {name}", sizes.get(key), expected)


def _success_figures(successes: np.ndarray) -> dict[str, Any]:
    count, episodes = int(successes.sum()), len(successes)
    interval = list(wilson_interval(count, episodes))
    return {"success_rate": count / episodes, "success_ci95": interval}


def step_limit(env: Environment) -> int:
    """Steps after which an episode is cut."""
    return max(_MAX_STEPS, env.max_episode_steps)


def unfinished_line(name: str, count: int, steps: int) -> str:
    """The warning about episodes that do not end."""
    return (
        f"warning: {count} of the episodes of {name} had not ended after {steps:,} steps and are "
        "counted with their return so far; set a time limit (gym.kwargs.max_episode_steps)"
    )


def _first_episodes(
    policy: ActorCritic, env: Environment, seed: int, stochastic: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of the first episode of every environment [N]: return, length, whether it was cut, whether it succeeded."""
    num_envs, device = env.num_envs, env.device
    noise = torch.Generator(device).manual_seed(seed) if stochastic else None
    actor = RecurrentPolicy(policy, num_envs, device, noise)
    obs = env.reset()
    alive = torch.ones(num_envs, dtype=torch.bool, device=device)
    returns = torch.zeros(num_envs, dtype=torch.float64, device=device)
    lengths = torch.zeros(num_envs, device=device)
    told: torch.Tensor | None = None
    progress = ProgressLines(_log, f"evaluation of {num_envs} episodes", None)
    for step, result in zip(range(step_limit(env)), rollout(actor, env, obs), strict=False):
        progress.update(step)
        returns += result.reward * alive
        lengths += alive
        if (success := result.info.get("success")) is not None:
            told = success & alive if told is None else told | (success & alive)
        alive &= ~(result.terminated | result.truncated)
        if not bool(alive.any()):
            break
    succeeded = returns >= env.success_return if told is None else told
    return (
        returns.cpu().numpy(),
        lengths.cpu().numpy(),
        alive.cpu().numpy(),
        succeeded.cpu().numpy(),
    )

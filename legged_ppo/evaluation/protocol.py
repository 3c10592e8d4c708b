"""The protocol of Agarwal et al. (CoRL 2022, arXiv 2211.07638): how far a policy gets before it falls.

Every robot is commanded to walk forward at 0.35 m/s; the displacement along the heading that it started with and
the time to fall are averaged over slopes, stepping stones, stairs and discrete obstacles. A policy trained
with heading commands is commanded to keep that heading, any other to turn at 0 rad/s. The exact terrain of the
paper is not published: our figures are of this grid, with equally many robots on each level, and of at most
100 s.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from legged_ppo.config.schema import Config
from legged_ppo.errors import ConfigError
from legged_ppo.evaluation.evaluator import collect_episodes
from legged_ppo.evaluation.statistics import mean_figure, summarize
from legged_ppo.models.actor_critic import ActorCritic

COMMAND = (0.35, 0.0, 0.0)
"""m/s, m/s, rad/s"""
TIME_LIMIT = 100.0
"""s"""
TERRAINS = {
    "slopes": ("slope_up", "slope_down"),
    "stepping stones": ("stepping_stones",),
    "stairs": ("stairs_up", "stairs_down"),
    "discrete obstacles": ("curbs",),
}
PUBLISHED = {
    "slopes": {"monolithic": (44.09, 85.68), "RMA": (43.98, 88.99), "blind": (34.72, 67.07)},
    "stepping stones": {"monolithic": (20.72, 41.32), "RMA": (18.83, 34.30), "blind": (1.02, 2.49)},
    "stairs": {"monolithic": (42.40, 90.48), "RMA": (31.24, 69.99), "blind": (16.64, 39.17)},
    "discrete obstacles": {
        "monolithic": (28.64, 57.53),
        "RMA": (40.13, 85.17),
        "blind": (32.41, 66.33),
    },
}
"""Displacement [m] and time to fall [s] of their Table 1; the times are as quoted by later works."""


def run_protocol(
    policy: ActorCritic,
    config: Config,
    episodes: int,
    seed: int,
    *,
    stochastic: bool = False,
    by_cell: bool = False,
) -> dict[str, Any]:
    """Figures of `episodes` episodes over the four kinds of terrain.

    Returns:
        {kind: {"forward_displacement_m", "forward_displacement_ci95", and the figures of `summarize`}}

    Raises:
        ConfigError: fewer episodes than terrain types.
    """
    config = copy.deepcopy(config)
    types = [name for names in TERRAINS.values() for name in names]
    if episodes < len(types) and not by_cell:
        raise ConfigError(
            "--envs", episodes, f"at least {len(types)}, one on each of {', '.join(types)}"
        )
    config.terrain.proportions = dict.fromkeys(types, 1.0)
    config.task.episode_length_s = TIME_LIMIT
    found, terrain = collect_episodes(
        policy,
        config,
        episodes,
        seed,
        stochastic=stochastic,
        command=COMMAND,
        hold_heading=True,
        by_cell=by_cell,
    )
    figures = {}
    for kind, names in TERRAINS.items():
        chosen = np.isin(found.terrain_type, [terrain.types.index(name) for name in names])
        group = found.select(chosen)
        forward = mean_figure("forward_displacement_m", group.forward)
        figures[kind] = forward | summarize(group)
    return figures

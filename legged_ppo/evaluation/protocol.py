"""The protocol of Agarwal et al. (CoRL 2022, arXiv 2211.07638): how far a policy walks before it falls.

The paper reports the displacement along the forward axis and the time to fall on slopes, stepping stones, stairs
and discrete obstacles, each as a mean over robots of one policy. Every policy is measured here under the same
conditions, whatever it was trained on. docs/evaluation.md lists which of them are the paper's and which are
not published and had to be chosen.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from legged_ppo.config.loading import load_config
from legged_ppo.config.overrides import apply_overrides
from legged_ppo.config.schema import CommandConfig, Config, ObservationConfig, TerrainConfig
from legged_ppo.evaluation.evaluator import collect_episodes
from legged_ppo.evaluation.statistics import (
    Episodes,
    cell_masks,
    features_of,
    mean_figure,
    summarize,
)
from legged_ppo.evaluation.task import RobotTask
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.terrain.grid import Terrain

SPEED = 0.5
"""m/s, commanded along the heading at the start. Not published for the table; its own displacements over its
times are 0.41 to 0.55 m/s, the monolithic policy's total 0.49. The 0.35 m/s of their training on terrain would
allow 35 m in 100 s, less than the 44 m that they report."""
TIME_LIMIT = 100.0
"""s. Not published; the longest mean time of the table is 90.5 s."""
_RECIPE = "phase1_monolithic"
"""Recipe with the paper's randomization, pushes, sensor noise, update times and end of an episode."""
TERRAINS = {
    "slopes": ("slope_up", "slope_down", "rough_slope"),
    "stepping stones": ("stepping_stones",),
    "stairs": ("stairs_up", "stairs_down"),
    "discrete obstacles": ("curbs",),
}
METHODS = ("monolithic", "RMA", "noisy map", "blind")
PUBLISHED: dict[str, dict[str, tuple[float, float]]] = {
    kind: dict(zip(METHODS, row, strict=True))
    for kind, row in {
        "slopes": ((44.09, 85.68), (43.98, 88.99), (36.14, 70.25), (34.72, 67.07)),
        "stepping stones": ((20.72, 41.32), (18.83, 34.30), (1.09, 2.51), (1.02, 2.49)),
        "stairs": ((42.40, 90.48), (31.24, 69.99), (6.74, 15.77), (16.64, 39.17)),
        "discrete obstacles": ((28.64, 57.53), (40.13, 85.17), (29.08, 59.30), (32.41, 66.33)),
    }.items()
}
"""Displacement [m] and time to fall [s] of their Table 1. The times of single terrains were taken from later
works; their totals are the paper's."""
_STUCK = 0.5
"""Share of the commanded distance under which a robot that has not fallen counts as stuck."""


def ground() -> TerrainConfig:
    """Ten levels of 8 m tiles with the ranges of legged_gym, the code that the paper builds on; its own ranges
    are not known. legged_gym's difficulty goes from 0 to 0.9. Slopes have up to 4 cm of roughness."""
    return TerrainConfig(
        proportions=dict.fromkeys((name for names in TERRAINS.values() for name in names), 1.0),
        num_levels=10,
        tile_size=8.0,
        platform=2.0,  # with the flat rims as much open ground as legged_gym's 3 m
        height_map_cell=0.05,
        slope=[0.0, 0.36],
        slope_roughness=0.04,
        stair_height=[0.05, 0.21],
        stair_tread=0.3,
        curb_height=[0.05, 0.23],
        stone_size=[1.575, 0.225],
        stone_gap=[0.05, 0.1],
        gap_depth=1.0,
    )


def protocol_config(config: Config, overrides: Sequence[str] = ()) -> Config:
    """A copy of a policy's recipe under the protocol's conditions. Its own are the robot, the physics, the layout
    and the scales of its observations, its gait clock and its rewards.

    Args:
        overrides: `key=value` changes of a robot's conditions, laid over the protocol's values.

    Raises:
        ConfigError: a bad override.
    """
    published = load_config(_RECIPE).task
    config = copy.deepcopy(config)
    config.terrain, task = ground(), config.task
    task.episode_length_s, task.max_tilt = TIME_LIMIT, published.max_tilt
    task.randomization = published.randomization
    task.commands = CommandConfig(
        lin_vel_x=[SPEED, SPEED],
        lin_vel_y=[0.0, 0.0],
        yaw_rate=published.commands.yaw_rate,
        heading=True,
        heading_range=[0.0, 0.0],
        heading_gain=published.commands.heading_gain,
        resample_time_s=2.0 * TIME_LIMIT,  # once an episode
        standing_fraction=0.0,
    )
    _take_sensor_errors(task.observations, published.observations)
    return apply_overrides(config, overrides, RobotTask.sections)


def _take_sensor_errors(own: ObservationConfig, published: ObservationConfig) -> None:
    own.noise = True
    for name in ("ang_vel_noise", "gravity_noise", "joint_pos_noise", "joint_vel_noise"):
        setattr(own, name, getattr(published, name))
    for name in ("noise", "period_s", "latency_s"):
        setattr(own.scandots, name, getattr(published.scandots, name))


def run_protocol(
    policy: ActorCritic, config: Config, episodes: int, seed: int, *, stochastic: bool = False
) -> dict[str, Any]:
    """Figures of `episodes` episodes on each kind of terrain, spread evenly over its types and levels.

    Args:
        config: from `protocol_config`.

    Returns:
        {"protocol": "agarwal", "conditions": {...}, "terrain": {kind: figures}}, where the figures are those of
        `_figures`, "published" {method: [m, s]} and "types" (`_by_level`).
    """
    rows = {}
    for kind, names in TERRAINS.items():
        conditions = copy.deepcopy(config)
        shares = conditions.terrain.proportions
        conditions.terrain.proportions = {name: shares.get(name, 1.0) for name in names}
        found, terrain = collect_episodes(
            policy, conditions, episodes, seed, stochastic=stochastic, pushes=True
        )
        rows[kind] = {
            **_figures(found, config),
            "published": {method: list(row) for method, row in PUBLISHED[kind].items()},
            "types": _by_level(found, terrain, config),
        }
    return {"protocol": "agarwal", "conditions": _described(config), "terrain": rows}


def _figures(found: Episodes, config: Config) -> dict[str, Any]:
    """`forward_displacement_m` (along the heading at the start), `fall_rate`, `stuck_rate` (no fall and less than
    half of the commanded distance) and the figures of `summarize`."""
    asked = np.mean(config.task.commands.lin_vel_x) * found.duration
    stuck = ~found.fell & (found.forward < _STUCK * asked)
    return {
        **mean_figure("forward_displacement_m", found.forward),
        "fall_rate": float(found.fell.mean()),
        "stuck_rate": float(stuck.mean()),
        **summarize(found),
    }


def _by_level(found: Episodes, terrain: Terrain, config: Config) -> dict[str, dict[str, Any]]:
    """{TYPE: {"levels": {"2": figures}, "features": {"2": "6 cm"}}}, as in `summarize_by_terrain`."""
    return {
        name: {
            "levels": {str(k): _figures(found.select(mask), config) for k, mask in cells.items()},
            "features": features_of(terrain, name, cells),
        }
        for name, cells in cell_masks(found, terrain).items()
    }


def _described(config: Config) -> dict[str, Any]:
    """What the figures depend on beside the policy."""
    task, observations = config.task, config.task.observations
    noise = {key: value for key, value in asdict(observations).items() if key.endswith("_noise")}
    scandots = observations.scandots
    return {
        "robot": config.robot.name,
        "command_m_s": task.commands.lin_vel_x,
        "time_limit_s": task.episode_length_s,
        "max_tilt_rad": task.max_tilt,
        "terrain": asdict(config.terrain),
        "randomization": asdict(task.randomization),
        "noise": noise | {"scandots": scandots.noise},
        "scandots_period_s": scandots.period_s,
        "scandots_latency_s": scandots.latency_s,
    }

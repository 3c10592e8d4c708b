"""Statistics over finished episodes: pooled means, rates and intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from legged_ppo.runtime.intervals import Z95, wilson_interval
from legged_ppo.terrain.grid import Terrain

_GRAVITY = 9.81
"""m/s^2"""
_MIN_PATH = 0.1
"""Path [m] of a whole group below which the cost of transport is not defined."""


@dataclass
class Episodes:
    """Finished episodes, one entry of each array [E] per episode."""

    terrain_type: np.ndarray
    """index into the terrain's types"""
    terrain_level: np.ndarray
    success: np.ndarray
    """bool: no fall, no failed physics, and enough progress"""
    fell: np.ndarray
    """bool"""
    duration: np.ndarray
    """s, until the fall or the time limit"""
    episode_return: np.ndarray
    """sum of the rewards"""
    displacement: np.ndarray
    """m, planar distance from start to end"""
    forward: np.ndarray
    """m, its part along the heading at the start; negative behind the start"""
    steps: np.ndarray
    """control steps that the sums below run over: those before a fall"""
    lin_vel_error: np.ndarray
    """sum over the steps of |v_xy - command| [m/s]"""
    yaw_rate_error: np.ndarray
    """sum over the steps of |w_z - command| [rad/s]"""
    path: np.ndarray
    """m, length of the planar path"""
    work: np.ndarray
    """J, sum over steps and joints of |torque x velocity| dt"""
    mass: np.ndarray
    """kg, with the load that the randomization added"""

    def __len__(self) -> int:
        return len(self.success)

    def select(self, chosen: np.ndarray) -> Episodes:
        """The episodes of a mask [E] bool."""
        return Episodes(**{f.name: getattr(self, f.name)[chosen] for f in fields(self)})


def concatenate(parts: Sequence[Episodes]) -> Episodes:
    """All episodes of several rounds."""
    return Episodes(
        **{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Episodes)}
    )


def summarize(episodes: Episodes) -> dict[str, Any]:
    """The report's figures of a group of episodes; what cannot be measured is None.

    - `success_rate` with its 95 % Wilson interval;
    - `displacement_m`, `time_to_fall_s`: means over episodes; an episode without a fall counts with
      its full length;
    - `lin_vel_error` [m/s], `yaw_rate_error` [rad/s]: means over all control steps of the group;
    - `cost_of_transport`: work of the group over the sum of m g path, so that robots commanded
      to stand add their work and no division by their tiny paths.

    The 95 % interval of a figure has its name without the unit or `_rate` and with `_ci95`; beside the
    success's they are those of `ratio_figure`.
    """
    low, high = wilson_interval(int(episodes.success.sum()), len(episodes))
    steps = episodes.steps.astype(np.float64)
    moved = episodes.path.sum() > _MIN_PATH
    weight_times_path = episodes.mass * episodes.path * _GRAVITY * moved
    return {
        "episodes": len(episodes),
        "success_rate": float(episodes.success.mean()),
        "success_ci95": [low, high],
        **mean_figure("displacement_m", episodes.displacement),
        **mean_figure("time_to_fall_s", episodes.duration),
        **_figure("lin_vel_error", episodes.lin_vel_error, steps),
        **_figure("yaw_rate_error", episodes.yaw_rate_error, steps),
        **_figure("cost_of_transport", episodes.work, weight_times_path),
    }


def mean_figure(name: str, values: np.ndarray) -> dict[str, Any]:
    """{name: mean over episodes [E], interval_name(name): 95 % interval}"""
    return _figure(name, values.astype(np.float64), np.ones(len(values)))


def _figure(name: str, sums: np.ndarray, weights: np.ndarray) -> dict[str, Any]:
    mean, interval = ratio_figure(sums, weights)
    return {name: mean, interval_name(name): interval}


def interval_name(figure: str) -> str:
    """The key of a figure's interval: `success_ci95` of `success_rate`, `displacement_ci95` of
    `displacement_m`, `return_ci95` of `mean_return`."""
    stem = figure.removeprefix("mean_")
    for ending in ("_rate", "_m", "_s"):
        stem = stem.removesuffix(ending)
    return f"{stem}_ci95"


def ratio_figure(sums: np.ndarray, weights: np.ndarray) -> tuple[float | None, list[float] | None]:
    """sum(sums) / sum(weights) over episodes [E] and its 95 % interval; None where there is no weight, or for
    the interval fewer than two episodes.

    The interval is the normal approximation over independent episodes, whose steps are not independent:
    that of a mean where all weights are 1, else that of a ratio of means (Cochran 1977, section 6.4).
    """
    total, count = float(weights.sum()), len(sums)
    if total <= 0.0:
        return None, None
    mean = float(sums.sum()) / total
    if count < 2:
        return mean, None
    squares = float(((sums - mean * weights) ** 2).sum())
    half = Z95 * math.sqrt(squares * count / (count - 1)) / total
    return mean, [mean - half, mean + half]


def cell_masks(episodes: Episodes, terrain: Terrain) -> dict[str, dict[int, np.ndarray]]:
    """{TYPE: {level: which episodes [E] bool}} of the cells that have any. A type that is the plane at every
    level is one cell, of level 0."""
    masks: dict[str, dict[int, np.ndarray]] = {}
    for column, name in enumerate(terrain.types):
        here = episodes.terrain_type == column
        level_of = episodes.terrain_level * (terrain.cells[column] > 1)
        levels = np.unique(level_of[here]).tolist()
        if levels:
            masks[name] = {level: here & (level_of == level) for level in levels}
    return masks


def features_of(terrain: Terrain, name: str, levels: Iterable[int]) -> dict[str, str]:
    """{"2": "6 cm"}: what makes the levels of a type difficult."""
    tiles = terrain.tiles[terrain.types.index(name)]
    return {str(level): tiles[level].feature for level in levels}


def summarize_by_terrain(episodes: Episodes, terrain: Terrain) -> dict[str, Any]:
    """The figures of `summarize`, overall and by terrain, for the cells of `cell_masks`.

    Returns:
        {"overall": figures, "terrain": {TYPE: {"all": figures, "levels": {"2": figures},
        "features": {"2": "6 cm"}}}, "terrain_cells": number of cells of the ground, "terrain_fingerprint":
        `Terrain.fingerprint`}
    """
    groups: dict[str, Any] = {}
    for name, cells in cell_masks(episodes, terrain).items():
        groups[name] = {
            "all": summarize(episodes.select(np.any(list(cells.values()), axis=0))),
            "levels": {str(k): summarize(episodes.select(mask)) for k, mask in cells.items()},
            "features": features_of(terrain, name, cells),
        }
    return {
        "overall": summarize(episodes),
        "terrain": groups,
        "terrain_cells": sum(terrain.cells),
        "terrain_fingerprint": terrain.fingerprint,
    }


def rows_by_terrain(result: dict[str, Any]) -> list[tuple[str, bool, dict[str, Any]]]:
    """The rows of a table of `summarize_by_terrain`: label, whether it is one level of the type above,
    figures."""
    rows = [("all", False, result["overall"])]
    for name, group in result["terrain"].items():
        features = group["features"]
        texts = {k: f"{k}: {feature}" if feature else k for k, feature in features.items()}
        if len(texts) > 1:
            rows.append((name, False, group["all"]))
            rows += [(f"level {text}", True, group["levels"][k]) for k, text in texts.items()]
        else:
            label = name if features == {"0": ""} else f"{name} {next(iter(texts.values()))}"
            rows.append((label, False, group["all"]))
    return rows

"""Two policies side by side, on the same robots, ground and commands."""

from __future__ import annotations

from typing import Any

import numpy as np

from legged_ppo.evaluation.statistics import Episodes, cell_masks, features_of
from legged_ppo.runtime.intervals import Z95
from legged_ppo.terrain.grid import Terrain

ENOUGH_PAIRS = 10
"""Pairs below which no difference is marked: the normal approximation does not hold for so few."""
FIGURES = ("success_rate", "lin_vel_error", "yaw_rate_error", "time_to_fall_s", "displacement_m")


def compare(first: Episodes, second: Episodes, terrain: Terrain) -> dict[str, Any]:
    """Figures of both and their paired differences (second - first), overall and by terrain type and level.

    Episode i of both began with the same robot, place and commands, so the differences are taken
    episode by episode; their 95 % intervals are those of a mean of paired differences.

    Returns:
        {"overall": row, "terrain": {TYPE: {"all": row, "levels": {"2": row}, "features": {"2": "6 cm"}}},
        "terrain_cells": as in `summarize_by_terrain`}; a row has "episodes" (pairs), "first" and "second",
        {figure: mean of the episodes' own}, and "difference", {figure: [mean, low, high]}. A figure that is
        not defined is None.
    """

    def row_of(mask: np.ndarray) -> dict[str, Any]:
        return _row(first.select(mask), second.select(mask))

    groups = {
        name: {
            "all": row_of(np.any(list(cells.values()), axis=0)),
            "levels": {str(level): row_of(mask) for level, mask in cells.items()},
            "features": features_of(terrain, name, cells),
        }
        for name, cells in cell_masks(first, terrain).items()
    }
    overall, cells = _row(first, second), sum(terrain.cells)
    return {"overall": overall, "terrain": groups, "terrain_cells": cells}


def _row(first: Episodes, second: Episodes) -> dict[str, Any]:
    one, two = _values(first), _values(second)
    return {
        "episodes": len(first),
        "first": {figure: _mean(values) for figure, values in one.items()},
        "second": {figure: _mean(values) for figure, values in two.items()},
        "difference": {figure: _paired(one[figure], two[figure]) for figure in FIGURES},
    }


def _values(episodes: Episodes) -> dict[str, np.ndarray]:
    """The figures of each episode; NaN errors where a robot fell in its first step."""
    steps = np.where(episodes.steps > 0, episodes.steps, np.nan)
    return dict(
        zip(
            FIGURES,
            (
                episodes.success.astype(np.float64),
                episodes.lin_vel_error / steps,
                episodes.yaw_rate_error / steps,
                episodes.duration,
                episodes.displacement,
            ),
            strict=True,
        )
    )


def _mean(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def _paired(first: np.ndarray, second: np.ndarray) -> list[float | None]:
    """Mean of second - first, and its 95 % interval if there are two pairs or more."""
    difference = second - first
    difference = difference[~np.isnan(difference)]
    mean = _mean(difference)
    if mean is None or len(difference) < 2:
        return [mean, None, None]
    half = Z95 * float(difference.std(ddof=1)) / len(difference) ** 0.5
    return [mean, mean - half, mean + half]

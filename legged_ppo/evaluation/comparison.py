"""Two policies side by side, on the same robots, ground and commands."""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.table import Table

from legged_ppo.evaluation.statistics import Episodes

_Z95 = 1.959964
"""97.5 % quantile of the normal distribution."""
FIGURES = ("success_rate", "lin_vel_error", "yaw_rate_error", "time_to_fall_s", "displacement_m")


def compare(first: Episodes, second: Episodes, types: list[str]) -> dict[str, Any]:
    """Figures of both and their paired differences (second - first), overall and by terrain type.

    Episode i of both began with the same robot, place and commands, so the differences are taken
    episode by episode; their 95 % intervals are those of a mean of paired differences.

    Returns:
        {"overall": row, "terrain": {TYPE: row}}; a row has "first" and "second", {figure: mean of the
        episodes' own}, and "difference", {figure: [mean, low, high]}. What cannot be said is None.
    """
    rows: dict[str, Any] = {"overall": _row(first, second), "terrain": {}}
    for column, name in enumerate(types):
        chosen = first.terrain_type == column
        if chosen.any():
            rows["terrain"][name] = _row(first.select(chosen), second.select(chosen))
    return rows


def comparison_table(result: dict[str, Any], names: tuple[str, str]) -> Table:
    """One row a terrain type and figure; differences whose interval excludes 0 are marked."""
    table = Table(title=f"A: {names[0]}   B: {names[1]}")
    table.add_column("terrain", no_wrap=True)
    table.add_column("figure", no_wrap=True)
    for heading in ("A", "B", "B - A", "95 %\ninterval", ""):
        table.add_column(heading, justify="right", no_wrap=True)
    groups = {"all": result["overall"], **result["terrain"]}
    for name, row in groups.items():
        for figure in FIGURES:
            mean, low, high = row["difference"][figure]
            known = low is not None
            table.add_row(
                name if figure == FIGURES[0] else "",
                figure,
                _number(row["first"][figure]),
                _number(row["second"][figure]),
                "-" if mean is None else f"{mean:+.3f}",
                f"{low:+.3f} {high:+.3f}" if known else "-",
                "*" if known and (low > 0 or high < 0) else "",
                end_section=figure == FIGURES[-1],
            )
    return table


def _row(first: Episodes, second: Episodes) -> dict[str, Any]:
    one, two = _values(first), _values(second)
    return {
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
    half = _Z95 * float(difference.std(ddof=1)) / len(difference) ** 0.5
    return [mean, mean - half, mean + half]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"

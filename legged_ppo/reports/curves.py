"""Metrics of one run or of several groups of runs as small panels: the mean over seeds and their spread."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from legged_ppo.reports.plots import PALETTE, series, smoothed
from legged_ppo.reports.run_groups import Group

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PANEL = (3.3, 2.15)
"""Inches of a panel"""
_SPARSE = 30
"""Values up to which they are marked by points"""
MAIN = {
    "Train/mean_reward": "return",
    "Train/mean_episode_length": "episode length [steps]",
    "Eval/success_rate": "success rate, evaluated",
    "Eval/mean_return": "return, evaluated",
    "Eval/lin_vel_error": "velocity error, evaluated [m/s]",
    "Eval/yaw_rate_error": "yaw rate error, evaluated [rad/s]",
    "Track/lin_vel_error": "velocity error [m/s]",
    "Track/yaw_rate_error": "yaw rate error [rad/s]",
    "Track/progress": "progress along the path",
    "Curriculum/mean_level": "mean terrain level",
    "Loss/action": "distance from the teacher's actions",
    "Policy/approx_kl": "KL divergence",
    "Policy/clip_fraction": "clip fraction",
    "Policy/explained_variance": "explained variance",
    "Policy/mean_std": "standard deviation of the actions",
    "Loss/value": "value loss",
    "Loss/learning_rate": "learning rate",
    "Perf/total_fps": "env steps/s",
}
"""Metrics of a comparison, with their titles."""


def reward_terms(groups: Sequence[Group]) -> dict[str, str]:
    """Metrics and titles of the reward terms, the largest at their ends first."""
    return _named(groups, "Episode/rew_")


def terrain_levels(groups: Sequence[Group]) -> dict[str, str]:
    """Metrics and titles of the mean level of each terrain type whose level has ever risen."""
    return {
        key: title
        for key, title in _named(groups, "Curriculum/level_").items()
        if any((series(run.rows, key)[1] > 0).any() for group in groups for run in group.runs)
    }


def draw_panels(
    groups: Sequence[Group], metrics: dict[str, str], columns: int = 4
) -> Figure | None:
    """A panel a metric over the environment steps; None where no run has any of `metrics` ({name: title}).

    A group of one run has its values as a thin line and their moving mean as a strong one; a group of several has
    the mean of its runs' moving means, and a band of one standard deviation on either side; the mean is dotted
    where not all of its runs have come so far.
    """
    from matplotlib.figure import Figure  # without pyplot it draws by Agg and keeps no state

    logged = {key for group in groups for run in group.runs for row in run.rows for key in row}
    shown = {key: title for key, title in metrics.items() if key in logged}
    if not shown:
        return None
    columns = min(columns, len(shown))
    lines = math.ceil(len(shown) / columns)
    legend = 0.3 * math.ceil(len(groups) / 3) if len(groups) > 1 else 0.0
    height = _PANEL[1] * lines + 0.25 + legend
    figure = Figure(figsize=(_PANEL[0] * columns, height))
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for axis, (key, title) in zip(axes, shown.items(), strict=False):
        for i, group in enumerate(groups):
            _draw_group(axis, group, key, PALETTE[i % len(PALETTE)])
        axis.set_title(title, fontsize=9)
        axis.grid(alpha=0.25)
        axis.tick_params(labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[len(shown) :]:
        axis.set_visible(False)
    figure.supxlabel("environment steps [millions]", fontsize=9)
    if legend:
        handles = [
            figure.axes[0].plot([], [], color=PALETTE[i % len(PALETTE)], linewidth=2)[0]
            for i in range(len(groups))
        ]
        labels = [group.label for group in groups]
        figure.legend(handles, labels, loc="upper center", ncols=3, fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 1 - legend / height))
    return figure


def mean_and_spread(
    group: Group, key: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Environment steps [millions]; mean and standard deviation over the runs (NaN of fewer than two) of the
    moving means of a metric; number of runs that have come so far."""
    found = [series(run.rows, key) for run in group.runs]
    curves = [(x, smoothed(y)) for x, y in found if len(x)]
    if not curves:
        return (np.empty(0),) * 4
    grid = np.unique(np.concatenate([x for x, _ in curves]))
    rows = np.stack([np.interp(grid, x, y, left=np.nan, right=np.nan) for x, y in curves])
    count = np.isfinite(rows).sum(0)
    mean = np.nansum(rows, 0) / count
    squares = np.nansum((rows - mean) ** 2, 0)
    spread = np.sqrt(np.divide(squares, count - 1, where=count > 1, out=np.full(len(grid), np.nan)))
    return grid, mean, spread, count


def _draw_group(axis: Any, group: Group, key: str, color: str) -> None:
    x, mean, spread, count = mean_and_spread(group, key)
    if len(x) == 0:
        return
    style = {"marker": "o", "markersize": 2.5} if len(x) <= _SPARSE else {}
    if len(group.runs) > 1:
        axis.fill_between(x, mean - spread, mean + spread, color=color, alpha=0.2, linewidth=0)
    elif not style:
        axis.plot(*series(group.runs[0].rows, key), color=color, alpha=0.25, linewidth=0.7)
    axis.plot(x, mean, ":", color=color, linewidth=1.2)
    axis.plot(x, np.where(count == count.max(), mean, np.nan), color=color, linewidth=1.6, **style)


def _named(groups: Sequence[Group], prefix: str) -> dict[str, str]:
    """The metrics of a prefix, those with the largest last values first."""
    largest: dict[str, float] = {}
    for run in (run for group in groups for run in group.runs):
        for key in {key for row in run.rows for key in row if key.startswith(prefix)}:
            values = series(run.rows, key)[1]
            last = float(np.abs(values[-20:]).mean()) if len(values) else 0.0
            largest[key] = max(largest.get(key, 0.0), last)
    order = sorted(largest, key=lambda key: (-largest[key], key))
    return {key: key.removeprefix(prefix).replace("_", " ") for key in order}

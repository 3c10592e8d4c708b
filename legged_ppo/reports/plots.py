"""Learning curves of a run as one image, drawn from its metrics.jsonl."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's colours, which the colour-blind can distinguish."""
_SMOOTHING_WINDOW = 0.02
"""Share of the run over which the strong lines are averaged."""
_SIZE, DPI = (13.5, 7.2), 110
"""Inches, of two lines of panels, and dots per inch"""
_COLUMNS = 3
"""Panels in a line"""

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Curve:
    """One metric in a panel."""

    key: str
    label: str
    right: bool = False
    """Drawn against the right-hand axis."""
    points: bool = False
    """Rare values, drawn as points that are joined."""


@dataclass(frozen=True)
class Panel:
    """One panel of the image."""

    title: str
    curves: Sequence[Curve]
    left: str = ""
    """Label of the left-hand axis."""
    right: str = ""
    healthy: tuple[float, float] | None = None
    """Band of the first curve's healthy values, shaded."""
    limits: tuple[float, float] | None = None
    """Range of the left-hand axis; None, or NaN for its upper end, fits the data."""
    legend: str = "upper right"
    """Corner of the legend, away from where the curves usually end."""


PANELS = (
    Panel(
        "Return and episode length",
        (
            Curve("Train/mean_reward", "return"),
            Curve("Eval/mean_return", "return, evaluated", points=True),
            Curve("Train/mean_episode_length", "length", right=True),
        ),
        left="return",
        right="control steps",
        legend="lower right",
    ),
    Panel(
        "Tracking errors",
        (
            Curve("Track/lin_vel_error", "velocity [m/s]"),
            Curve("Track/yaw_rate_error", "yaw rate [rad/s]"),
            Curve("Eval/lin_vel_error", "velocity, evaluated", points=True),
            Curve("Eval/yaw_rate_error", "yaw rate, evaluated", points=True),
        ),
        left="mean absolute error",
        limits=(0.0, float("nan")),
    ),
    Panel(
        "Success in evaluation, speed",
        (
            Curve("Eval/success_rate", "success rate", points=True),
            Curve("Perf/total_fps", "env steps/s", right=True),
        ),
        left="success rate",
        right="env steps/s",
        limits=(0.0, 1.02),
        legend="lower right",
    ),
    Panel(
        "Distillation",
        (
            Curve("Loss/action", "distance of the actions"),
            Curve("Distillation/teacher_share", "teacher's share", right=True),
        ),
        left="squared distance from the teacher's actions",
        right="share of the robots in which the teacher acts",
        limits=(0.0, float("nan")),
    ),
    Panel(
        "KL divergence and clip fraction",
        (
            Curve("Policy/clip_fraction", "clip fraction"),
            Curve("Policy/approx_kl", "KL", right=True),
        ),
        left="clip fraction (healthy: shaded)",
        right="KL (healthy: below 0.05)",
        healthy=(0.05, 0.5),
        limits=(0.0, float("nan")),
    ),
    Panel(
        "Value function",
        (
            Curve("Policy/explained_variance", "explained variance"),
            Curve("Loss/value", "value loss", right=True),
        ),
        left="explained variance (healthy: shaded)",
        right="value loss",
        healthy=(0.5, 1.0),
        limits=(-0.1, 1.05),
        legend="center right",
    ),
    Panel(
        "Exploration and learning rate",
        (
            Curve("Policy/mean_std", "action std"),
            Curve("Loss/learning_rate", "learning rate", right=True),
        ),
        left="standard deviation of the actions",
        right="learning rate",
        limits=(0.0, float("nan")),
    ),
)


def plot_learning_curves(metrics: Path, out: Path) -> None:
    """Draw `learning_curves` to a PNG.

    Raises:
        OSError: `metrics` cannot be read or `out` not be written.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    learning_curves(read_metrics(metrics), metrics.parent.name).savefig(out, dpi=DPI)


def learning_curves(rows: Rows, name: str) -> Figure:
    """Six panels over the environment steps, of Phase 2 seven.

    Thin lines are the values of single iterations, strong ones their moving mean. Metrics that a
    run has not logged are left out, and so is a last row that was cut short.
    """
    from matplotlib.figure import Figure  # without pyplot it draws by Agg and keeps no state

    logged = {key for row in rows for key in row}
    panels = [p for p in PANELS if not rows or any(curve.key in logged for curve in p.curves)]
    lines = max(2, math.ceil(len(panels) / _COLUMNS))
    figure = Figure(figsize=(_SIZE[0], _SIZE[1] * lines / 2))
    axes = figure.subplots(lines, _COLUMNS, sharex=True)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis, panel in zip(axes.flat, panels, strict=False):
        _draw_panel(axis, panel, rows)
    for axis in axes[-1]:
        axis.set_xlabel("environment steps [millions]")
    figure.suptitle(_title(name, rows), fontsize=12)
    figure.tight_layout()
    return figure


def png_of(figure: Figure) -> bytes:
    """A figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def smoothed(values: np.ndarray) -> np.ndarray:
    """The moving mean that strong lines show."""
    return moving_mean(values, max(1, round(_SMOOTHING_WINDOW * len(values))))


def read_metrics(path: Path) -> Rows:
    """The rows of a metrics.jsonl, in order; a row that a kill cut short is dropped."""
    rows: Rows = []
    for line in path.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def series(rows: Rows, key: str) -> tuple[np.ndarray, np.ndarray]:
    """Environment steps [millions] and values of the rows that have a finite number for `key`."""
    found = [(r["env_steps"] / 1e6, r[key]) for r in rows if r.get(key) is not None]
    x, y = np.array(found, dtype=np.float64).reshape(-1, 2).T
    finite = np.isfinite(y)
    return x[finite], y[finite]


def moving_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Mean over the `window` values around each, fewer at the ends."""
    ones = np.ones(window)
    total = np.convolve(values, ones, mode="same")
    return total / np.convolve(np.ones_like(values), ones, mode="same")


def _draw_panel(axis: Any, panel: Panel, rows: Rows) -> None:
    right = axis.twinx() if any(curve.right for curve in panel.curves) else None
    lines = []
    for color, curve in zip(PALETTE, panel.curves, strict=False):
        target = right if curve.right and right is not None else axis
        lines += _draw_curve(target, curve, color, rows)
    if panel.healthy is not None:
        axis.axhspan(*panel.healthy, color=PALETTE[2], alpha=0.10, linewidth=0)
    axis.set_title(panel.title, fontsize=11)
    axis.set_ylabel(panel.left)
    axis.grid(alpha=0.25)
    axis.tick_params(axis="x", labelbottom=True)
    if panel.limits is not None:
        low, high = panel.limits
        axis.set_ylim(low, high if np.isfinite(high) else None)
    if right is not None:
        right.set_ylabel(panel.right)
        right.set_ylim(bottom=min(0.0, right.get_ylim()[0]))
        right.spines["top"].set_visible(False)
    axis.spines["top"].set_visible(False)
    if lines:
        top = axis if right is None else right  # whose legend no curve hides
        labels = [line.get_label() for line in lines]
        top.legend(lines, labels, fontsize=8, framealpha=0.9, loc=panel.legend)


def _draw_curve(axis: Any, curve: Curve, color: str, rows: Rows) -> list[Any]:
    """The strong line of the curve, in a list that is empty where the metric was not logged."""
    x, y = series(rows, curve.key)
    if len(x) == 0:
        return []
    if curve.points:
        return axis.plot(x, y, "o--", color=color, markersize=4, linewidth=1.0, label=curve.label)
    axis.plot(x, y, color=color, alpha=0.25, linewidth=0.8)
    return axis.plot(x, smoothed(y), color=color, linewidth=1.8, label=curve.label)


def _title(name: str, rows: Rows) -> str:
    if not rows:
        return f"{name}: no iteration yet"
    last = rows[-1]
    minutes = last.get("wall_time_s", 0.0) / 60.0
    return f"{name}: {last['env_steps'] / 1e6:.2f} M steps in {minutes:.1f} min"

"""Footfalls over time, and torques and velocities of the joints against the robot's limits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from legged_ppo.reports.plots import PALETTE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = 3
"""Panels in a line: the joints of a leg"""
_SYMBOLS = (
    ("trot_index", "trot index {:.2f}"),
    ("stride_hz", "{:.1f} strides/s"),
    ("duty", "duty {:.2f}"),
    ("velocity_m_s", "speed {:.2f} m/s"),
)


def draw_footfalls(motion: dict[str, Any], gait: dict[str, Any]) -> Figure:
    """A panel a speed: bars where a foot is on the ground.

    Args:
        motion: as `motion_record`, of robots that walked.
        gait: `walking_metrics` by speed.
    """
    from matplotlib.figure import Figure  # without pyplot it draws by Agg and keeps no state

    record = motion["footfalls"]
    feet, contacts, dt = record["feet"], record["contact"], record["dt"]
    figure = Figure(figsize=(10, 0.5 + (0.55 + 0.26 * len(feet)) * len(contacts)))
    axes = figure.subplots(len(contacts), 1, squeeze=False, sharex=True).ravel()
    for axis, (speed, rows) in zip(axes, contacts.items(), strict=True):
        for i, row in enumerate(rows):
            color = PALETTE[i % len(PALETTE)]
            axis.broken_barh(_stances(row, dt), (i - 0.38, 0.76), color=color, linewidth=0)
        axis.set_yticks(range(len(feet)), feet, fontsize=8)
        axis.set_ylim(len(feet) - 0.5, -0.5)
        axis.set_xlim(0, len(rows[0]) * dt)
        axis.grid(axis="x", alpha=0.25)
        axis.tick_params(axis="x", labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
        figures = gait.get(speed, {})
        texts = [form.format(figures[k]) for k, form in _SYMBOLS if figures.get(k) is not None]
        axis.set_title(f"command {speed} m/s: {', '.join(texts)}", fontsize=9, loc="left")
    axes[-1].set_xlabel("time [s]", fontsize=9)
    figure.tight_layout()
    return figure


def draw_joints(motion: dict[str, Any], quantity: str, unit: str) -> Figure:
    """A histogram a joint, with the limits as dashed lines where they are known.

    Args:
        quantity: `torque` or `velocity`.
    """
    from matplotlib.figure import Figure

    names, record = motion["joints"], motion[quantity]
    lines = math.ceil(len(names) / _COLUMNS)
    figure = Figure(figsize=(10, 0.5 + 1.35 * lines))
    axes = figure.subplots(lines, _COLUMNS, squeeze=False).ravel()
    for i, (axis, name) in enumerate(zip(axes, names, strict=False)):
        counts, half = np.asarray(record["counts"][i]), record["range"][i]
        edges = np.linspace(-half, half, len(counts) + 1)
        axis.stairs(counts / max(counts.sum(), 1), edges, fill=True, color=PALETTE[0], alpha=0.8)
        axis.set_yscale("log")
        axis.set_ylim(1e-5, 1.0)
        title = name.removesuffix("_joint").replace("_", " ")
        if (limit := record["limit"][i]) is not None:
            for side in (-limit, limit):
                axis.axvline(side, color=PALETTE[1], linestyle="--", linewidth=1.2)
            title += f": {100 * record['beyond'][i]:.2g} % at or above {limit:.3g} {unit}"
        axis.set_title(title, fontsize=8)
        axis.tick_params(labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[len(names) :]:
        axis.set_visible(False)
    figure.supxlabel(f"{quantity} [{unit}]", fontsize=9)
    figure.supylabel("share of the time (log)", fontsize=9)
    figure.tight_layout()
    return figure


def _stances(contact: str, dt: float) -> list[tuple[float, float]]:
    """Begin and length [s] of each stance in a string of 1 and 0."""
    steps = np.array([0, *map(int, contact), 0])
    begin, end = np.flatnonzero(np.diff(steps) == 1), np.flatnonzero(np.diff(steps) == -1)
    return [(float(b * dt), float((e - b) * dt)) for b, e in zip(begin, end, strict=True)]

"""Rates by terrain type and level as an image: success of an evaluation, solve rates of a curriculum."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from legged_ppo.runs.whole_file import write_whole

_CELL, _DPI = 0.62, 120
"""Inches of a cell's edge, dots per inch"""
_DARK = 0.55
"""Rate above which numbers are written in white."""


def success_matrix(terrain: dict[str, Any]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Labels of the types, success rates and episodes [types, levels] of `evaluate_policy`'s "terrain"; NaN
    and 0 without episodes."""
    levels = max(int(level) for group in terrain.values() for level in group["levels"]) + 1
    rates = np.full((len(terrain), levels), np.nan)
    episodes = np.zeros(rates.shape, dtype=np.int64)
    for row, group in enumerate(terrain.values()):
        for level, figures in group["levels"].items():
            rates[row, int(level)] = figures["success_rate"]
            episodes[row, int(level)] = figures["episodes"]
    labels = [_label(name, list(group["features"].values())) for name, group in terrain.items()]
    return labels, rates, episodes


def _label(name: str, features: list[str]) -> str:
    """A type's name and the range of its features."""
    known = [feature for feature in features if feature]
    return f"{name}\n{' to '.join(dict.fromkeys(known[:1] + known[-1:]))}" if known else name


def draw_curriculum(report: dict[str, Any], out: Path) -> None:
    """The solve rates of a curriculum's report as a PNG."""
    rates = np.array(report["solve_rate"], dtype=np.float64)  # None becomes NaN
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, heat_map_png(report["types"], rates, "Solve rate in training"))


def heat_map_png(
    types: Sequence[str], rates: np.ndarray, title: str, episodes: np.ndarray | None = None
) -> bytes:
    """Rates [types, levels] in [0, 1] as a PNG, with the numbers in the cells, and below them those of
    `episodes` [types, levels]."""
    from matplotlib.figure import Figure  # without pyplot it draws by Agg and keeps no state

    rows, columns = rates.shape
    figure = Figure(figsize=(2.6 + _CELL * columns, 1.5 + _CELL * rows))
    axis = figure.subplots()
    image = axis.imshow(np.ma.masked_invalid(rates), cmap="YlGnBu", vmin=0.0, vmax=1.0)
    axis.set_facecolor("0.92")
    axis.set_xticks(range(columns), [str(level) for level in range(columns)])
    axis.set_yticks(range(rows), [name.replace("_", " ") for name in types])
    axis.set_xlabel("level")
    axis.set_title(title, fontsize=11)
    axis.tick_params(length=0)
    for row, column in np.argwhere(np.isfinite(rates)):
        rate = rates[row, column]
        color = "white" if rate > _DARK else "black"
        place: dict[str, Any] = {"ha": "center", "va": "center", "color": color}
        axis.text(column, row, f"{rate:.2f}", fontsize=8, **place)
        if episodes is not None:
            axis.text(column, row + 0.3, f"n={episodes[row, column]}", fontsize=5.5, **place)
    figure.colorbar(image, ax=axis, fraction=0.03, pad=0.02)
    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, bbox_inches="tight")
    return buffer.getvalue()

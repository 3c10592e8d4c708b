"""An evaluation as a page to read: the figures per terrain and a heat map, in Markdown or HTML."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from legged_ppo.evaluation.statistics import rows_by_terrain
from legged_ppo.reports.heat_map import heat_map_png, success_matrix
from legged_ppo.reports.html_page import page, picture, table, text
from legged_ppo.reports.tables import figure_text, gait_rows

COLUMNS = (
    "terrain",
    "episodes",
    "success",
    "95 % interval",
    "moved [m]",
    "time to fall [s]",
    "velocity error [m/s]",
    "yaw rate error [rad/s]",
    "cost of transport",
)
DEFINITION = (
    "An episode succeeds when the robot neither falls nor breaks the physics within the time limit "
    "and covers at least 70 % of the commanded path, which turns as commanded; where it is to stand or to "
    "turn on the spot, it must stay within 0.5 m and turn as commanded. ± is half of the 95 % interval over "
    "episodes."
)


def write_terrain_report(path: Path, checkpoint: Path, result: dict[str, Any]) -> None:
    """Write the figures of `evaluate_policy` to `path`: .html (one file) or .md (and a .png beside it).

    Raises:
        OSError: the files cannot be written.
    """
    types, rates, episodes = success_matrix(result["terrain"])
    heat_map = heat_map_png(types, rates, "Success rate, n episodes", episodes)
    heading = f"Evaluation of {checkpoint.name}"
    rows = [(label, part, _cells(f)) for label, part, f in rows_by_terrain(result)]
    if path.suffix == ".md":
        beside = path.with_suffix(".png")
        beside.write_bytes(heat_map)
        lines = [f"# {heading}", "", DEFINITION, "", f"![success]({beside.name})", ""]
        lines += [_markdown(COLUMNS), "|---" + "|---:" * (len(COLUMNS) - 1) + "|"]
        lines += [_markdown([label, *cells]) for label, _, cells in rows]
        for title, headings, gait in gait_rows(result):
            names = [heading.replace("\n", " ") for heading in headings]
            rule = "|---" + "|---:" * (len(names) - 1) + "|"
            lines += ["", f"## {title}", "", _markdown(names), rule, *map(_markdown, gait)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return
    body = [
        f"<h1>{html.escape(heading)}</h1>",
        text(DEFINITION),
        picture(heat_map, "success rate by terrain type and level"),
        terrain_table(result),
        *gait_html(result),
    ]
    path.write_text(page(heading, body), encoding="utf-8")


def terrain_table(result: dict[str, Any], levels: bool = True) -> str:
    """The figures of `evaluate_policy` overall and by type, and those of each level, as HTML."""
    rows = rows_by_terrain(result)
    shown = (([label, *_cells(f)], not part) for label, part, f in rows if levels or not part)
    return table(COLUMNS, shown)


def gait_html(result: dict[str, Any]) -> list[str]:
    """The tables of the gait with their headings, where `result` has them."""
    return [
        f"<h3>{html.escape(title)}</h3>{table(headings, ((row, False) for row in rows))}"
        for title, headings, rows in gait_rows(result)
    ]


def _cells(figures: dict[str, Any]) -> list[str]:
    low, high = figures["success_ci95"]
    numbers = (
        ("displacement_m", 2),
        ("time_to_fall_s", 1),
        ("lin_vel_error", 3),
        ("yaw_rate_error", 3),
        ("cost_of_transport", 2),
    )
    return [
        str(figures["episodes"]),
        f"{figures['success_rate']:.3f}",
        f"{low:.3f} - {high:.3f}",
        *(figure_text(figures, key, digits) for key, digits in numbers),
    ]


def _markdown(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"

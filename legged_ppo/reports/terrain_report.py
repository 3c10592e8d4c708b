"""An evaluation as a page to read: the figures per terrain and a heat map, in Markdown or HTML."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from legged_ppo.evaluation.statistics import rows_by_terrain
from legged_ppo.reports.heat_map import heat_map_png, success_matrix
from legged_ppo.reports.tables import figure_text, gait_rows

_COLUMNS = (
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
_STYLE = """
body { font-family: sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; } th, td { padding: .25rem .7rem; text-align: right; }
td { white-space: nowrap; } th:first-child, td:first-child { text-align: left; } tr.all td { font-weight: bold; }
th { border-bottom: 2px solid #888; } td { border-bottom: 1px solid #ddd; }
img { max-width: 100%; }
"""
_DEFINITION = (
    "An episode succeeds when the robot neither falls nor breaks the physics within the time limit "
    "and covers at least 70 % of the commanded path, which turns as commanded. ± is half of the 95 % "
    "interval over episodes."
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
        lines = [f"# {heading}", "", _DEFINITION, "", f"![success]({beside.name})", ""]
        lines += [_markdown(_COLUMNS), "|---" + "|---:" * (len(_COLUMNS) - 1) + "|"]
        lines += [_markdown([label, *cells]) for label, _, cells in rows]
        for title, headings, gait in gait_rows(result):
            names = [heading.replace("\n", " ") for heading in headings]
            rule = "|---" + "|---:" * (len(names) - 1) + "|"
            lines += ["", f"## {title}", "", _markdown(names), rule, *map(_markdown, gait)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return
    image = base64.b64encode(heat_map).decode()
    body = [
        f"<h1>{html.escape(heading)}</h1>",
        f"<p>{_DEFINITION}</p>",
        f'<img alt="success rate by terrain type and level" src="data:image/png;base64,{image}">',
        f"<table><tr>{''.join(f'<th>{c}</th>' for c in _COLUMNS)}</tr>",
        *(_html(*row) for row in rows),
        "</table>",
        *(_html_table(*part) for part in gait_rows(result)),
    ]
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(heading)}'
        f"</title><style>{_STYLE}</style></head><body>{''.join(body)}</body></html>\n"
    )
    path.write_text(page, encoding="utf-8")


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


def _html(label: str, part: bool, cells: list[str]) -> str:
    style = "" if part else ' class="all"'
    return f"<tr{style}>{''.join(f'<td>{html.escape(cell)}</td>' for cell in (label, *cells))}</tr>"


def _html_table(title: str, headings: list[str], rows: list[list[str]]) -> str:
    head = "".join(f"<th>{html.escape(heading)}</th>" for heading in headings)
    body = "".join(_html(label, True, cells) for label, *cells in rows)
    return f"<h2>{html.escape(title)}</h2><table><tr>{head}</tr>{body}</table>"

"""Tables of the published protocol: a policy beside the figures of Agarwal et al. (2022)."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from legged_ppo.evaluation.protocol import METHODS
from legged_ppo.reports.tables import INTERVALS, figure_text

_FIGURES = ("forward_displacement_m", "time_to_fall_s")
_REFERENCE = "monolithic"


def protocol_tables(result: dict[str, Any]) -> list[Table]:
    """Of `run_protocol`: ours beside the published figures, and ours by terrain type and level."""
    low, high = result["conditions"]["command_m_s"]
    speed = f"{low:g}" if low == high else f"{low:g} to {high:g}"
    limit = result["conditions"]["time_limit_s"]
    title = f"Protocol of Agarwal et al. 2022: {speed} m/s forward for at most {limit:g} s"
    return [_beside_published(result["terrain"], title), _by_level(result["terrain"])]


def _beside_published(rows: dict[str, Any], title: str) -> Table:
    table = Table(title=title, caption=INTERVALS)
    table.add_column("terrain", no_wrap=True)
    table.add_column("epi-\nsodes", justify="right", no_wrap=True)
    for heading in ("this policy", *METHODS):
        table.add_column(f"{heading}\n\\[m]", justify="right", no_wrap=True)
        table.add_column("to fall\n\\[s]", justify="right", no_wrap=True)
    table.add_column(f"of {_REFERENCE}\n\\[m] / \\[s]", justify="right", no_wrap=True)
    for kind, row in rows.items():
        cells = [kind, str(row["episodes"]), *(figure_text(row, name, 1) for name in _FIGURES)]
        for method in METHODS:
            cells += [f"{value:.1f}" for value in row["published"][method]]
        pairs = zip(_FIGURES, row["published"][_REFERENCE], strict=True)
        cells.append(" / ".join(f"{row[name] / value:.2f}" for name, value in pairs))
        table.add_row(*cells)
    return table


def _by_level(rows: dict[str, Any]) -> Table:
    """One row a terrain type, one column a level: where robots stop, and of what."""
    types = {name: group for row in rows.values() for name, group in row["types"].items()}
    numbers = sorted({int(level) for group in types.values() for level in group["levels"]})
    caption = "m forward, percent fallen, percent stuck (no fall, less than half of the distance)"
    table = Table(title="This policy by level", caption=caption)
    table.add_column("terrain", no_wrap=True)
    for number in numbers:
        table.add_column(str(number), justify="right", no_wrap=True)
    for name, group in types.items():
        cells = dict.fromkeys(numbers, "")
        for level, figures in group["levels"].items():
            rates = (100 * figures[rate] for rate in ("fall_rate", "stuck_rate"))
            shown = [f"{figures[_FIGURES[0]]:.1f}", "/".join(f"{rate:.0f}" for rate in rates)]
            cells[int(level)] = "\n".join([group["features"][level], *shown])
        table.add_row(name, *cells.values(), end_section=True)
    return table

"""Tables of evaluations for the console."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from legged_ppo.evaluation.comparison import ENOUGH_PAIRS, FIGURES
from legged_ppo.evaluation.statistics import Episodes, interval_name, rows_by_terrain

_WIDTH = 130
"""Columns of a table where the output is no terminal."""
INTERVALS = "± is half of the 95 % interval over episodes"


def figures_table(result: dict[str, Any]) -> Table:
    """The figures of `Task.evaluate`: of robots a row overall, per terrain type and per level."""
    if "terrain" not in result:
        return _returns_table(result["overall"])
    table = Table(title="Evaluation", caption=INTERVALS)
    table.add_column("terrain", no_wrap=True)
    headings = (
        "epi-\nsodes",
        "success",
        "95 %\ninterval",
        "moved\n\\[m]",
        "time to\nfall \\[s]",
        "velocity\nerr. \\[m/s]",
        "yaw rate\nerr. \\[rad/s]",
        "cost of\ntransport",
    )
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for i, (label, part, figures) in enumerate(rows_by_terrain(result)):
        style = "bold" if i == 0 else "dim" if part else ""
        label = f"  {label}" if part else label
        table.add_row(label, *_cells(figures), style=style, end_section=i == 0)
    return table


def _returns_table(figures: dict[str, Any]) -> Table:
    """One row; without a definition of success there are no columns of it."""
    cells = {
        "episodes": str(figures["episodes"]),
        "return": figure_text(figures, "mean_return", 1),
        "deviation": f"{figures['std_return']:.1f}",
        "lowest": f"{figures['min_return']:.1f}",
        "highest": f"{figures['max_return']:.1f}",
        "length": figure_text(figures, "mean_length", 1),
    }
    if "success_rate" in figures:
        low, high = figures["success_ci95"]
        cells["success"] = f"{figures['success_rate']:.3f}"
        cells["95 % interval"] = f"{low:.3f}-{high:.3f}"
    table = Table(title="Evaluation", caption=INTERVALS)
    for heading in cells:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_row(*cells.values())
    return table


_GAIT_COLUMNS = {
    "fall\nrate": ("fall_rate", 1, 2),
    "speed\n[m/s]": ("velocity_m_s", 1, 2),
    "stride\n[Hz]": ("stride_hz", 1, 1),
    "trot\nindex": ("trot_index", 1, 2),
    "pace\nindex": ("pace_index", 1, 2),
    "bound\nindex": ("bound_index", 1, 2),
    "pronk\nindex": ("pronk_index", 1, 2),
    "swing\n[cm]": ("swing_height_m", 100, 1),
    "slip\n[m/s]": ("slip_m_s", 1, 2),
    "lateral\nbias [m/s]": ("lateral_bias_m_s", 1, 3),
    "power\n> 8 Hz": ("power_above_8hz", 1, 2),
    "peak\ntorque": ("peak_torque", 1, 2),
}
_STANDING_COLUMNS = {
    "fall rate": ("fall_rate", 1, 2),
    "landings per s\nand foot": ("landings_per_s", 1, 2),
    "drift\n[m/s]": ("drift_m_s", 1, 3),
    "drift\n[rad/s]": ("drift_rad_s", 1, 3),
    "base height\n[m]": ("base_height_m", 1, 3),
    "pitch\n[rad]": ("pitch_rad", 1, 3),
}
"""Heading: key of the figure, factor, digits"""


def gait_tables(result: dict[str, Any]) -> list[Table]:
    """The figures of `gait.gait_report`, where `result` has them."""
    tables = []
    for title, headings, rows in gait_rows(result):
        table = Table(title=title)
        for heading in headings:
            side: Literal["left", "right"] = "right" if table.columns else "left"
            table.add_column(heading.replace("[", "\\["), justify=side, no_wrap=True)
        for row in rows:
            table.add_row(*row)
        tables.append(table)
    return tables


def gait_rows(result: dict[str, Any]) -> list[tuple[str, list[str], list[list[str]]]]:
    """Title, headings and rows of each table of `gait.gait_report`, where `result` has one."""
    if "gait" not in result:
        return []
    walking = {f"{speed} m/s": metrics for speed, metrics in result["gait"].items()}
    parts = (
        ("Gait straight ahead on flat ground", _GAIT_COLUMNS, walking),
        ("Standing", _STANDING_COLUMNS, {"0 m/s": result["standing"]}),
    )

    def row(label: str, metrics: dict[str, Any], columns: dict[str, Any]) -> list[str]:
        cells = [label]
        for key, factor, digits in columns.values():
            value = metrics.get(key)
            cells.append(_number(None if value is None else factor * value, digits))
        return cells

    return [
        (title, ["command", *columns], [row(*item, columns) for item in metrics.items()])
        for title, columns, metrics in parts
    ]


def episodes_table(episodes: Episodes, types: Sequence[str]) -> Table:
    """One row an episode: return, length, outcome, errors."""
    table = Table(title="Episodes")
    table.add_column("#", justify="right")
    table.add_column("terrain", no_wrap=True)
    for heading in (
        "return",
        "length\n\\[s]",
        "outcome",
        "velocity\nerr. \\[m/s]",
        "yaw rate\nerr. \\[rad/s]",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for i in range(len(episodes)):
        steps = float(episodes.steps[i])
        table.add_row(
            str(i + 1),
            f"{types[episodes.terrain_type[i]]} {episodes.terrain_level[i]}",
            f"{episodes.episode_return[i]:.2f}",
            f"{episodes.duration[i]:.1f}",
            _outcome(episodes, i),
            _number(episodes.lin_vel_error[i] / steps if steps else None, 3),
            _number(episodes.yaw_rate_error[i] / steps if steps else None, 3),
        )
    return table


def print_tables(*tables: Table) -> None:
    """Print to stdout; the full width where that is a file or a pipe."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    for table in tables:
        console.print(table)


def as_lines(table: Table) -> list[str]:
    """The table as plain text."""
    buffer = io.StringIO()
    Console(file=buffer, width=_WIDTH).print(table)
    return [line.rstrip() for line in buffer.getvalue().splitlines()]


def as_rows(table: Table) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of the table as plain text, for dashboards."""
    headings = [
        str(column.header).replace("-\n", "").replace("\n", " ").replace("\\[", "[")
        for column in table.columns
    ]
    columns = [[str(cell).strip() for cell in column.cells] for column in table.columns]
    return headings, [list(row) for row in zip(*columns, strict=True)]


def _outcome(episodes: Episodes, i: int) -> str:
    if episodes.fell[i]:
        return "fell"
    return "success" if episodes.success[i] else "lagged behind"


def _cells(figures: dict[str, Any]) -> list[str]:
    low, high = figures["success_ci95"]
    return [
        str(figures["episodes"]),
        f"{figures['success_rate']:.3f}",
        f"{low:.3f}-{high:.3f}",
        figure_text(figures, "displacement_m", 2),
        figure_text(figures, "time_to_fall_s", 1),
        figure_text(figures, "lin_vel_error", 3),
        figure_text(figures, "yaw_rate_error", 3),
        figure_text(figures, "cost_of_transport", 2),
    ]


def figure_text(figures: dict[str, Any], name: str, digits: int) -> str:
    """A figure and half of its interval, to read: "1.09±0.31", "1.09" of one episode, "-" of none."""
    interval = figures[interval_name(name)]
    text = _number(figures[name], digits)
    return text if interval is None else f"{text}±{(interval[1] - interval[0]) / 2:.{digits}f}"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def comparison_table(result: dict[str, Any], names: tuple[str, str]) -> Table:
    """One row a terrain type and figure; differences whose interval excludes 0 are marked."""
    table = Table(title=f"A: {names[0]}   B: {names[1]}")
    table.add_column("terrain", no_wrap=True)
    table.add_column("figure", no_wrap=True)
    for heading in ("A", "B", "B - A", "95 %\ninterval", ""):
        table.add_column(heading, justify="right", no_wrap=True)
    groups = {"all": result["overall"]}
    groups |= {name: group["all"] for name, group in result["terrain"].items()}
    for name, row in groups.items():
        for figure in FIGURES:
            mean, low, high = row["difference"][figure]
            table.add_row(
                name if figure == FIGURES[0] else "",
                figure,
                _number(row["first"][figure], 3),
                _number(row["second"][figure], 3),
                "-" if mean is None else f"{mean:+.3f}",
                "-" if low is None else f"{low:+.3f} {high:+.3f}",
                _mark(row, figure),
                end_section=figure == FIGURES[-1],
            )
    return table


def difference_matrix(result: dict[str, Any], figure: str = FIGURES[0]) -> Table:
    """The paired differences of one figure by terrain type and level, with the number of pairs."""
    groups = result["terrain"]
    levels = sorted({level for group in groups.values() for level in group["levels"]}, key=int)
    table = Table(title=f"{figure}, B - A, by level (n pairs; *: the 95 % interval excludes 0)")
    table.add_column("terrain", no_wrap=True)
    for level in levels:
        table.add_column(level, justify="right", no_wrap=True)
    for name, group in groups.items():
        cells = []
        for row in (group["levels"].get(level) for level in levels):
            mean = row and row["difference"][figure][0]
            text = "" if mean is None else f"{mean:+.2f}{_mark(row, figure)}\nn={row['episodes']}"
            cells.append(text)
        table.add_row(name, *cells)
    return table


def students_tables(result: dict[str, Any]) -> list[Table]:
    """Success rates of the contestants of `students.measure` by terrain type, and relative to the first one's."""
    reference = next(iter(result))
    tables = [
        Table(title="Success rate", caption=INTERVALS),
        Table(title=f"Success relative to the {reference}, by pairs", caption=INTERVALS),
    ]
    for table in tables:
        table.add_column("terrain", no_wrap=True)
        for name in result:
            table.add_column(name.replace("depth ", "depth\n"), justify="right", no_wrap=True)
    for terrain in result[reference]["relative_success"]:
        rates, relative = [], []
        for figures in result.values():
            group = figures if terrain == "overall" else figures["terrain"][terrain]
            rates.append(
                figure_text(group["overall" if terrain == "overall" else "all"], "success_rate", 2)
            )
            row = figures["relative_success"][terrain]
            half = "" if row["ci95"] is None else f"±{(row['ci95'][1] - row['ci95'][0]) / 2:.2f}"
            relative.append(_number(row["ratio"], 2) + half)
        tables[0].add_row(terrain, *rates, end_section=terrain == "overall")
        tables[1].add_row(terrain, *relative, end_section=terrain == "overall")
    return tables


def _mark(row: dict[str, Any], figure: str) -> str:
    _, low, high = row["difference"][figure]
    known = low is not None and row["episodes"] >= ENOUGH_PAIRS
    return "*" if known and (low > 0 or high < 0) else ""

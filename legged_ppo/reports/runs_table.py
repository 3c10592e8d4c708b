"""The runs of a folder as a table for the console."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from legged_ppo.runs.listing import RunState

_STYLES = {
    "running": "green",
    "failed": "red",
    "killed": "yellow",
    "stopped": "yellow",
    "empty": "dim",
}
_FIGURES = (
    ("reward", "Train/mean_reward", 1),
    ("velocity error", "Track/lin_vel_error", 2),
    ("level", "Curriculum/mean_level", 1),
    ("steps/s", "Perf/total_fps", 0),
)
"""Of the last row: name, metric, digits."""
_WIDTH = 170
"""Columns where the output is no terminal."""


def print_runs(runs: Sequence[RunState]) -> None:
    """One row a run, to stdout; `best` is in evaluation, on the fixed seeds of the training."""
    table = Table()
    table.add_column("run", overflow="fold")
    table.add_column("state", no_wrap=True)
    for heading in ("steps", "best", "size", "last row"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("last line", overflow="fold")
    now = time.time()
    for run in runs:
        table.add_row(
            run.name,
            Text(run.state, style=_STYLES.get(run.state, "")),
            _steps(run),
            best_text(run),
            f"{run.size / 1e6:.1f} MB",
            f"{age_text(now - run.updated)} ago",
            Text(last_line(run)),
        )
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    console.print(table)


def best_text(run: RunState) -> str:
    """Success rate in evaluation, or mean return where there is no success; "-" before the first evaluation."""
    if run.success is not None:
        return f"success {run.success:.2f}"
    return "-" if run.mean_return is None else f"return {run.mean_return:.1f}"


def last_line(run: RunState) -> str:
    """The error of a failed run, else figures of its last row."""
    if run.failure:
        return run.failure
    values = ((name, run.row.get(key), digits) for name, key, digits in _FIGURES)
    parts = [
        f"{name} {value:,.{digits}f}"
        for name, value, digits in values
        if isinstance(value, (int, float))
    ]
    return ", ".join(parts)


def age_text(seconds: float) -> str:
    """A duration in its largest unit: 40 s, 5 min, 3 h, 2 d."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0.0):.0f} s"


def _steps(run: RunState) -> str:
    total = "" if run.total_steps is None else f" of {run.total_steps / 1e6:.3g}"
    return f"{run.env_steps / 1e6:.3g}{total} M"

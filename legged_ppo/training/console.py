"""The terminal: a progress bar with live figures, a table every few iterations, advice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_PIPE_WIDTH = 150
"""Characters of a row where the output is no terminal."""
_REPEAT = 20
"""Rows under one heading."""


@dataclass(frozen=True)
class Column:
    """A figure of the table. A narrow terminal shows the columns of the lowest `rank`."""

    heading: str
    metric: str
    form: str
    rank: int
    always: bool = False
    """Shown before its first value: episodes must end first. Others wait for their metric, which not every
    environment has."""

    @property
    def width(self) -> int:
        return max(8, len(self.heading))

    def cell(self, metrics: Mapping[str, float]) -> str:
        return self.form.format(metrics[self.metric]) if self.metric in metrics else "-"


_COLUMNS = (
    Column("reward", "Train/mean_reward", "{:.2f}", 0, always=True),
    Column("length", "Train/mean_episode_length", "{:.0f}", 1, always=True),
    Column("success", "Episode/success_rate", "{:.2f}", 2),
    Column("vel err", "Track/lin_vel_error", "{:.3f}", 3),
    Column("yaw err", "Track/yaw_rate_error", "{:.3f}", 5),
    Column("action", "Loss/action", "{:.4f}", 3),
    Column("value", "Loss/value", "{:.4f}", 6),
    Column("entropy", "Loss/entropy", "{:.2f}", 9),
    Column("std", "Policy/mean_std", "{:.2f}", 7),
    Column("KL", "Policy/approx_kl", "{:.4f}", 8),
    Column("clip", "Policy/clip_fraction", "{:.2f}", 11),
    Column("expl var", "Policy/explained_variance", "{:.2f}", 10),
    Column("lr", "Loss/learning_rate", "{:.1e}", 12),
    Column("steps/s", "Perf/total_fps", "{:,.0f}", 4),
)
_LIVE = ("Train/mean_reward", "Track/lin_vel_error", "Perf/total_fps")


def fitting_columns(metrics: set[str], width: int) -> tuple[Column, ...]:
    """The columns of `metrics` that fit into `width` characters, in the order of the table."""
    present = [each for each in _COLUMNS if each.always or each.metric in metrics]
    chosen: list[Column] = []
    for column in sorted(present, key=lambda each: each.rank):
        width -= column.width + 1
        if width < 0:
            break
        chosen.append(column)
    return tuple(each for each in present if each in chosen)


class TrainingConsole:
    """Context manager around a run's output; no progress bar where the output is no terminal."""

    def __init__(
        self,
        total_steps: int,
        total_iterations: int,
        log_interval: int,
        console: Console | None = None,
    ) -> None:
        self._total_iterations, self._log_interval = total_iterations, log_interval
        self.console = console or Console(width=None if Console().is_terminal else _PIPE_WIDTH)
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("eta"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[live]}"),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self._task = self._progress.add_task("training", total=total_steps, live="")
        self._iteration_width = max(len("iteration"), len(f"{total_iterations}/{total_iterations}"))
        self._rows = 0
        self._metrics: set[str] = set()
        self._columns: tuple[Column, ...] = ()

    def __enter__(self) -> TrainingConsole:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def update(
        self, iteration: int, env_steps: int, metrics: Mapping[str, float], eta: str
    ) -> None:
        """Show the state after an iteration; the first and the last one always have a row."""
        live = "  ".join(
            f"{column.heading} {column.cell(metrics)}"
            for column in _COLUMNS
            if column.metric in _LIVE and column.metric in metrics
        )
        self._progress.update(self._task, completed=env_steps, live=live)
        due = iteration % self._log_interval == 0
        if due or iteration in (1, self._total_iterations):
            self._row(iteration, env_steps, metrics, eta)

    def print(self, line: str, style: str = "") -> None:
        self._progress.console.print(line, style=style, highlight=False)

    def _row(self, iteration: int, env_steps: int, metrics: Mapping[str, float], eta: str) -> None:
        edges = (self._iteration_width, 8, 8)  # iteration, steps, eta
        self._metrics |= metrics.keys()
        columns = fitting_columns(self._metrics, self.console.width - sum(edges) - 2)
        widths = [*edges[:2], *(each.width for each in columns), edges[2]]
        if columns != self._columns or self._rows % _REPEAT == 0:
            self._columns, self._rows = columns, 0
            headings = ["iteration", "steps", *(each.heading for each in columns), "eta"]
            self._line(headings, widths, "bold")
        cells = [f"{iteration}/{self._total_iterations}", f"{env_steps / 1e6:.2f}M"]
        self._line([*cells, *(each.cell(metrics) for each in columns), eta], widths)
        self._rows += 1

    def _line(self, cells: list[str], widths: list[int], style: str = "") -> None:
        row = " ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
        self._progress.console.print(
            row, style=style, highlight=False, markup=False, soft_wrap=True
        )

"""The terminal: a progress bar with live figures, a table every few iterations, advice."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

_COLUMNS = (
    # heading, metric, format
    ("reward", "Train/mean_reward", "{:.2f}"),
    ("length", "Train/mean_episode_length", "{:.0f}"),
    ("vel err", "Track/lin_vel_error", "{:.3f}"),
    ("yaw err", "Track/yaw_rate_error", "{:.3f}"),
    ("value", "Loss/value", "{:.4f}"),
    ("entropy", "Loss/entropy", "{:.2f}"),
    ("std", "Policy/mean_std", "{:.2f}"),
    ("KL", "Policy/approx_kl", "{:.4f}"),
    ("clip", "Policy/clip_fraction", "{:.2f}"),
    ("expl var", "Policy/explained_variance", "{:.2f}"),
    ("lr", "Loss/learning_rate", "{:.1e}"),
    ("steps/s", "Perf/total_fps", "{:,.0f}"),
)


class TrainingConsole:
    """Context manager around a run's output; quiet about redraws when the output is no terminal."""

    def __init__(self, total_steps: int, total_iterations: int, log_interval: int) -> None:
        self._total_iterations, self._log_interval = total_iterations, log_interval
        self.console = Console(width=None if Console().is_terminal else 150)
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
        self._rows = 0

    def __enter__(self) -> TrainingConsole:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def update(
        self, iteration: int, env_steps: int, metrics: Mapping[str, float], eta: str
    ) -> None:
        """Show the state after an iteration."""
        live = "  ".join(
            f"{heading} {form.format(metrics[name])}"
            for heading, name, form in (_COLUMNS[0], _COLUMNS[2], _COLUMNS[11])
            if name in metrics
        )
        self._progress.update(self._task, completed=env_steps, live=live)
        if iteration == 1 or iteration % self._log_interval == 0:
            self._row(iteration, env_steps, metrics, eta)

    def print(self, line: str, style: str = "") -> None:
        self._progress.console.print(line, style=style, highlight=False)

    def _row(self, iteration: int, env_steps: int, metrics: Mapping[str, float], eta: str) -> None:
        table = Table(
            box=None, show_header=self._rows % 20 == 0, pad_edge=False, header_style="bold"
        )
        cells = [f"{iteration}/{self._total_iterations}", f"{env_steps / 1e6:.2f}M"]
        table.add_column("iteration", width=12, justify="right")
        table.add_column("steps", width=8, justify="right")
        for heading, name, form in _COLUMNS:
            table.add_column(heading, width=max(8, len(heading)), justify="right")
            cells.append(form.format(metrics[name]) if name in metrics else "-")
        table.add_column("eta", width=8, justify="right")
        table.add_row(*cells, eta)
        self._progress.console.print(table)
        self._rows += 1

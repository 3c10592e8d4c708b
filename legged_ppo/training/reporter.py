"""The output of a run: rows for the dashboards, a table for the terminal, advice."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from legged_ppo.config.schema import Config
from legged_ppo.reports.health import HealthMonitor
from legged_ppo.reports.heat_map import draw_curriculum
from legged_ppo.runs.run_directory import RunDirectory
from legged_ppo.training.console import TrainingConsole
from legged_ppo.training.logger import MetricLogger, Metrics
from legged_ppo.training.tracker import Tracker

_log = logging.getLogger(__name__)


class Reporter:
    """Context manager around a run's output.

    Args:
        late: `write` keeps an iteration's metrics until `flush`, so that a GPU computes the next one while they
            are written.
    """

    def __init__(
        self,
        run: RunDirectory,
        config: Config,
        health: HealthMonitor,
        env_steps: int,
        total_steps: int,
        total_iterations: int,
        tracker: Tracker | None = None,
        late: bool = False,
    ) -> None:
        self._run, self._health, self._total = run, health, total_iterations
        self._late, self._waiting = late, list[Metrics]()
        self._metrics = MetricLogger(run.root, config, env_steps, tracker)
        self._console = TrainingConsole(total_steps, total_iterations, config.training.log_interval)

    def __enter__(self) -> Reporter:
        self._console.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()
        self._console.__exit__()
        self._metrics.close()

    def write(self, metrics: Metrics) -> None:
        """Report one iteration; `metrics` holds `iteration`, `env_steps` and `wall_time_s` too."""
        self.flush()
        self._waiting.append(metrics)
        if not self._late:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting, also what a full disk has delayed."""
        while self._waiting:
            self._write(self._waiting.pop(0))
        self._metrics.flush()

    def _write(self, metrics: Metrics) -> None:
        iteration, env_steps = int(metrics["iteration"]), int(metrics["env_steps"])
        self._metrics.write(metrics, env_steps)
        left = (self._total - iteration) / iteration
        eta = str(timedelta(seconds=round(left * metrics["wall_time_s"])))
        advice = self._health.check(metrics, iteration)
        try:
            self._console.update(iteration, env_steps, metrics, eta)
            for line in advice:
                self._console.print(f"advice: {line}", style="yellow")
        except OSError as error:  # rich imports modules when it needs them
            _log.warning("the table lacks a row: %s", error)

    def write_curriculum(self, report: dict[str, Any], env_steps: int) -> None:
        """The matrix of types and levels as data, and as an image on the dashboards; a warning where they
        cannot be written."""
        image = self._run.root / "plots" / "curriculum.png"
        try:
            self._run.write_json("curriculum.json", report)
            draw_curriculum(report, image)
            self._metrics.write_image("Curriculum/solve_rate", image, env_steps)
        except OSError as error:
            _log.warning("the curriculum's plot is left out: %s", error)


class SilentReporter:
    """On all ranks but the first."""

    def __enter__(self) -> SilentReporter:
        return self

    def __exit__(self, *_: object) -> None: ...

    def write(self, metrics: Metrics) -> None: ...

    def flush(self) -> None: ...

    def write_curriculum(self, report: dict[str, Any], env_steps: int) -> None: ...

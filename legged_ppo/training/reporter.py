"""The output of a run: rows for the dashboards, a table for the terminal, advice."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from legged_ppo.config.schema import Config
from legged_ppo.reports.heat_map import draw_curriculum
from legged_ppo.runs.run_directory import RunDirectory
from legged_ppo.training.console import TrainingConsole
from legged_ppo.training.health import HealthMonitor
from legged_ppo.training.logger import MetricLogger, Metrics
from legged_ppo.training.tracker import Tracker


class Reporter:
    """Context manager around a run's output."""

    def __init__(
        self,
        run: RunDirectory,
        config: Config,
        health: HealthMonitor,
        env_steps: int,
        total_steps: int,
        total_iterations: int,
        tracker: Tracker | None = None,
    ) -> None:
        self._run, self._health, self._total = run, health, total_iterations
        self._metrics = MetricLogger(run.root, config, env_steps, tracker)
        self._console = TrainingConsole(total_steps, total_iterations, config.training.log_interval)

    def __enter__(self) -> Reporter:
        self._console.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._console.__exit__()
        self._metrics.close()

    def write(self, metrics: Metrics) -> None:
        """Report one iteration; `metrics` holds `iteration`, `env_steps` and `wall_time_s` too."""
        iteration, env_steps = int(metrics["iteration"]), int(metrics["env_steps"])
        self._metrics.write(metrics, env_steps)
        left = (self._total - iteration) / iteration
        eta = str(timedelta(seconds=round(left * metrics["wall_time_s"])))
        self._console.update(iteration, env_steps, metrics, eta)
        for line in self._health.check(metrics, iteration):
            self._console.print(f"advice: {line}", style="yellow")

    def write_curriculum(self, report: dict[str, Any], env_steps: int) -> None:
        """The matrix of types and levels as data, and as an image on the dashboards."""
        self._run.write_json("curriculum.json", report)
        image = self._run.root / "plots" / "curriculum.png"
        draw_curriculum(report, image)
        self._metrics.write_image("Curriculum/solve_rate", image, env_steps)


class SilentReporter:
    """On all ranks but the first."""

    def __enter__(self) -> SilentReporter:
        return self

    def __exit__(self, *_: object) -> None: ...

    def write(self, metrics: Metrics) -> None: ...

    def write_curriculum(self, report: dict[str, Any], env_steps: int) -> None: ...

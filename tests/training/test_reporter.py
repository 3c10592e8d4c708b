"""When the metrics of an iteration are written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from legged_ppo.config.schema import Config
from legged_ppo.reports.health import HealthMonitor
from legged_ppo.runs.run_directory import RunDirectory
from legged_ppo.training.reporter import Reporter


@pytest.mark.parametrize("late", [False, True])
def test_rows_are_written_at_once_or_at_the_next_flush_and_none_is_lost(
    tmp_path: Path, late: bool
) -> None:
    config = Config()
    config.training.wandb = "disabled"
    run = RunDirectory(tmp_path / "run")
    run.root.mkdir()

    def written() -> list[int]:
        lines = run.metrics.read_text().splitlines() if run.metrics.exists() else []
        return [json.loads(line)["iteration"] for line in lines]

    with Reporter(run, config, HealthMonitor([]), 0, 300, 3, late=late) as reporter:
        reporter.write({"iteration": 1, "env_steps": 100, "wall_time_s": 1.0})
        assert written() == ([] if late else [1])
        reporter.flush()
        assert written() == [1]
        for i in (2, 3):
            reporter.write({"iteration": i, "env_steps": 100 * i, "wall_time_s": 1.0 * i})
    assert written() == [1, 2, 3]

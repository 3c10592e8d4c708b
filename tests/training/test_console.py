"""The table of a run fits its terminal, and its last row is the last iteration."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from legged_ppo.training.console import TrainingConsole

ROBOT = {
    "Train/mean_reward": 17.25,
    "Train/mean_episode_length": 998.0,
    "Track/lin_vel_error": 0.113,
    "Track/yaw_rate_error": 0.125,
    "Loss/value": 0.0123,
    "Loss/entropy": 12.5,
    "Policy/mean_std": 0.45,
    "Policy/approx_kl": 0.0123,
    "Policy/clip_fraction": 0.12,
    "Policy/explained_variance": 0.93,
    "Loss/learning_rate": 1e-3,
    "Perf/total_fps": 11_234.0,
}
CARTPOLE = {name: value for name, value in ROBOT.items() if not name.startswith("Track/")}
CARTPOLE["Episode/success_rate"] = 0.75


def table(metrics: dict[str, float], width: int, iterations: range, total: int) -> list[str]:
    output = io.StringIO()
    console = TrainingConsole(10_000, total, 5, Console(file=output, width=width))
    with console:
        for iteration in iterations:
            console.update(iteration, 100 * iteration, metrics, "0:12:34")
    return output.getvalue().splitlines()


@pytest.mark.parametrize("metrics", [ROBOT, CARTPOLE])
@pytest.mark.parametrize("width", [40, 80, 100, 150])
def test_rows_fit_the_terminal_and_no_figure_is_cut(metrics: dict[str, float], width: int) -> None:
    heading, row = table(metrics, width, range(1, 2), 733)
    assert len(heading) == len(row) <= width
    assert len(
        heading.replace("vel err", "x").replace("yaw err", "x").replace("expl var", "x").split()
    ) == len(row.split())
    assert "\u2026" not in row and row.split()[2] == "17.25"


def test_80_columns_show_what_matters_most() -> None:
    heading, _ = table(ROBOT, 80, range(1, 2), 733)
    for name in ("iteration", "steps", "reward", "length", "vel err", "yaw err", "steps/s", "eta"):
        assert name in heading


def test_an_environment_without_commands_has_success_and_no_tracking_errors() -> None:
    heading, row = table(CARTPOLE, 150, range(1, 2), 733)
    assert "err" not in heading and "success" in heading and "0.75" in row


def test_a_metric_that_comes_later_gets_its_column_under_a_new_heading() -> None:
    output = io.StringIO()
    console = TrainingConsole(1000, 10, 1, Console(file=output, width=80))
    console.update(1, 100, {"Perf/total_fps": 100.0}, "0:00:09")
    console.update(2, 200, CARTPOLE, "0:00:08")
    first, _, second, _ = output.getvalue().splitlines()
    assert "success" not in first and "reward" in first and "success" in second


def test_the_last_iteration_has_a_row_whatever_the_interval() -> None:
    rows = table(ROBOT, 80, range(1, 14), 13)
    assert [row.split()[0] for row in rows[1:]] == ["1/13", "5/13", "10/13", "13/13"]

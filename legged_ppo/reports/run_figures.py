"""The figures of runs as rows: one a run, and the mean over the seeds of a group."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from legged_ppo.reports.html_page import Row
from legged_ppo.reports.run_groups import Group
from legged_ppo.reports.run_record import RunRecord
from legged_ppo.reports.tables import figure_text


@dataclass(frozen=True)
class _Column:
    heading: str
    value: Callable[[RunRecord], float | None]
    digits: int
    evaluated: str = ""
    """Name of the figure of an evaluation, which has an interval."""

    def cell(self, run: RunRecord) -> str:
        value = self.value(run)
        if value is None or not self.evaluated:
            return _text(value, self.digits)
        return figure_text(run.evaluation["overall"], self.evaluated, self.digits)


def _overall(heading: str, name: str, digits: int) -> _Column:
    def value(run: RunRecord) -> float | None:
        found = run.evaluation.get("overall", {}).get(name)
        return None if found is None else float(found)

    return _Column(heading, value, digits, name)


def _gait(name: str) -> Callable[[RunRecord], float | None]:
    def value(run: RunRecord) -> float | None:
        found = [figures.get(name) for figures in run.evaluation.get("gait", {}).values()]
        known = [each for each in found if each is not None]
        return float(np.mean(known)) if known else None

    return value


def _hours(run: RunRecord) -> float | None:
    seconds = run.state.row.get("wall_time_s")
    return None if seconds is None else seconds / 3600.0


def _speed(run: RunRecord) -> float | None:
    seconds = run.state.row.get("wall_time_s")
    return run.state.env_steps / seconds if seconds else None


_COLUMNS = (
    _Column("steps [M]", lambda run: run.state.env_steps / 1e6 or None, 2),
    _Column("hours", _hours, 2),
    _Column("env steps/s", _speed, 0),
    _overall("success", "success_rate", 3),
    _overall("return", "mean_return", 1),
    _overall("velocity error [m/s]", "lin_vel_error", 3),
    _overall("yaw rate error [rad/s]", "yaw_rate_error", 3),
    _overall("cost of transport", "cost_of_transport", 2),
    _Column("trot index", _gait("trot_index"), 2),
)


def summary_rows(groups: Sequence[Group]) -> tuple[list[str], list[Row]]:
    """Headings, and a row a run; below the runs of a group their mean and standard deviation."""
    everyone = [run for group in groups for run in group.runs]
    shown = [each for each in _COLUMNS if any(each.value(run) is not None for run in everyone)]
    rows: list[Row] = []
    for group in groups:
        for run in group.runs:
            cells = [each.cell(run) for each in shown]
            rows.append(([run.name, run.state.state, str(run.seed), *cells], False))
        if len(group.runs) > 1:
            cells = [mean_text(map(each.value, group.runs), each.digits) for each in shown]
            rows.append(([f"mean of these {len(group.runs)}", "", "", *cells], True))
    return ["run", "state", "seed", *(each.heading for each in shown)], rows


def comparison_rows(groups: Sequence[Group]) -> tuple[list[str], list[Row]]:
    """Success rates by terrain type, a column a run with half of its 95 % interval over episodes, and a column a
    group of several with mean and standard deviation over its runs."""
    columns: list[tuple[str, list[RunRecord]]] = []
    for group in groups:
        evaluated = [run for run in group.runs if "terrain" in run.evaluation]
        columns += [(run.name, [run]) for run in evaluated]
        if len(evaluated) > 1:
            columns.append((f"mean of these {len(evaluated)}", evaluated))
    types = dict.fromkeys(
        name for _, runs in columns for run in runs for name in run.evaluation["terrain"]
    )
    rows: list[Row] = []
    for name in ("all", *types):
        cells = []
        for _, runs in columns:
            figures = [_figures_of(run, name) for run in runs]
            if len(runs) == 1:
                cells.append(figure_text(figures[0], "success_rate", 2) if figures[0] else "-")
            else:
                cells.append(mean_text((each.get("success_rate") for each in figures), 2))
        rows.append(([name, *cells], name == "all"))
    return ["terrain", *(heading for heading, _ in columns)], rows


def mean_text(values: Iterable[float | None], digits: int) -> str:
    """Mean and standard deviation of the values that are known: "0.93 ± 0.02", "0.93" of one, "-" of none."""
    known = [each for each in values if each is not None]
    mean = _text(float(np.mean(known)) if known else None, digits)
    return mean if len(known) < 2 else f"{mean} ± {_text(float(np.std(known, ddof=1)), digits)}"


def _figures_of(run: RunRecord, terrain: str) -> dict[str, Any]:
    if terrain == "all":
        return dict(run.evaluation["overall"])
    return dict(run.evaluation["terrain"].get(terrain, {}).get("all", {}))


def _text(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"

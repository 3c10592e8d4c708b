"""What a sweep found: a table of its trials, one of each key's effect, and a picture of both."""

from __future__ import annotations

import csv
import itertools
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from legged_ppo.config.sweep import Parameter, Sweep, override

_PARTS = 3
"""Parts of a range whose trials are compared."""
_FEWEST = 4
"""Trials below which importances mean nothing."""


def write_sweep_report(study: Any, sweep: Sweep, folder: Path) -> Path:
    """Write trials.csv, sweep.png and sweep.md into `folder`; returns the path of the last."""
    trials = [t for t in study.trials if t.state.name == "COMPLETE"]
    _write_csv(study.trials, sweep, folder / "trials.csv")
    _draw(trials, sweep, folder / "sweep.png")
    report = folder / "sweep.md"
    report.write_text("\n".join(_lines(study, trials, sweep)) + "\n")
    return report


def _lines(study: Any, trials: Sequence[Any], sweep: Sweep) -> list[str]:
    states = [t.state.name.lower() for t in study.trials]
    counts = ", ".join(f"{states.count(each)} {each}" for each in sorted(set(states)))
    ways = "highest" if sweep.direction == "maximize" else "lowest"
    lines = [
        f"# {study.study_name}",
        "",
        f"`{sweep.recipe}`, {len(study.trials)} trials ({counts}) of seeds {sweep.seeds}; "
        f"score: last `{sweep.metric}`, {ways} first.",
        "",
    ]
    if not trials:
        return [*lines, "No trial was completed."]
    best = sorted(trials, key=lambda t: t.value, reverse=sweep.direction == "maximize")
    keys = [p.key for p in sweep.parameters]
    lines += _table(
        ["trial", "score", "of each seed", *(f"`{key}`" for key in keys)],
        [
            [
                str(t.number),
                _text(t.value),
                ", ".join(_text(each) for each in t.user_attrs.get("scores", [])),
                *(_text(t.params[key]) for key in keys),
            ]
            for t in best
        ],
    )
    values = [override(key, _text(best[0].params[key])) for key in keys]
    lines += ["", f"Best: `{' '.join(values)}`", "", *_effects(study, trials, sweep)]
    return [*lines, "", "![scores against each key](sweep.png)"]


def _effects(study: Any, trials: Sequence[Any], sweep: Sweep) -> list[str]:
    """For each key the median score of the trials in each part of its range."""
    importance: dict[str, float] = {}
    if len(trials) >= _FEWEST:
        from optuna.importance import get_param_importances

        importance = get_param_importances(study)
    rows = []
    for parameter in sweep.parameters:
        cells = []
        for name, inside in _parts(parameter):
            scores = [t.value for t in trials if inside(t.params[parameter.key])]
            median = _text(statistics.median(scores)) if scores else "-"
            cells.append(f"{name}: {median} ({len(scores)})")
        share = importance.get(parameter.key)
        shown = "-" if share is None else f"{share:.2f}"
        rows.append([f"`{parameter.key}`", "; ".join(cells), shown])
    return _table(["key", "median score (trials) by part of the range", "importance"], rows)


def _parts(parameter: Parameter) -> list[tuple[str, Any]]:
    """Names of the parts of a range, and whether a value lies inside."""
    if parameter.choices:
        return [(_text(c), lambda value, c=c: value == c) for c in parameter.choices]
    low, high = parameter.low, parameter.high
    shares = [i / _PARTS for i in range(_PARTS + 1)]
    if parameter.log:
        edges = [low * (high / low) ** share for share in shares]
    else:
        edges = [low + (high - low) * share for share in shares]
    edges[0], edges[-1] = low, high
    return [
        (
            f"{_text(a)} to {_text(b)}",
            lambda value, a=a, b=b: a <= value and (value < b or b == high),
        )
        for a, b in itertools.pairwise(edges)
    ]


def _write_csv(trials: Sequence[Any], sweep: Sweep, path: Path) -> None:
    keys = [p.key for p in sweep.parameters]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["trial", "state", "score", "seconds", *keys])
        for t in trials:
            seconds = round(t.duration.total_seconds(), 1) if t.duration else ""
            own = [t.params.get(key, "") for key in keys]
            writer.writerow([t.number, t.state.name, t.value, seconds, *own])


def _draw(trials: Sequence[Any], sweep: Sweep, path: Path) -> None:
    """One panel a key: every trial's score against the key's value."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    count = len(sweep.parameters)
    figure = Figure(figsize=(3.6 * count, 3.4))
    panels = figure.subplots(1, count, sharey=True, squeeze=False)[0]
    for axis, parameter in zip(panels, sweep.parameters, strict=True):
        values = [t.params[parameter.key] for t in trials]
        x = [_text(v) for v in values] if parameter.choices else values
        if parameter.choices:
            axis.plot([_text(c) for c in parameter.choices], [None] * len(parameter.choices))
        axis.plot(x, [t.value for t in trials], "o", color="#0072B2", alpha=0.7, markersize=5)
        if parameter.log:
            axis.set_xscale("log")
            axis.xaxis.set_minor_formatter(NullFormatter())  # their labels overlap
            axis.set_xticks(
                [parameter.low, (parameter.low * parameter.high) ** 0.5, parameter.high]
            )
            axis.xaxis.set_major_formatter(lambda value, _: _text(float(value)))
        axis.set_xlabel(parameter.key)
        axis.grid(alpha=0.25)
    panels[0].set_ylabel(sweep.metric)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of Markdown."""
    lines = [headings, ["---"] * len(headings), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)

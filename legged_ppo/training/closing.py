"""The end of a run: its final checkpoint and its summary, also for a run that was killed before them."""

from __future__ import annotations

import resource
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from legged_ppo.config.schema import Config
from legged_ppo.runs.checkpoint import copy_checkpoint
from legged_ppo.runs.listing import BEST_FIGURES, read_json
from legged_ppo.runs.provenance import provenance
from legged_ppo.runs.run_directory import RunDirectory
from legged_ppo.runs.whole_file import writing
from legged_ppo.training.logger import json_number

_SUMMARY = "summary.json"


def close_run(
    run: RunDirectory,
    checkpoint: Path,
    config: Config,
    counters: Mapping[str, Any],
    metrics: Mapping[str, float | None],
    peak_memory_gb: float | None = None,
) -> None:
    """Make `checkpoint` the final one and write summary.json.

    Args:
        counters: those of the checkpoint.
        metrics: the last iteration's.
        peak_memory_gb: of the process that trained, where it is this one.
    """
    copy_checkpoint(checkpoint, run.final)
    run.write_json(
        _SUMMARY,
        {
            "env_steps": counters["env_steps"],
            "iterations": counters["iteration"],
            "train_wall_time_s": round(counters["train_wall_time_s"], 1),
            "mean_fps": round(counters["env_steps"] / counters["train_wall_time_s"]),
            "peak_memory_gb": peak_memory_gb,
            "best_score": counters["best_score"],
            "num_envs": config.training.num_envs,
            "seed": config.training.seed,
            "trained_on": config.subject,
            "provenance": provenance(),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "report_written": False,
            "final": _final(metrics),
        },
    )


def note_best(run: RunDirectory, counters: Mapping[str, Any], figures: Mapping[str, float]) -> None:
    """Write best.json beside the best checkpoint, for what reads runs without loading checkpoints.

    Args:
        counters: those of the best checkpoint.
        figures: of its evaluation, as `PolicyScore.metrics`.
    """
    content = {
        "env_steps": counters["env_steps"],
        "iteration": counters["iteration"],
        "score": json_number(counters["best_score"]),
        "figures": {name: json_number(value) for name, value in figures.items()},
    }
    run.write_json(BEST_FIGURES, content)


def note_report(run: RunDirectory) -> None:
    """Record in summary.json that evaluation, plots and video are complete."""
    run.write_json(_SUMMARY, _summary(run) | {"report_written": True})


def lacks_end(run: RunDirectory, counters: Mapping[str, Any]) -> bool:
    """Whether the run was killed after its last training step and before its summary.

    Args:
        counters: of a checkpoint; False for an earlier one of the run than its last.
    """
    if run.last_row().get("env_steps") != counters["env_steps"]:
        return False
    return not run.final.is_file() or _summary(run).get("env_steps") != counters["env_steps"]


def close_again(
    run: RunDirectory, checkpoint: Path, counters: Mapping[str, Any], config: Config
) -> None:
    """Close the run as `close_run` does, where it lacks its end.

    Args:
        counters: those of `checkpoint`.
    """
    if lacks_end(run, counters):
        with writing(run.root):
            run.remove_leftovers()
        close_run(run, checkpoint, config, counters, run.last_row())


def lacks_report(run: RunDirectory) -> bool:
    """Whether a closed run was killed before its report was complete."""
    return not _summary(run).get("report_written", True)  # older summaries do not say


def peak_memory_gb() -> float:
    """The largest memory that this process has held, GB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)


def _final(metrics: Mapping[str, float | None]) -> dict[str, float | None]:
    """The figures of a row of metrics but the timings."""
    return {
        name: None if value is None else json_number(value)
        for name, value in metrics.items()
        if "/" in name and not name.startswith("Perf/")
    }


def _summary(run: RunDirectory) -> dict[str, Any]:
    """The content of summary.json; empty where it is missing or damaged."""
    return read_json(run.root / _SUMMARY)

"""A run as its folder describes it, finished or not: all that a report draws from."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from legged_ppo.config.keys import leaves
from legged_ppo.config.loading import to_config
from legged_ppo.config.schema import Config
from legged_ppo.errors import ConfigError
from legged_ppo.reports.event_files import read_events
from legged_ppo.reports.plots import Rows, read_metrics
from legged_ppo.runs.listing import RunState, read_json, read_state

_OF_ONE_RUN = ("training.seed", "training.run_name", "training.log_dir")
"""Keys in which runs of one recipe differ."""


@dataclass(frozen=True)
class RunRecord:
    """The files of a run, read once."""

    root: Path
    state: RunState
    rows: Rows
    """Of metrics.jsonl, or of the TensorBoard files of a folder without it."""
    from_events: bool
    """The rows come from TensorBoard files."""
    values: dict[str, Any]
    """Every key of config.yaml, dotted; empty without one."""
    summary: dict[str, Any]
    evaluation: dict[str, Any]
    """Of the best checkpoint; empty before there is one."""
    curriculum: dict[str, Any]

    @property
    def name(self) -> str:
        return self.root.name

    @cached_property
    def config(self) -> Config | None:
        """The recipe; None where this version does not know its keys. Extensions are not imported."""
        with contextlib.suppress(Exception):  # whatever OmegaConf thinks of another version's file
            return to_config(_config_values(self.root))
        return None

    @property
    def recipe(self) -> tuple[tuple[str, str], ...]:
        """All values but those of the single run: equal for seeds of one recipe."""
        return tuple((k, repr(v)) for k, v in sorted(self.values.items()) if k not in _OF_ONE_RUN)

    @property
    def seed(self) -> Any:
        return self.values.get("training.seed", "-")

    @property
    def videos(self) -> list[Path]:
        found = (self.root / "videos").glob("*")
        return sorted(path for path in found if path.suffix in (".mp4", ".gif"))


def read_run(root: Path) -> RunRecord:
    """Read the run in the folder `root`.

    Raises:
        ConfigError: it holds neither metrics.jsonl nor TensorBoard files.
    """
    metrics = root / "metrics.jsonl"
    rows = read_metrics(metrics) if metrics.is_file() else []
    events = [] if rows else sorted(root.glob("events.out.tfevents.*"))
    if not metrics.is_file() and not events:
        expected = "a run's folder with metrics.jsonl, or with TensorBoard files"
        raise ConfigError("RUN", str(root), expected)
    return RunRecord(
        root=root,
        state=read_state(root),
        rows=rows or read_events(events),
        from_events=bool(events),
        values=leaves(_config_values(root)),
        summary=read_json(root / "summary.json"),
        evaluation=read_json(root / "evaluation.json"),
        curriculum=read_json(root / "curriculum.json"),
    )


def _config_values(root: Path) -> dict[str, Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        values = yaml.load((root / "config.yaml").read_text(), Loader=loader)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    if not isinstance(values, dict):
        return {}
    values.pop("defaults", None)  # Hydra's
    return values

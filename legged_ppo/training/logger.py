"""Metrics of a run: to metrics.jsonl and TensorBoard always, to a tracker where there is one."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
from PIL import Image

from legged_ppo.config.schema import Config
from legged_ppo.training.dashboard import Dashboard
from legged_ppo.training.event_files import EventFiles
from legged_ppo.training.row_file import RowFile
from legged_ppo.training.tracker import Tracker

Metrics = dict[str, float]


class MetricLogger:
    """One row of metrics an iteration, under the names that the field's dashboards already have.

    A full disk delays the rows of metrics.jsonl; a TensorBoard that fails or hangs lacks rows.
    """

    def __init__(
        self, root: Path, config: Config, env_steps: int, tracker: Tracker | None = None
    ) -> None:
        self._rows = RowFile(root / "metrics.jsonl")
        events = EventFiles(root, config, env_steps)
        self._tensorboard = Dashboard("TensorBoard", events.open, events.write, events.close)
        self._tracker = tracker

    def write(self, metrics: Metrics, env_steps: int) -> None:
        """Append one row; `metrics` holds `iteration` and `env_steps` too."""
        self._rows.append(json.dumps({k: json_number(v) for k, v in metrics.items()}))
        scalars = {name: value for name, value in metrics.items() if "/" in name}
        self._tensorboard.send(scalars, env_steps)
        if self._tracker is not None:
            self._tracker.log(scalars, env_steps)

    def flush(self) -> None:
        """Write the rows of metrics.jsonl that a full disk has delayed."""
        self._rows.flush()

    def write_image(self, name: str, path: Path, env_steps: int) -> None:
        """Show a PNG file."""
        pixels = np.asarray(Image.open(path).convert("RGB"))
        self._tensorboard.send({name: pixels}, env_steps)
        if self._tracker is not None:
            self._tracker.log({name: pixels}, env_steps)

    def close(self) -> None:
        """Close the files; the tracker stays open for the report."""
        self._rows.close()
        self._tensorboard.close()


def json_number(value: float) -> float | None:
    """JSON has no NaN; a missing value is null."""
    return value if math.isfinite(value) else None

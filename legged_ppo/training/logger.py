"""Metrics of a run: to metrics.jsonl and TensorBoard always, to wandb where it is on."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from legged_ppo.config.schema import Config
from legged_ppo.training.dashboard import Dashboard
from legged_ppo.training.event_files import EventFiles
from legged_ppo.training.row_file import RowFile
from legged_ppo.training.wandb_run import start_wandb

Metrics = dict[str, float]


class MetricLogger:
    """One row of metrics an iteration, under the names that the field's dashboards already have.

    A full disk delays the rows of metrics.jsonl; a TensorBoard that fails or hangs lacks rows.
    """

    def __init__(self, root: Path, config: Config, env_steps: int) -> None:
        self._rows = RowFile(root / "metrics.jsonl")
        events = EventFiles(root, config, env_steps)
        self._tensorboard = Dashboard("TensorBoard", events.open, events.write, events.close)
        self._wandb = start_wandb(root, config)

    def write(self, metrics: Metrics, env_steps: int) -> None:
        """Append one row; `metrics` holds `iteration` and `env_steps` too."""
        self._rows.append(json.dumps({k: json_number(v) for k, v in metrics.items()}))
        scalars = {name: value for name, value in metrics.items() if "/" in name}
        self._tensorboard.send(scalars, env_steps)
        self._log_to_wandb(scalars, env_steps)

    def flush(self) -> None:
        """Write the rows of metrics.jsonl that a full disk has delayed."""
        self._rows.flush()

    def write_image(self, name: str, path: Path, env_steps: int) -> None:
        """Show a PNG file."""
        pixels = np.asarray(Image.open(path).convert("RGB"))
        self._tensorboard.send({name: pixels}, env_steps)
        self._log_to_wandb({name: pixels}, env_steps)

    def close(self) -> None:
        """Close the files; the wandb run stays open for the report, until `finish_wandb`."""
        self._rows.close()
        self._tensorboard.close()

    def _log_to_wandb(self, values: Mapping[str, float | np.ndarray], env_steps: int) -> None:
        """Numbers, and images [height, width, 3] uint8."""
        if self._wandb is None:
            return
        try:
            import wandb

            images = {k: wandb.Image(v) for k, v in values.items() if isinstance(v, np.ndarray)}
            self._wandb.log({**values, **images}, step=env_steps)
        except Exception as error:  # wandb must never end a run
            warnings.warn(f"wandb stopped: {error}", stacklevel=3)
            self._wandb = None


def json_number(value: float) -> float | None:
    """JSON has no NaN; a missing value is null."""
    return value if math.isfinite(value) else None

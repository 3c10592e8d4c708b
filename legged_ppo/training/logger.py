"""Metrics of a run: to metrics.jsonl and TensorBoard always, to wandb where it is on."""

from __future__ import annotations

import json
import math
import threading
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from legged_ppo.config.loading import config_to_yaml
from legged_ppo.config.schema import Config
from legged_ppo.training.dashboard import Dashboard, Values
from legged_ppo.training.row_file import RowFile
from legged_ppo.training.wandb_run import start_wandb

Metrics = dict[str, float]


class MetricLogger:
    """One row of metrics an iteration, under the names that the field's dashboards already have.

    A full disk delays the rows of metrics.jsonl; a dashboard that fails or hangs lacks rows.
    """

    def __init__(self, root: Path, config: Config, env_steps: int) -> None:
        self._rows = RowFile(root / "metrics.jsonl")
        self._hook, threading.excepthook = threading.excepthook, _without_tensorboard
        board = _TensorBoard(root, config, env_steps)
        self._dashboards = [
            Dashboard("TensorBoard", board.connect, _write_tensorboard, SummaryWriter.close)
        ]
        wandb_run = start_wandb(root, config)
        if wandb_run is not None:
            self._dashboards.append(Dashboard("wandb", lambda: wandb_run, _write_wandb))

    def write(self, metrics: Metrics, env_steps: int) -> None:
        """Append one row; `metrics` holds `iteration` and `env_steps` too."""
        self._rows.append(json.dumps({k: json_number(v) for k, v in metrics.items()}))
        self._send({name: value for name, value in metrics.items() if "/" in name}, env_steps)

    def write_image(self, name: str, path: Path, env_steps: int) -> None:
        """Show a PNG file."""
        self._send({name: np.asarray(Image.open(path).convert("RGB"))}, env_steps)

    def close(self) -> None:
        """Send what waits; the wandb run stays open for the report, until `finish_wandb`."""
        for dashboard in self._dashboards:
            dashboard.close()
        threading.excepthook = self._hook

    def _send(self, values: Values, env_steps: int) -> None:
        for dashboard in self._dashboards:
            dashboard.send(values, env_steps)


def json_number(value: float) -> float | None:
    """JSON has no NaN; a missing value is null."""
    return value if math.isfinite(value) else None


class _TensorBoard:
    """Opens event files in a run's folder."""

    def __init__(self, root: Path, config: Config, env_steps: int) -> None:
        self._root, self._env_steps = root, env_steps
        self._text = f"```yaml\n{config_to_yaml(config)}```"  # TensorBoard shows Markdown
        self._purge = env_steps + 1 if env_steps else None  # the checkpoint's own point stays

    def connect(self) -> SummaryWriter:
        """A new event file; the first one hides the points of a killed run beyond its checkpoint."""
        writer = SummaryWriter(str(self._root), purge_step=self._purge)
        writer.add_text("config", self._text, self._env_steps)
        self._purge = None
        return writer


def _write_tensorboard(writer: SummaryWriter, values: Values, env_steps: int) -> None:
    for name, value in values.items():
        if isinstance(value, np.ndarray):
            writer.add_image(name, value, env_steps, dataformats="HWC")
        else:
            writer.add_scalar(name, value, env_steps)


def _write_wandb(run: Any, values: Values, env_steps: int) -> None:
    import wandb

    images = {k: wandb.Image(v) for k, v in values.items() if isinstance(v, np.ndarray)}
    run.log({**values, **images}, step=env_steps)


def _without_tensorboard(failure: threading.ExceptHookArgs) -> None:
    """Leave out the traceback of TensorBoard's own thread, whose error its next write raises again."""
    if not type(failure.thread).__module__.startswith("tensorboard."):
        threading.__excepthook__(failure)

"""Metrics of a run: to metrics.jsonl and TensorBoard always, to a tracker where there is one."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from legged_ppo.config.loading import config_to_yaml
from legged_ppo.config.schema import Config
from legged_ppo.training.tracker import Tracker

Metrics = dict[str, float]


class MetricLogger:
    """One row of metrics an iteration, under the names that the field's dashboards already have."""

    def __init__(
        self, root: Path, config: Config, env_steps: int, tracker: Tracker | None = None
    ) -> None:
        self._file = (root / "metrics.jsonl").open("a")
        purge = env_steps + 1 if env_steps else None  # the checkpoint's own point stays
        self._tensorboard = SummaryWriter(str(root), purge_step=purge)
        text = f"```yaml\n{config_to_yaml(config)}```"  # TensorBoard shows Markdown
        self._tensorboard.add_text("config", text, env_steps)
        self._tracker = tracker

    def write(self, metrics: Metrics, env_steps: int) -> None:
        """Append one row; `metrics` holds `iteration` and `env_steps` too."""
        self._file.write(json.dumps({k: json_number(v) for k, v in metrics.items()}) + "\n")
        self._file.flush()
        scalars = {name: value for name, value in metrics.items() if "/" in name}
        for name, value in scalars.items():
            self._tensorboard.add_scalar(name, value, env_steps)
        if self._tracker is not None:
            self._tracker.log(scalars, env_steps)

    def write_image(self, name: str, path: Path, env_steps: int) -> None:
        """Show a PNG file."""
        pixels = np.asarray(Image.open(path).convert("RGB"))
        self._tensorboard.add_image(name, pixels, env_steps, dataformats="HWC")
        if self._tracker is not None:
            self._tracker.log({name: pixels}, env_steps)

    def close(self) -> None:
        """Close the files; the tracker stays open for the report."""
        self._file.close()
        self._tensorboard.close()


def json_number(value: float) -> float | None:
    """JSON has no NaN; a missing value is null."""
    return value if math.isfinite(value) else None

"""Metrics of a run: to metrics.jsonl and TensorBoard always, to wandb where it is on."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from legged_ppo.config.loading import config_to_yaml
from legged_ppo.config.schema import Config
from legged_ppo.training.wandb_run import start_wandb

Metrics = dict[str, float]


class MetricLogger:
    """One row of metrics an iteration, under the names that the field's dashboards already have."""

    def __init__(self, root: Path, config: Config, env_steps: int) -> None:
        self._file = (root / "metrics.jsonl").open("a")
        purge = env_steps + 1 if env_steps else None  # the checkpoint's own point stays
        self._tensorboard = SummaryWriter(str(root), purge_step=purge)
        text = f"```yaml\n{config_to_yaml(config)}```"  # TensorBoard shows Markdown
        self._tensorboard.add_text("config", text, env_steps)
        self._wandb = start_wandb(root, config)

    def write(self, metrics: Metrics, env_steps: int) -> None:
        """Append one row; `metrics` holds `iteration` and `env_steps` too."""
        self._file.write(json.dumps({k: json_number(v) for k, v in metrics.items()}) + "\n")
        self._file.flush()
        scalars = {name: value for name, value in metrics.items() if "/" in name}
        for name, value in scalars.items():
            self._tensorboard.add_scalar(name, value, env_steps)
        self._log_to_wandb(scalars, env_steps)

    def write_image(self, name: str, path: Path, env_steps: int) -> None:
        """Show a PNG file."""
        pixels = np.asarray(Image.open(path).convert("RGB"))
        self._tensorboard.add_image(name, pixels, env_steps, dataformats="HWC")
        self._log_to_wandb({name: pixels}, env_steps)

    def close(self) -> None:
        """Close the files; the wandb run stays open for the report, until `finish_wandb`."""
        self._file.close()
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

"""Where metrics go: metrics.jsonl and TensorBoard always, wandb when it can."""

from __future__ import annotations

import json
import math
import netrc
import os
import secrets
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from legged_ppo.config.schema import Config

Metrics = dict[str, float]


class MetricLogger:
    """One row of metrics an iteration, under the names that the field's dashboards already have."""

    def __init__(self, root: Path, config: Config, env_steps: int) -> None:
        self._file = (root / "metrics.jsonl").open("a")
        purge = env_steps + 1 if env_steps else None  # the checkpoint's own point stays
        self._tensorboard = SummaryWriter(str(root), purge_step=purge)
        self._wandb = _start_wandb(root, config)

    def write(self, metrics: Metrics, env_steps: int) -> None:
        """Append one row; `metrics` holds `iteration` and `env_steps` too."""
        self._file.write(json.dumps({k: json_number(v) for k, v in metrics.items()}) + "\n")
        self._file.flush()
        scalars = {name: value for name, value in metrics.items() if "/" in name}
        for name, value in scalars.items():
            self._tensorboard.add_scalar(name, value, env_steps)
        if self._wandb is not None:
            try:
                self._wandb.log(scalars, step=env_steps)
            except Exception as error:  # wandb must never end a run
                warnings.warn(f"wandb stopped: {error}", stacklevel=2)
                self._wandb = None

    def write_image(self, name: str, path: Path, env_steps: int) -> None:
        """Show a PNG file in TensorBoard."""
        pixels = np.asarray(Image.open(path).convert("RGB"))
        self._tensorboard.add_image(name, pixels, env_steps, dataformats="HWC")

    def close(self) -> None:
        self._file.close()
        self._tensorboard.close()
        if self._wandb is not None:
            try:
                self._wandb.finish()
            except Exception as error:
                warnings.warn(f"wandb did not finish: {error}", stacklevel=2)


def json_number(value: float) -> float | None:
    """JSON has no NaN; a missing value is null."""
    return value if math.isfinite(value) else None


def _start_wandb(root: Path, config: Config) -> Any:
    mode = config.training.wandb
    if mode == "auto":
        mode = _wandb_mode()
    if mode == "disabled":
        return None
    try:
        import wandb

        return wandb.init(
            project=config.training.wandb_project,
            name=root.name,
            id=_wandb_id(root),
            dir=str(root),
            config=asdict(config),
            mode="offline" if mode == "offline" else "online",
            resume="allow" if mode == "online" else None,
            settings=wandb.Settings(init_timeout=30, silent=True, console="off"),
        )
    except Exception as error:  # no network, no account, a full disk: the run goes on without
        warnings.warn(f"wandb is off: {error}", stacklevel=2)
        return None


def _wandb_id(root: Path) -> str:
    """Of this run folder: drawn once, so that runs of one name on several machines stay apart."""
    path = root / "wandb_id.txt"
    if not path.exists():
        path.write_text(f"{root.name}-{secrets.token_hex(4)}")
    return path.read_text()


def _wandb_mode() -> str:
    """What `auto` means here: what WANDB_MODE says, or online where there is an account."""
    asked = os.environ.get("WANDB_MODE", "online")
    if asked != "online":
        return "offline" if asked in ("offline", "dryrun") else "disabled"
    return "online" if _has_wandb_account() else "disabled"


def _has_wandb_account() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = os.environ.get("WANDB_BASE_URL", "api.wandb.ai").removeprefix("https://").rstrip("/")
    try:
        return netrc.netrc().authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False

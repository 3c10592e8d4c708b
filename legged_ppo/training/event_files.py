"""TensorBoard's event files in a run's folder."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from legged_ppo.config.loading import config_to_yaml
from legged_ppo.config.schema import Config
from legged_ppo.training.dashboard import Values


class EventFiles:
    """Opens, writes and closes event files; the run's config is text in each."""

    def __init__(self, root: Path, config: Config, env_steps: int) -> None:
        self._root, self._env_steps = root, env_steps
        self._text = f"```yaml\n{config_to_yaml(config)}```"  # TensorBoard shows Markdown
        self._purge = env_steps + 1 if env_steps else None  # the checkpoint's own point stays
        self._hook = threading.excepthook

    def open(self) -> SummaryWriter:
        """A new event file; the first one hides the points of a killed run beyond its checkpoint."""
        threading.excepthook = partial(_without_tensorboard, self._hook)
        writer = SummaryWriter(str(self._root), purge_step=self._purge)
        writer.add_text("config", self._text, self._env_steps)
        self._purge = None
        return writer

    def write(self, writer: SummaryWriter, values: Values, env_steps: int) -> None:
        """One row of numbers and images."""
        for name, value in values.items():
            if isinstance(value, np.ndarray):
                writer.add_image(name, value, env_steps, dataformats="HWC")
            else:
                writer.add_scalar(name, value, env_steps)

    def close(self, writer: SummaryWriter) -> None:
        """Write what waits, and close the file."""
        try:
            writer.close()
        finally:
            threading.excepthook = self._hook


def _without_tensorboard(
    hook: Callable[[threading.ExceptHookArgs], object], failure: threading.ExceptHookArgs
) -> None:
    """Leave out the traceback of TensorBoard's own thread, whose error its next write raises again."""
    if not type(failure.thread).__module__.startswith("tensorboard."):
        hook(failure)

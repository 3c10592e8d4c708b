"""Checkpoints that a tracker keeps as artifacts: `wandb:entity/project/run` and `trackio:project/run`."""

from __future__ import annotations

import contextlib
import importlib
import io
import re
from pathlib import Path
from typing import Any

from legged_ppo.errors import ConfigError, UsageError

BEST_ARTIFACT, LATEST_ARTIFACT = "best", "latest"
"""The best policy alone, and the whole state of a run."""
_PARTS = {"wandb": ("entity", "project", "run"), "trackio": ("project", "run")}


def artifact_name(run_id: str, kind: str) -> str:
    """The name of a run's artifact; `kind` is `BEST_ARTIFACT` or `LATEST_ARTIFACT`."""
    return f"{run_id}-{kind}"


def is_artifact(name: str) -> bool:
    """Whether a checkpoint's name is one of a tracker."""
    return name.partition(":")[0] in _PARTS and ":" in name


def download_checkpoint(name: str, kind: str, folder: Path, option: str = "--checkpoint") -> Path:
    """Fetch the newest checkpoint of a run from its tracker.

    Args:
        name: `wandb:entity/project/run` (the run's id, the end of its address) or `trackio:project/run`.
        kind: `BEST_ARTIFACT` or `LATEST_ARTIFACT`.
        folder: where a subfolder of the run's name is made for it.
        option: names the input in the error.

    Raises:
        ConfigError: the name is not complete, or the tracker has no such checkpoint or is not reached.
        UsageError: the tracker is not installed.
    """
    tracker, _, rest = name.partition(":")
    parts = rest.split("/")
    if len(parts) != len(_PARTS[tracker]) or not all(re.fullmatch(r"[\w.-]+", p) for p in parts):
        raise ConfigError(option, name, f"{tracker}:{'/'.join(_PARTS[tracker])}")
    try:
        module = importlib.import_module(tracker)
    except ImportError as error:
        raise UsageError(f"{option} {name} needs {tracker} ({error})") from None
    target = folder / parts[-1] / kind
    try:
        _DOWNLOADS[tracker](module, parts, kind, target)
    except Exception as error:  # both libraries raise many kinds
        hint = ""
        if kind == LATEST_ARTIFACT:
            hint = "; a run keeps its whole state there with training.tracker_checkpoints=all"
        reason = f"a run of {tracker} with the artifact {artifact_name(parts[-1], kind)}"
        raise ConfigError(option, name, f"{reason} ({error}){hint}") from None
    return next(target.glob("*.pth"))


def _download_wandb(wandb: Any, parts: list[str], kind: str, target: Path) -> None:
    entity, project, run = parts
    path = f"{entity}/{project}/{artifact_name(run, kind)}:latest"
    wandb.Api(timeout=30).artifact(path, type="model").download(root=str(target))


def _download_trackio(trackio: Any, parts: list[str], kind: str, target: Path) -> None:
    project, name = parts
    with contextlib.redirect_stdout(io.StringIO()):  # its greeting
        run = trackio.init(
            project, name, resume="must", embed=False, auto_log_gpu=False, auto_log_cpu=False
        )
        try:
            run.use_artifact(artifact_name(name, kind)).download(str(target))
        finally:
            run.finish()


_DOWNLOADS = {"wandb": _download_wandb, "trackio": _download_trackio}

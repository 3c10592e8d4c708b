"""The wandb run of a run folder: on with an account or on demand. Its failures are warnings."""

from __future__ import annotations

import netrc
import os
import secrets
import sys
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

from legged_ppo.config.schema import Config

_ID = "wandb_id.txt"
"""File of a run folder with the id of its wandb run."""


def start_wandb(root: Path, config: Config) -> Any:
    """The wandb run of the folder `root`, which may have been started already; None where wandb is off."""
    mode = config.training.wandb
    if mode == "auto":
        mode = _wandb_mode()
    if mode == "disabled":
        return None
    try:
        import wandb

        if wandb.run is not None and wandb.run.id == _wandb_id(root):
            return wandb.run
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


def finish_wandb(root: Path) -> None:
    """End the wandb run of the folder `root`, if any; a run that the caller started stays open."""
    wandb = sys.modules.get("wandb")
    run = getattr(wandb, "run", None)
    if run is None or not (root / _ID).is_file() or run.id != _wandb_id(root):
        return
    try:
        run.finish()
    except Exception as error:
        warnings.warn(f"wandb did not finish: {error}", stacklevel=2)


def _wandb_id(root: Path) -> str:
    """The id of this run folder, drawn once, so that runs of one name on several machines differ."""
    path = root / _ID
    if not path.exists():
        path.write_text(f"{root.name}-{secrets.token_hex(4)}")
    return path.read_text()


def _wandb_mode() -> str:
    """The mode of `auto`: WANDB_MODE, or online where there is an account."""
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

"""Whether wandb is set up on this machine, found without importing it."""

from __future__ import annotations

import netrc
import os


def automatic_mode() -> str:
    """What `training.wandb=auto` means here: the mode of WANDB_MODE, or online where there is an account, or else
    disabled."""
    asked = os.environ.get("WANDB_MODE", "online")
    if asked != "online":
        return "offline" if asked in ("offline", "dryrun") else "disabled"
    return "online" if _has_account() else "disabled"


def _has_account() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = os.environ.get("WANDB_BASE_URL", "api.wandb.ai").removeprefix("https://").rstrip("/")
    try:
        return netrc.netrc().authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False

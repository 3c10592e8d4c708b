"""The folder for what can be made again: compiled physics, robots of checkpoints."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache() -> Path:
    """`legged_ppo` in XDG_CACHE_HOME or in ~/.cache; it need not exist."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "legged_ppo"

"""The origin of a run: version and commit of the source, and the command line."""

from __future__ import annotations

import functools
import shlex
import subprocess
import sys
from pathlib import Path

import legged_ppo

_TIMEOUT = 5.0
"""Seconds after which git is given up."""

Provenance = dict[str, str | bool]
"""`version`, `command` and, in a git checkout of this package, `git_commit` and `git_dirty`."""


@functools.cache
def provenance() -> Provenance:
    """Version, command line and state of the source of this process; git runs once."""
    source = source_state(Path(legged_ppo.__file__).resolve().parents[1])
    return {"version": legged_ppo.__version__, **source, "command": shlex.join(sys.argv)}


def source_state(root: Path) -> Provenance:
    """Commit of the checkout at `root`, and whether tracked files differ from it.

    Empty where `root` is not the top of a checkout (an installed package may lie inside another project's)
    or git does not work.
    """
    top = _git(root, "rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != root.resolve():
        return {}
    commit = _git(root, "rev-parse", "HEAD")
    changes = _git(root, "status", "--porcelain", "--untracked-files=no")
    if commit is None or changes is None:
        return {}
    return {"git_commit": commit, "git_dirty": bool(changes)}


def as_comment(found: Provenance) -> str:
    """Lines of a YAML comment; characters that YAML does not allow in a comment are escaped."""
    rows = (
        f"# {key}: {str(value).encode('unicode_escape').decode()}\n" for key, value in found.items()
    )
    return "".join(rows)


def _git(root: Path, *arguments: str) -> str | None:
    """The output of a git command; None where git is missing, fails or hangs."""
    command = ["git", "-C", str(root), *arguments]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None

"""Recurrent PPO implementations behind one interface, for probes.py; one file each.

Each runs a script, whose observations, rewards and ends do not depend on the actions, and returns the resulting
update.
"""

from __future__ import annotations

import importlib
import sys

from .script import Subject

_MODULES = ["ours", "rsl_rl", "sb3_contrib", "skrl", "rl_games"]


def load_subject(module: str) -> Subject:
    """The subject of that file.

    Raises:
        ModuleNotFoundError: its implementation is not installed.
    """
    subject: Subject = importlib.import_module(f".{module}", __name__).SUBJECT
    return subject


def load_subjects() -> list[Subject]:
    """All that are installed; the others are named on stderr."""
    found = []
    for module in _MODULES:
        try:
            found.append(load_subject(module))
        except ModuleNotFoundError as error:
            print(f"{module} is left out: {error}", file=sys.stderr)
    return found

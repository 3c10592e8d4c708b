"""Commands from the keys of a terminal."""

from __future__ import annotations

import contextlib
import math
import os
import select
import sys
from collections.abc import Iterator

import numpy as np

from legged_ppo.deploy.commands import Commands, wrap_to_pi

KEYS = "w/s forward, back; a/d left, right; q/e turn; space stop; x quit"
_STEPS, _HEADING_STEP = np.array([0.1, 0.1, 0.2]), math.radians(10)
"""Of one key: m/s, m/s and rad/s; rad in a recipe with headings"""
_MOVES = {
    **{"w": (1, 0, 0), "s": (-1, 0, 0), "a": (0, 1, 0)},
    **{"d": (0, -1, 0), "q": (0, 0, 1), "e": (0, 0, -1)},
}


class Driver:
    """Changes a robot's command key by key, within the ranges of its training.

    Args:
        low, high: [3], of forward, lateral velocity [m/s] and yaw rate [rad/s].
    """

    def __init__(self, low: np.ndarray, high: np.ndarray) -> None:
        self._low, self._high = low, high
        self.quits = False

    def press(self, key: str, commands: Commands, yaw: float) -> None:
        """Take one key at the heading `yaw` [rad]; in a recipe with headings q and e turn the commanded heading,
        which is held from the first key on."""
        command = commands.command.copy()
        heading = commands.heading
        if commands.has_heading and heading is None:
            heading = yaw
        if key == "x":
            self.quits = True
        elif key == " ":
            command[:] = 0.0
            heading = yaw if commands.has_heading else None
        elif key in _MOVES:
            move = np.array(_MOVES[key])
            command = (command + _STEPS * move).clip(self._low, self._high).round(6)
            if heading is not None:
                heading, command[2] = wrap_to_pi(heading + _HEADING_STEP * move[2]), 0.0
        else:
            return
        commands.fix(command, heading)


@contextlib.contextmanager
def single_keys() -> Iterator[bool]:
    """Let a terminal hand over each key at once, without an echo; yields whether there is a terminal."""
    if not sys.stdin.isatty():
        yield False
        return
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield True
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def waiting_keys() -> str:
    """The keys pressed since the last call."""
    descriptor, keys = sys.stdin.fileno(), ""  # Python's own buffer would hide keys from select
    while select.select([descriptor], [], [], 0.0)[0] and (key := os.read(descriptor, 64)):
        keys += key.decode(errors="ignore")
    return keys

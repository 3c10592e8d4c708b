"""Commands from a gamepad, by SDL's controller mapping (pygame)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from legged_ppo.deploy.commands import Commands
from legged_ppo.errors import UsageError

STICKS = "left stick forward, back, left, right; right stick turns; back button quits"
_DEAD_ZONE, _FULL = 0.1, 32767.0
"""Share of a stick's way that counts as rest; SDL's reading at its end"""


class Gamepad:
    """The first gamepad that SDL knows.

    Args:
        low, high: [3], of forward, lateral velocity [m/s] and yaw rate [rad/s]: a stick's ends.

    Raises:
        UsageError: pygame is missing, or no gamepad is connected.
    """

    def __init__(self, low: np.ndarray, high: np.ndarray) -> None:
        self._low, self._high = low, high
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        try:
            import pygame
            from pygame._sdl2 import controller
        except ImportError:
            raise UsageError("--gamepad needs pygame", "pip install pygame") from None
        self._pygame: Any = pygame
        pygame.display.init()  # without it SDL delivers no events
        controller.init()
        known = [i for i in range(controller.get_count()) if controller.is_controller(i)]
        if not known:
            raise UsageError("no gamepad is connected", "connect one or leave out --gamepad")
        self._pad: Any = controller.Controller(known[0])
        self.name: str = self._pad.name

    @property
    def quits(self) -> bool:
        """The back button is held, or the gamepad is gone."""
        held = self._pad.get_button(self._pygame.CONTROLLER_BUTTON_BACK)
        return bool(held or not self._pad.attached())

    def steer(self, commands: Commands) -> None:
        """Give the command of the sticks; in a recipe with headings too, the right stick gives a yaw rate."""
        self._pygame.event.pump()
        sides = self._pygame
        left = sides.CONTROLLER_AXIS_LEFTY, sides.CONTROLLER_AXIS_LEFTX
        axes = (*left, sides.CONTROLLER_AXIS_RIGHTX)
        # SDL's axes grow to the right and down.
        sticks = [-self._pad.get_axis(axis) / _FULL for axis in axes]
        commands.fix(stick_command(sticks, self._low, self._high))


def stick_command(sticks: Sequence[float], low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """[3] of sticks [3] in [-1, 1]: zero in the dead zone, from its edge linear to `low` or `high`."""
    position = np.clip(sticks, -1.0, 1.0)
    size = np.maximum(np.abs(position) - _DEAD_ZONE, 0.0) / (1.0 - _DEAD_ZONE)
    found: np.ndarray = np.where(position < 0, low, high) * size
    return found

"""Driving within what the policy was trained for: by keys, each press a step of the command, or by sticks."""

from __future__ import annotations

from legged_ppo.config.schema import CommandConfig

Command = tuple[float, float, float]
"""Forward, lateral velocity [m/s], yaw rate [rad/s]."""

STEPS = (0.1, 0.1, 0.2)
"""Change of a command by one press [m/s, m/s, rad/s]."""
MOVES = {
    "forward": (0, 1),
    "back": (0, -1),
    "left": (1, 1),
    "right": (1, -1),
    "turn left": (2, 1),
    "turn right": (2, -1),
}
"""The part of the command that a press changes, and the sign."""


class Driver:
    """The command of a person who drives.

    Args:
        ranges: of the commands in training; both ends are kept, and 0 is always inside.
        command: at the beginning; None: the robots follow drawn commands until the first press.
    """

    def __init__(self, ranges: CommandConfig, command: Command | None = None) -> None:
        bounds = (ranges.lin_vel_x, ranges.lin_vel_y, ranges.yaw_rate)
        self.limits = tuple((min(low, 0.0), max(high, 0.0)) for low, high in bounds)
        """Lowest and highest forward, lateral velocity [m/s] and yaw rate [rad/s]."""
        self.command = command

    def press(self, move: str) -> Command:
        """The command after a press: a name in `MOVES`, or "stop"."""
        if move == "stop":
            return self.set((0.0, 0.0, 0.0))
        part, sign = MOVES[move]
        values = list(self.command or (0.0, 0.0, 0.0))
        values[part] += sign * STEPS[part]
        return self.set((values[0], values[1], values[2]))

    def deflect(self, stick: tuple[float, float, float]) -> Command:
        """The command of a stick: forward, left and turn left in [-1, 1] of the limits."""
        vx, vy, yaw_rate = (
            share * (high if share > 0.0 else -low)
            for share, (low, high) in zip(stick, self.limits, strict=True)
        )
        return self.set((vx, vy, yaw_rate))

    def set(self, command: Command) -> Command:
        """Take over a command, clipped to the limits; returns it."""
        vx, vy, yaw_rate = (
            round(min(max(value, low), high), 3)
            for value, (low, high) in zip(command, self.limits, strict=True)
        )
        self.command = (vx, vy, yaw_rate)
        return self.command

"""Velocity commands of one robot, as in training: drawn or given, with a heading where the recipe has one.

`env.commands.VelocityCommands` does the same for N robots with torch, which a robot does not have.
"""

from __future__ import annotations

import math

import numpy as np

from legged_ppo.config.schema import CommandConfig

_MEMORY = 3.0
"""Time constant [s] with which the course follows a turn that was not commanded, as in `VelocityCommands`."""


class Commands:
    """The command of one robot.

    Args:
        dt: control step [s].
        random: source of drawn commands.
        terrain_type: of the tile that the robot walks on; some recipes draw others on some types.
    """

    def __init__(
        self, config: CommandConfig, dt: float, random: np.random.Generator, terrain_type: str = ""
    ) -> None:
        self._config, self._dt, self._random = config, dt, random
        self._terrain_type = terrain_type
        self.command = np.zeros(3)
        """[3] forward, lateral velocity [m/s], yaw rate [rad/s]"""
        self.course = 0.0
        """rad, heading of a robot that turns exactly as commanded"""
        self.heading: float | None = None
        """rad, commanded heading; None: the yaw rate is commanded"""
        self._fixed: np.ndarray | None = None
        self._standing, self._time_left = False, math.inf

    @property
    def has_heading(self) -> bool:
        """Whether the recipe commands headings."""
        return self._config.heading

    def fix(self, command: np.ndarray, heading: float | None = None) -> None:
        """Give this command from now on; with a heading its yaw rate turns the robot there."""
        self._fixed, self.heading = np.asarray(command, dtype=float), heading
        self._standing, self._time_left = False, math.inf
        self.command = self._fixed.copy()

    def restart(self, yaw: float) -> None:
        """Begin an episode at the heading `yaw` [rad]."""
        self.course = yaw
        if self._fixed is None:
            self._draw(yaw)
        self._steer(yaw)

    def step(self, yaw: float) -> None:
        """Advance by one control step, at whose end the heading is `yaw` [rad]."""
        self.course += self._dt * self._course_rate(yaw)
        self._time_left -= self._dt
        if self._time_left <= 0.0:
            self._draw(yaw)
            self.course = yaw
        self._steer(yaw)

    def _draw(self, yaw: float) -> None:
        """Draw a command; see `VelocityCommands.resample`."""
        c, unit = self._config, self._random.random(5)
        low, high = np.array([c.lin_vel_x, c.lin_vel_y, c.yaw_rate], dtype=float).T
        drawn = low + (high - low) * unit[:3]
        turn = _within(c.heading_range, unit[3])
        self._standing = bool(unit[4] < c.standing_fraction)
        if np.linalg.norm(drawn[:2]) < c.min_speed:
            drawn[:2] = 0.0
        if c.flat_velocity and self._terrain_type == "flat":
            curve = unit[4] < 1 / 3
            drawn[:2] = _within(c.flat_velocity, unit[0]) if curve else 0.0, 0.0
            bend = _within(c.flat_heading, unit[3])
            turn = bend if curve else math.pi * (2 * unit[3] - 1)
            self._standing = bool(unit[4] >= 2 / 3)
        if self._terrain_type in c.forward_types:
            drawn[:2] = _within(c.forward_velocity, unit[0]), 0.0
            turn = _within(c.forward_heading, unit[3])
        self.command = np.zeros(3) if self._standing else drawn
        self.heading = wrap_to_pi(yaw + turn) if c.heading else None
        self._time_left = c.resample_time_s

    def _steer(self, yaw: float) -> None:
        if self.heading is not None:
            self.command[2] = 0.0 if self._standing else self._rate_from(yaw, self.heading)

    def _rate_from(self, yaw: float, heading: float) -> float:
        """Yaw rate [rad/s] that turns a robot from the heading `yaw` to the commanded one."""
        low, high = self._config.yaw_rate
        return min(max(self._config.heading_gain * wrap_to_pi(heading - yaw), low), high)

    def _course_rate(self, yaw: float) -> float:
        if self.heading is not None:
            return self._rate_from(self.course, self.heading)
        return float(self.command[2]) + wrap_to_pi(yaw - self.course) / _MEMORY


def _within(bounds: list[float], share: float) -> float:
    """The number at this share of a range."""
    return bounds[0] + (bounds[1] - bounds[0]) * share


def wrap_to_pi(angle: float) -> float:
    """The angle in [-pi, pi)."""
    return (angle + math.pi) % (2 * math.pi) - math.pi

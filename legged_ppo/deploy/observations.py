"""Observations of one robot from what its sensors give, term by term as the metadata lists them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from legged_ppo.deploy.metadata import Metadata
from legged_ppo.errors import ConfigError

STANDING = 0.1
"""Sum of the absolute values of a command [m/s, rad/s] up to which it counts as standing: the clock is hidden."""


@dataclass
class Sensors:
    """Readings of one robot with J joints and F feet."""

    orientation: np.ndarray
    """[4] w, x, y, z, of the base in the world: the IMU's"""
    angular_velocity: np.ndarray
    """[3] rad/s, base frame: the gyroscope's"""
    joint_pos: np.ndarray
    """[J] rad"""
    joint_vel: np.ndarray
    """[J] rad/s"""
    foot_force: np.ndarray
    """[F] N"""
    clearance: np.ndarray
    """[D] m, height of the base above the ground at each point of the scandots"""
    depth: np.ndarray
    """[P] m, image of the depth camera, row by row; empty without one"""


class GaitClock:
    """The phase that a policy with a clock observes, in [0, 1)."""

    def __init__(self, frequency: float, dt: float) -> None:
        self._step = frequency * dt
        self.phase = 0.0

    def restart(self, phase: float = 0.0) -> None:
        """Begin an episode; in training at 0 or 0.5."""
        self.phase = phase

    def step(self) -> None:
        """Advance by one control step."""
        self.phase = (self.phase + self._step) % 1.0

    def observation(self, command: np.ndarray) -> np.ndarray:
        """[2] sine and cosine of the phase; 0 while the command [3] is to stand."""
        if np.abs(command).sum() <= STANDING:
            return np.zeros(2)
        angle = 2 * math.pi * self.phase
        return np.array([math.sin(angle), math.cos(angle)])


class Observer:
    """Builds the graph's observation groups, each [1, width] float32.

    Args:
        source: name of the policy's file, for errors.
        noise: source of the sensor noise of the training; None: none.

    Raises:
        ConfigError: a term that is not computed here, such as an extension's.
    """

    def __init__(
        self, metadata: Metadata, source: str, noise: np.random.Generator | None = None
    ) -> None:
        self._groups, self._noise = metadata.observations, noise
        robot, config = metadata.robot, metadata.config["task"]["observations"]
        self._default = np.array(robot.default_joint_pos)
        self._threshold = float(config["contact_threshold"])
        self.clock = GaitClock(metadata.gait["frequency"], metadata.dt)
        self.action = np.zeros(len(robot.joints))
        self._contact = np.zeros(len(robot.foot_geoms))
        for group in self._groups:
            for term in group.terms:
                if term.name not in _TERMS:
                    expected = f"terms that the runner can compute: {', '.join(_TERMS)}"
                    raise ConfigError("observations", term.name, expected, source=source)

    def restart(self, phase: float = 0.0) -> None:
        """Begin an episode."""
        self.clock.restart(phase)
        self.action[:] = 0.0
        self._contact[:] = 0.0

    def note(self, sensors: Sensors, action: np.ndarray) -> None:
        """Take over what the next observation remembers of a control step: its action [J], and the contacts and
        the clock at its end."""
        self.action = action
        self._contact = (sensors.foot_force > self._threshold).astype(float)
        self.clock.step()

    def __call__(self, sensors: Sensors, command: np.ndarray) -> dict[str, np.ndarray]:
        """The groups for a command [3]: forward, lateral velocity [m/s], yaw rate [rad/s]."""
        values = self._values(sensors, command)
        groups = {}
        for group in self._groups:
            columns = []
            for term in group.terms:
                value = values[term.name] - term.offset
                if term.clip is not None:
                    value = value.clip(-term.clip, term.clip)
                if self._noise is not None and term.noise:
                    value = value + term.noise * self._noise.standard_normal(term.width)
                columns.append(value * term.scale)
            groups[group.name] = np.concatenate(columns).astype(np.float32)[None]
        return groups

    def _values(self, sensors: Sensors, command: np.ndarray) -> Mapping[str, np.ndarray]:
        return {
            "base_ang_vel": sensors.angular_velocity,
            "projected_gravity": projected_gravity(sensors.orientation),
            "joint_pos": sensors.joint_pos - self._default,
            "joint_vel": sensors.joint_vel,
            "last_action": self.action,
            "foot_contact": self._contact,
            "velocity": command[:2],
            "yaw_rate": command[2:],
            "gait_clock": self.clock.observation(command),
            "scandots": sensors.clearance,
            "depth": sensors.depth,
        }


_TERMS = (
    *("base_ang_vel", "projected_gravity", "joint_pos", "joint_vel", "last_action"),
    *("foot_contact", "velocity", "yaw_rate", "gait_clock", "scandots", "depth"),
)


def projected_gravity(quat: np.ndarray) -> np.ndarray:
    """[3] unit vector of gravity in the frame of a quaternion w, x, y, z."""
    w, x, y, z = quat
    return np.array([2 * (w * y - x * z), -2 * (y * z + w * x), 2 * (x * x + y * y) - 1])


def yaw_of(quat: np.ndarray) -> float:
    """Heading [rad] of a quaternion w, x, y, z."""
    w, x, y, z = quat
    return math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))

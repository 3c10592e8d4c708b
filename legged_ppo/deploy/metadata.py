"""What a program on a robot must know of an exported policy, stored as JSON inside the exported file.

docs/deploy.md specifies it for other programs. Only the standard library is needed to read it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from legged_ppo.errors import ConfigError

KEY = "legged_ppo"
"""Name of the JSON text among the metadata of an ONNX file and the extra files of a TorchScript archive."""
FORMAT_VERSION = 1
STATE_IN, STATE_OUT = "h_in", "h_out"
TARGETS, ACTION = "joint_targets", "action"
"""Names of the graph's inputs and outputs beside the observation groups."""


@dataclass(frozen=True)
class Term:
    """Adjacent columns of an observation group: (quantity - offset), clipped, times scale."""

    name: str
    width: int
    unit: str
    """Of the quantity, before scaling."""
    meaning: str
    scale: float = 1.0
    offset: float = 0.0
    clip: float | None = None
    """Bound of (quantity - offset) in `unit`; None: none."""
    noise: float = 0.0
    """Standard deviation of the sensor noise in training, in `unit`."""


@dataclass(frozen=True)
class Group:
    """An input of the graph, [1, width] float32: its terms side by side."""

    name: str
    terms: list[Term]

    @property
    def width(self) -> int:
        return sum(term.width for term in self.terms)


@dataclass(frozen=True)
class RobotFigures:
    """The robot that the policy was trained for; lists of joints are in the policy's joint order."""

    name: str
    base_body: str
    joints: list[str]
    default_joint_pos: list[float]
    """rad; the targets of action 0"""
    kp: list[float]
    """N m/rad"""
    kd: list[float]
    """N m s/rad"""
    joint_range: list[list[float | None]]
    """rad, lower and upper; None: unlimited"""
    torque_limit: list[float | None]
    """N m; None: unlimited"""
    total_mass: float
    """kg"""
    foot_geoms: list[str]


@dataclass(frozen=True)
class Metadata:
    """Everything but the weights."""

    robot: RobotFigures
    dt: float
    """s, time between two calls of the graph"""
    action_scale: float
    """rad per unit of action"""
    action_clip: float
    """Bound of the action, which the graph applies."""
    recurrent_state: list[int]
    """Shape of `h_in` and `h_out`: layers, 1, hidden; empty for a policy without memory"""
    observations: list[Group]
    commands: dict[str, Any]
    """The recipe's `task.commands`: the ranges trained for, and the heading mode."""
    gait: dict[str, Any]
    """The recipe's `task.gait`; no clock is observed where `frequency` is 0."""
    scandots: list[list[float]]
    """m, forward and lateral coordinates of each point in the base's yaw frame; empty for a blind policy"""
    config: dict[str, Any]
    """The resolved recipe."""
    origin: dict[str, Any]
    """Checkpoint, its environment steps, versions and commit."""
    camera: dict[str, Any] = field(default_factory=dict)
    """The recipe's `task.observations.depth` with the mount's `position` [m] in the base frame; empty without a
    camera"""
    format_version: int = field(default=FORMAT_VERSION)

    def to_json(self) -> str:
        return json.dumps(asdict(self), allow_nan=False)


def read_metadata(text: str, source: str) -> Metadata:
    """The inverse of `Metadata.to_json`.

    Raises:
        ConfigError: `text` of the file `source` is damaged, or of another version of the format.
    """
    try:
        found = json.loads(text)
        version = found["format_version"]
        if version != FORMAT_VERSION:
            expected = (
                f"{FORMAT_VERSION}, which this version of legged_ppo reads; export the policy anew"
            )
            raise ConfigError("format_version", version, expected, source=source)
        found["robot"] = RobotFigures(**found["robot"])
        found["observations"] = [
            Group(group["name"], [Term(**term) for term in group["terms"]])
            for group in found["observations"]
        ]
        metadata = Metadata(**found)
        joints = len(metadata.robot.joints)
        of_joints = ("default_joint_pos", "kp", "kd", "joint_range", "torque_limit")
        for name in of_joints:
            if len(getattr(metadata.robot, name)) != joints:
                raise ConfigError(f"robot.{name}", name, f"{joints} entries", source=source)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, ConfigError):
            raise
        reason = f"metadata of legged-ppo export ({type(error).__name__}: {error})"
        raise ConfigError("metadata", "damaged", reason, source=source) from None
    return metadata

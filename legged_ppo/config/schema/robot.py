"""The `robot` section: the MJCF and how it is driven."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from legged_ppo.config.schema.bounds import gains, number, positive


@dataclass
class RobotConfig:
    """A quadruped: its MJCF and how it is driven. Names refer to the MJCF."""

    name: str = "go2"
    """Label used in runs, checkpoints and videos."""
    mjcf: str = "go2"
    """Built-in model (go2, a1) or the path of an MJCF file."""
    base_body: str = "base"
    """Body that carries the free joint."""
    joints: list[str] = field(
        default_factory=lambda: [
            f"{leg}_{part}_joint"
            for leg in ("FL", "FR", "RL", "RR")
            for part in ("hip", "thigh", "calf")
        ]
    )
    """Actuated joints in policy order: legs FL, FR, RL, RR, each hip, thigh, calf."""
    default_joint_pos: list[float] = number(
        [
            *(0.1, 0.8, -1.5),
            *(-0.1, 0.8, -1.5),
            *(0.1, 1.0, -1.5),
            *(-0.1, 1.0, -1.5),
        ]
    )
    """Joint angles [rad] of the standing pose, in the order of `joints`; action 0 means this pose."""
    spawn_height: float = positive(0.35, most=100)
    """Height [m] of the base above the ground at a reset."""
    kp: Any = gains(25.0)
    """Proportional gain [N m/rad] of the joint PD law: a number, or a list in the order of `joints`."""
    kd: Any = gains(0.5, zero=True)
    """Derivative gain [N m s/rad] of the joint PD law: a number, or a list in the order of `joints`."""
    action_scale: float = positive(0.25)
    """Joint angle [rad] per unit of action."""
    foot_geoms: list[str] = field(
        default_factory=lambda: ["FL_foot", "FR_foot", "RL_foot", "RR_foot"]
    )
    """Collision geoms of the feet, in leg order FL, FR, RL, RR."""
    mirror: list[list[str]] = field(default_factory=lambda: [["FL", "FR"], ["RL", "RR"]])
    """Parts of names that distinguish left from right, in pairs."""
    penalized_bodies: list[str] = field(
        default_factory=lambda: [
            f"{leg}_{part}" for part in ("thigh", "calf") for leg in ("FL", "FR", "RL", "RR")
        ]
    )
    """Bodies whose contact with the terrain costs reward; a foot on the body does not count."""
    termination_bodies: list[str] = field(default_factory=lambda: ["base"])
    """Bodies whose contact with the terrain ends the episode."""

"""What every phase of a substep works on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from legged_ppo.sim.simd.layout import Contacts, Fields
from legged_ppo.sim.simd.robot import Robot


@dataclass
class Workspace:
    """One group of robots during a substep."""

    robot: Robot
    state: Fields
    """`layout.state_layout`"""
    work: Fields
    """`layout.work_layout`"""
    contacts: Contacts
    limits: Any
    """Variable: whether some robot is at a joint limit (a condition)."""
    ground: Any
    """Tables of the ground."""
    pointers: Any = None
    """Of state, work and ground, where code is emitted."""

"""Views of a robot, by name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Camera:
    """A camera that follows a robot smoothly."""

    distance: float = 1.6
    """m"""
    elevation: float = -17.0
    """deg"""
    azimuth: float = 52.0
    """deg between the robot's heading and the line of sight, about the vertical"""
    follow_time: float = 0.25
    """s in which it catches up with the robot's position"""
    turn_time: float = 1.2
    """s in which it catches up with the robot's heading"""


CAMERAS = {
    "follow": Camera(),
    "side": Camera(elevation=-5.0, azimuth=90.0),
    "front": Camera(elevation=-12.0, azimuth=180.0),
    "top": Camera(distance=2.5, elevation=-89.0, azimuth=0.0),
}
"""The cameras of `play --camera`; `follow` is behind and beside the robot."""

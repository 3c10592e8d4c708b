"""The `task.observations.depth` section: the depth camera."""

from __future__ import annotations

from dataclasses import dataclass

from legged_ppo.config.schema.bounds import (
    between,
    bounded,
    low_high,
    not_negative,
    positive,
    share,
)


@dataclass
class DepthConfig:
    """The depth camera: the observation group `depth` [rows, columns], depths along the optical axis of what
    the terrain shows, from -0.5 (`near`) to 0.5 (`far`). The robot's own body is not in the picture."""

    enabled: bool = False
    """Render the camera and add the observation group `depth`."""
    rows: int = positive(58, most=1024)
    """Pixels from top to bottom."""
    columns: int = positive(87, most=1024)
    """Pixels from left to right."""
    horizontal_fov_deg: float = bounded(
        87.0, lambda x: 0 < x <= 170, "an angle above 0, at most 170 degrees"
    )
    """Horizontal field of view [deg]; pixels are square, so the vertical one follows."""
    position: list[float] = bounded(
        [],
        lambda x: len(x) in (0, 3) and all(abs(each) <= 2 for each in x),
        "[x, y, z], each within 2 m of the base, or []",
    )
    """Position [m] in the base frame; empty: at the front of the base body, 3 cm above its origin."""
    pitch_deg: float = between(20.0, -90, 90)
    """Angle [deg] by which it looks down from the base's x axis."""
    near: float = not_negative(0.0)
    """Depth [m] up to which everything reads as this depth."""
    far: float = positive(2.0, most=10)
    """Depth [m] from which on everything reads as this depth."""
    period_s: list[float] = low_high([0.08, 0.12], low=0, empty=True)
    """Range of the time [s] between frames, drawn for every frame; empty: a frame every control step."""
    latency_s: list[float] = low_high([0.02, 0.06], low=0, empty=True)
    """Range of each robot's delay [s] from the exposure of a frame to its arrival; empty: none."""
    noise: float = not_negative(0.01)
    """Standard deviation [m] of a depth of 1 m; it grows with the square of the depth, as that of stereo."""
    holes: float = share(0.01)
    """Share of the pixels that measure nothing and read as `far`."""
    position_error: float = not_negative(0.01)
    """Half range [m] of the mounting error along each axis, drawn at each reset."""
    angle_error_deg: float = not_negative(2.0, most=45)
    """Half range [deg] of the mounting error about each axis, drawn at each reset."""

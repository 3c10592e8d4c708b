"""The `gym` section: a Gymnasium environment trained on instead of robots."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from legged_ppo.config.schema.bounds import indices, not_negative, number, positive


@dataclass
class GymConfig:
    """A Gymnasium environment, which is trained on instead of robots where `id` is not empty."""

    id: str = ""
    """Registered name, such as LunarLander-v3."""
    kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of the environment."""
    observe: list[int] = indices([])
    """Indices of the observation's entries that the policy observes; empty: all."""
    image_size: int = not_negative(0, most=4096)
    """Edge [pixels] of the square to which images are shrunk; 0 leaves their size."""
    grayscale: bool = False
    """Reduce images to their luminance."""
    frame_skip: int = positive(1, most=1000)
    """Frames that an action is repeated for; rewards are summed, and each pixel is the brighter one of
    the last two images."""
    normalize_reward: bool = False
    """Divide rewards by the running standard deviation of the discounted return."""
    success_return: float = number(0.0)
    """Return from which an episode counts as a success."""
    success_info: str = ""
    """Entry of the environment's info that is true at the end of a success, such as is_success; empty:
    `success_return` decides."""
    processes: bool = False
    """One process per environment, for those that are slow to step."""

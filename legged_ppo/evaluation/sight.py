"""Ablations of a student's camera: what it is shown in place of its own depth image.

Each function returns a new transformation of observations [N, ...], to be used for one environment from its first
step on (`RecurrentPolicy`). A student that looks where it goes does worse under every one of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import torch

from legged_ppo.interface import Observations
from legged_ppo.models.depth_encoder import DEPTH

Sight = Callable[[Observations], Observations]

NOTHING = 0.5
"""Reading of a camera that sees nothing up to its far clip."""
DELAY = 0.3
"""s, by which the late images are late."""


def blanked() -> Sight:
    """An image without anything in it."""
    return lambda obs: obs | {DEPTH: obs[DEPTH].new_full(obs[DEPTH].shape, NOTHING)}


def of_another_robot() -> Sight:
    """The image of the robot half of them further on, which is on other ground."""
    return lambda obs: obs | {DEPTH: obs[DEPTH].roll(len(obs[DEPTH]) // 2, dims=0)}


def delayed(steps: int) -> Sight:
    """The image of `steps` control steps ago; before them the first one."""
    past: deque[torch.Tensor] = deque(maxlen=steps + 1)

    def late(obs: Observations) -> Observations:
        past.append(obs[DEPTH].clone())
        return obs | {DEPTH: past[0]}

    return late

"""Picture observations of Gymnasium's environments, as the policy's convolutions want them."""

from __future__ import annotations

import numpy as np
import torch
from gymnasium.spaces import Box

from legged_ppo.config.errors import ConfigError
from legged_ppo.config.schema import GymConfig
from legged_ppo.models.image_encoder import SMALLEST_EDGE

_LUMINANCE = (0.299, 0.587, 0.114)
"""Weights of red, green and blue (ITU-R BT.601)."""


def are_pictures(space: Box) -> bool:
    """Whether observations are [height, width, 1 or 3] bytes."""
    return space.dtype == np.uint8 and len(space.shape) == 3 and space.shape[2] in (1, 3)


def picture_shape(config: GymConfig, space: Box) -> tuple[int, int, int]:
    """Channels, height and width of what `pack_pictures` makes.

    Raises:
        ConfigError: they are too small for the convolutions, or a single entry is asked for.
    """
    height, width, channels = space.shape
    if config.image_size:
        height = width = config.image_size
    if config.observe:
        raise ConfigError("gym.observe", config.observe, "[] for an environment with pictures")
    if min(height, width) < SMALLEST_EDGE:
        expected = f"at least {SMALLEST_EDGE} pixels for the convolutions"
        raise ConfigError("gym.image_size", min(height, width), expected)
    return 1 if config.grayscale else channels, height, width


def pack_pictures(config: GymConfig, observed: np.ndarray) -> torch.Tensor:
    """[N, height, width, channels] bytes to [N, channels, height, width], shrunk and in gray if asked."""
    pictures = torch.as_tensor(observed).permute(0, 3, 1, 2)
    size = (config.image_size, config.image_size)
    shrink = config.image_size and pictures.shape[2:] != size
    gray = config.grayscale and pictures.shape[1] == 3
    if not (shrink or gray):
        return pictures.contiguous()
    values = pictures.float()
    if gray:
        weights = torch.tensor(_LUMINANCE).view(1, 3, 1, 1)
        values = (values * weights).sum(1, keepdim=True)
    if shrink:
        values = torch.nn.functional.interpolate(values, size=size, mode="area")
    return values.round().to(torch.uint8)

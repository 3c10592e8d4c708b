"""Picture observations of Gymnasium's environments, as the policy's convolutions want them."""

from __future__ import annotations

import numpy as np
import torch
from gymnasium.spaces import Box

from legged_ppo.config.schema import GymConfig
from legged_ppo.errors import ConfigError
from legged_ppo.models.image_encoder import SMALLEST_EDGE

_LUMINANCE = (0.299, 0.587, 0.114)
"""Weights of red, green and blue (ITU-R BT.601)."""


_MOST_CHANNELS = 16
"""An axis of an image that is not longer holds colours or stacked frames."""


def are_images(space: Box) -> bool:
    """Whether observations are bytes with a height and a width."""
    return _layout(space) is not None


def _layout(space: Box) -> str | None:
    """The axes of its images (channels, height, width): HW, HWC or CHW; None for another space.

    Raises:
        ConfigError: bytes of two axes or more that are not laid out so.
    """
    shape = space.shape
    if space.dtype != np.uint8 or len(shape) < 2:
        return None
    if len(shape) == 2:
        return "HW"
    if len(shape) == 3 and shape[2] <= _MOST_CHANNELS:
        return "HWC"
    if len(shape) == 3 and shape[0] <= _MOST_CHANNELS:
        return "CHW"
    expected = "images of height x width, with channels or stacked frames first or last"
    raise ConfigError("gym.id", f"bytes of {shape}", expected)


def image_shape(config: GymConfig, space: Box) -> tuple[int, int, int]:
    """Channels, height and width of what `pack_images` makes.

    Raises:
        ConfigError: they are too small for the convolutions, or a single entry is asked for.
    """
    layout = _layout(space)
    assert layout is not None
    sizes = dict(zip(layout, space.shape, strict=True))
    height, width, channels = sizes["H"], sizes["W"], sizes.get("C", 1)
    if config.image_size:
        height = width = config.image_size
    if config.observe:
        raise ConfigError("gym.observe", config.observe, "[] for an environment with images")
    if min(height, width) < SMALLEST_EDGE:
        expected = f"at least {SMALLEST_EDGE} pixels for the convolutions"
        raise ConfigError("gym.image_size", min(height, width), expected)
    return 1 if config.grayscale and channels == 3 else channels, height, width


def pack_images(config: GymConfig, space: Box, observed: np.ndarray) -> torch.Tensor:
    """N images of `space` as bytes [N, channels, height, width], shrunk and in gray if asked."""
    images = torch.as_tensor(observed)
    layout = _layout(space)
    if layout == "HW":
        images = images.unsqueeze(1)
    elif layout == "HWC":
        images = images.permute(0, 3, 1, 2)
    size = (config.image_size, config.image_size)
    shrink = config.image_size and images.shape[2:] != size
    gray = config.grayscale and images.shape[1] == 3
    if not (shrink or gray):
        return images.contiguous()
    values = images.float()
    if gray:
        weights = torch.tensor(_LUMINANCE).view(1, 3, 1, 1)
        values = (values * weights).sum(1, keepdim=True)
    if shrink:
        values = torch.nn.functional.interpolate(values, size=size, mode="area")
    return values.round().to(torch.uint8)

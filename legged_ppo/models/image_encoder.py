"""Image encoder: the convolutional network of Mnih et al. (Nature, 2015)."""

from __future__ import annotations

import torch
from torch import nn

from legged_ppo.models.linear import Linear

_KERNELS_AND_STRIDES = ((8, 4), (4, 2), (3, 1))
SMALLEST_EDGE = 36
"""Smallest height and width [pixels] for which the last convolution has an output."""


class ImageEncoder(nn.Module):
    """Three convolutions and a linear layer, a ReLU after each, orthogonal weights.

    Args:
        shape: channels, height, width of the uint8 images.
        channels: output channels of the three convolutions.
        latent: number of features.
    """

    def __init__(self, shape: tuple[int, int, int], channels: list[int], latent: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = shape[0]
        for outputs, (kernel, stride) in zip(channels, _KERNELS_AND_STRIDES, strict=True):
            layers += [nn.Conv2d(inputs, outputs, kernel, stride), nn.ReLU()]
            inputs = outputs
        self.convolutions = nn.Sequential(*layers, nn.Flatten())
        with torch.no_grad():
            width = self.convolutions(torch.zeros(1, *shape)).shape[1]
        self.linear = nn.Sequential(Linear(width, latent), nn.ReLU())
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.orthogonal_(module.weight, gain=2**0.5)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 [T, N, channels, height, width] to [T, N, latent]."""
        scaled = images.flatten(0, 1).float() / 255.0
        features: torch.Tensor = self.linear(self.convolutions(scaled))
        return features.unflatten(0, images.shape[:2])

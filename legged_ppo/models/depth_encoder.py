"""Depth encoder: a convolutional network over a camera's frames, each of which is encoded once.

A camera is slower than the control, so the same frame is observed in several steps. A frame that equals the one
before it has the same latent, which is computed for the first of them alone.
"""

from __future__ import annotations

import torch
from torch import nn

from legged_ppo.errors import ConfigError
from legged_ppo.interface import Observations, SignedPermutation
from legged_ppo.models.activations import ACTIVATIONS
from legged_ppo.models.mlp import mlp
from legged_ppo.models.parameter_reflections import (
    INVARIANT,
    ParameterReflections,
    of_features,
)

DEPTH = "depth"
"""Name of the observation group."""
_KERNEL, _STRIDE = 3, 2


class DepthEncoder(nn.Module):
    """Convolutions of kernel 3 and stride 2, then an MLP; an activation after each layer, orthogonal weights.

    Args:
        shape: rows and columns of the images.
        channels: output channels of the convolutions, those without room for another left out.
        hidden: hidden layers of the MLP.
        latent: number of features.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        channels: list[int],
        hidden: list[int],
        latent: int,
        activation: str,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs, (rows, columns) = 1, shape
        for outputs in channels:
            if min(rows, columns) < _KERNEL:
                break
            convolution = nn.Conv2d(inputs, outputs, _KERNEL, _STRIDE)
            nn.init.orthogonal_(convolution.weight, gain=2**0.5)
            assert convolution.bias is not None
            nn.init.zeros_(convolution.bias)
            layers += [convolution, ACTIVATIONS[activation]()]
            inputs = outputs
            rows, columns = ((size - _KERNEL) // _STRIDE + 1 for size in (rows, columns))
        self._columns, self._features = shape[1], (rows, columns)
        self.convolutions = nn.Sequential(*layers, nn.Flatten())
        self.mlp = mlp(inputs * rows * columns, hidden, activation, latent)

    def forward(self, depth: torch.Tensor) -> torch.Tensor:
        """Latents [T, N, latent] of frames [T, N, rows, columns]; latents pass through (`FrameMemory`)."""
        if depth.dim() == 3:
            return depth
        # On a GPU the number of new frames would have to be waited for.
        if len(depth) == 1 or depth.device.type != "cpu":
            return self.encode(depth.flatten(0, 1)).unflatten(0, depth.shape[:2])
        return self._encode_once(depth)

    def encode(self, frames: torch.Tensor) -> torch.Tensor:
        """Latents [K, latent] of frames [K, rows, columns]."""
        features: torch.Tensor = self.mlp(self.convolutions(frames.unsqueeze(1)))
        return features

    def reflect(self, found: ParameterReflections) -> SignedPermutation:
        """Add the parameters to `found`; returns the reflection of the latent.

        Raises:
            ConfigError: the strides of a convolution do not end at the image's last column, so that a mirrored
                image has no mirrored features.
        """
        columns, reflection = self._columns, INVARIANT
        for layer in self.convolutions:
            if not isinstance(layer, nn.Conv2d):
                continue
            if (columns - _KERNEL) % _STRIDE:
                expected = (
                    "an odd number that stays odd under every halving by the convolutions, as 43 or "
                    "87 for two of them, or ppo.symmetry=none"
                )
                raise ConfigError("task.observations.depth.columns", self._columns, expected)
            columns = (columns - _KERNEL) // _STRIDE + 1
            reflection = found.convolution(layer, reflection)
        return found.mlp(self.mlp, of_features(reflection, *self._features))

    def _encode_once(self, frames: torch.Tensor) -> torch.Tensor:
        """Latents [T, N, latent] of frames [T, N, rows, columns], each computed where the frame is new."""
        new = torch.ones(frames.shape[:2], dtype=torch.bool)
        new[1:] = (frames[1:] != frames[:-1]).flatten(2).any(2)
        by_robot = new.t()  # [N, T]
        latents = self.encode(frames.transpose(0, 1)[by_robot])
        # Of each robot the first step is new, so that counting goes on from robot to robot.
        place = by_robot.flatten().cumsum(0) - 1
        found = latents.index_select(0, place)
        return found.unflatten(0, by_robot.shape).transpose(0, 1)


class FrameMemory:
    """The latest frame of each robot and its latent, while the encoder's weights are constant.

    Args:
        encoder: None where the policy has no camera; observations then pass through.
    """

    def __init__(self, encoder: DepthEncoder | None) -> None:
        self._encoder = encoder
        self._frames: torch.Tensor | None = None
        self._latents: torch.Tensor | None = None

    @torch.no_grad()
    def __call__(self, obs: Observations) -> Observations:
        """`obs` [N, ...] with the latents [N, latent] of the frames in their place; only frames that differ from
        the last ones are encoded."""
        if self._encoder is None or obs[DEPTH].device.type != "cpu":
            return obs
        frames = obs[DEPTH]
        if self._frames is None or self._latents is None or self._frames.shape != frames.shape:
            self._frames, self._latents = frames.clone(), self._encoder.encode(frames)
            return obs | {DEPTH: self._latents.clone()}
        new = (frames != self._frames).flatten(1).any(1)
        if bool(new.any()):
            self._frames[new] = frames[new]
            self._latents[new] = self._encoder.encode(frames[new]).to(self._latents.dtype)
        return obs | {DEPTH: self._latents.clone()}

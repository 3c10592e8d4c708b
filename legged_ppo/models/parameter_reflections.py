"""Reflections of the parameters of layers, from those of their inputs and outputs.

A layer from x to y commutes with the mirror where its weights equal P_y W P_x, with P the reflections of its
input and output. Hidden features, channels and the memory are reflected by exchanging their first half with the
second, which commutes with activations and with the gates of a GRU; an image also by reversing its columns.
"""

from __future__ import annotations

import torch
from torch import nn

from legged_ppo.errors import ConfigError
from legged_ppo.interface import SignedPermutation
from legged_ppo.models.gru import GRU
from legged_ppo.models.linear import Linear

INVARIANT = SignedPermutation.of_signs(1.0)
"""A number that the mirror does not change, such as a value."""


class ParameterReflections:
    """Parameters of a policy in the order of their layers, each with its reflection, entry by entry."""

    def __init__(self) -> None:
        self.parameters: list[torch.Tensor] = []
        self.reflections: list[SignedPermutation] = []
        """Of the flattened parameters."""
        self.blocks: list[int] = []
        """Number of rows of each weight matrix's blocks, which are initialised one by one."""
        self.layers: list[tuple[Linear | GRU, SignedPermutation, SignedPermutation]] = []
        """Those that can take features in even and odd parts, with the reflections of their inputs and
        outputs."""

    def linear(self, layer: Linear, inputs: SignedPermutation, outputs: SignedPermutation) -> None:
        """Add a layer between vectors with these reflections."""
        self.layers.append((layer, inputs, outputs))
        self._weight(layer.weight, inputs, outputs, layer.out_features)
        if layer.bias is not None:
            self.add(layer.bias, outputs)

    def mlp(self, layers: nn.Sequential, inputs: SignedPermutation) -> SignedPermutation:
        """Add the linear layers of `mlp`; returns the reflection of its output."""
        for layer in layers:
            if isinstance(layer, Linear):
                outputs = exchanged_halves(layer.out_features)
                self.linear(layer, inputs, outputs)
                inputs = outputs
        return inputs

    def gru(self, gru: GRU, inputs: SignedPermutation) -> SignedPermutation:
        """Add a GRU; returns the reflection of its state and output."""
        hidden = exchanged_halves(gru.hidden_size)
        self.layers.append((gru, inputs, hidden))
        gates = SignedPermutation.joined([hidden] * 3)
        for layer in range(gru.num_layers):
            weight_ih, weight_hh, bias_ih, bias_hh = gru.parameters_of(layer)
            self._weight(weight_ih, inputs, gates, gru.hidden_size)
            self._weight(weight_hh, hidden, gates, gru.hidden_size)
            self.add(bias_ih, gates)
            self.add(bias_hh, gates)
            inputs = hidden
        return hidden

    def convolution(self, layer: nn.Conv2d, inputs: SignedPermutation) -> SignedPermutation:
        """Add a convolution over images with this reflection of their channels; returns that of its channels."""
        outputs = exchanged_halves(layer.out_channels)
        rows, columns = layer.kernel_size
        kernel = reversed_columns(rows, columns)
        self._weight(layer.weight, _of_pairs(inputs, kernel), outputs, layer.out_channels)
        if layer.bias is not None:
            self.add(layer.bias, outputs)
        return outputs

    def add(self, vector: torch.Tensor, reflection: SignedPermutation) -> None:
        """Add a bias or another vector."""
        self.parameters.append(vector)
        self.reflections.append(reflection)
        self.blocks.append(len(vector))

    def _weight(
        self,
        weight: torch.Tensor,
        inputs: SignedPermutation,
        outputs: SignedPermutation,
        block: int,
    ) -> None:
        self.parameters.append(weight)
        self.reflections.append(_of_pairs(outputs, inputs))
        self.blocks.append(block)


def _of_pairs(first: SignedPermutation, second: SignedPermutation) -> SignedPermutation:
    """The reflection of a flattened table [W of the first, W of the second]."""
    order = first.order[:, None] * len(second.order) + second.order
    return SignedPermutation(order.flatten(), (first.sign[:, None] * second.sign).flatten())


def reversed_columns(rows: int, columns: int) -> SignedPermutation:
    """The reflection of a flattened image [rows, columns]."""
    order = torch.arange(rows * columns).unflatten(0, (rows, columns)).flip(1).flatten()
    return SignedPermutation(order, torch.ones(rows * columns))


def of_features(channels: SignedPermutation, rows: int, columns: int) -> SignedPermutation:
    """The reflection of a flattened feature map [channels, rows, columns]."""
    return _of_pairs(channels, reversed_columns(rows, columns))


def exchanged_halves(width: int) -> SignedPermutation:
    """The reflection of hidden features.

    Raises:
        ConfigError: the width is odd.
    """
    if width % 2:
        expected = f"hidden layers of even width (one has {width})"
        raise ConfigError("ppo.symmetry", "equivariant", expected)
    return SignedPermutation(torch.arange(width).roll(width // 2), torch.ones(width))

"""Reflections of the parameters of layers, from those of their inputs and outputs.

A layer from x to y commutes with the mirror where its weights equal P_y W P_x, with P the reflections of its
input and output. Hidden features and the memory are reflected by exchanging their first half with the second,
which commutes with activations and with the gates of a GRU.
"""

from __future__ import annotations

import torch
from torch import nn

from legged_ppo.errors import ConfigError
from legged_ppo.interface import SignedPermutation
from legged_ppo.models.gru import GRU

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

    def linear(
        self, layer: nn.Linear, inputs: SignedPermutation, outputs: SignedPermutation
    ) -> None:
        """Add a layer between vectors with these reflections."""
        self._weight(layer.weight, inputs, outputs, layer.out_features)
        if layer.bias is not None:
            self.add(layer.bias, outputs)

    def mlp(self, layers: nn.Sequential, inputs: SignedPermutation) -> SignedPermutation:
        """Add the linear layers of `mlp`; returns the reflection of its output."""
        for layer in layers:
            if isinstance(layer, nn.Linear):
                outputs = exchanged_halves(layer.out_features)
                self.linear(layer, inputs, outputs)
                inputs = outputs
        return inputs

    def gru(self, gru: GRU, inputs: SignedPermutation) -> SignedPermutation:
        """Add a GRU; returns the reflection of its state and output."""
        hidden = exchanged_halves(gru.hidden_size)
        gates = SignedPermutation.joined([hidden] * 3)
        for layer in range(gru.num_layers):
            weight_ih, weight_hh, bias_ih, bias_hh = gru.parameters_of(layer)
            self._weight(weight_ih, inputs, gates, gru.hidden_size)
            self._weight(weight_hh, hidden, gates, gru.hidden_size)
            self.add(bias_ih, gates)
            self.add(bias_hh, gates)
            inputs = hidden
        return hidden

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
        order = outputs.order[:, None] * len(inputs.order) + inputs.order
        sign = outputs.sign[:, None] * inputs.sign
        self.parameters.append(weight)
        self.reflections.append(SignedPermutation(order.flatten(), sign.flatten()))
        self.blocks.append(block)


def exchanged_halves(width: int) -> SignedPermutation:
    """The reflection of hidden features.

    Raises:
        ConfigError: the width is odd.
    """
    if width % 2:
        expected = f"hidden layers of even width (one has {width})"
        raise ConfigError("ppo.symmetry", "equivariant", expected)
    return SignedPermutation(torch.arange(width).roll(width // 2), torch.ones(width))

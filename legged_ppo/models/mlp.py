"""Multi-layer perceptrons with the usual initialisation of on-policy learning."""

from __future__ import annotations

from torch import nn

from legged_ppo.models.activations import ACTIVATIONS
from legged_ppo.models.linear import Linear


def mlp(
    inputs: int, hidden: list[int], activation: str, outputs: int | None = None
) -> nn.Sequential:
    """Linear layers with orthogonal weights (gain sqrt 2), each followed by an activation.

    Args:
        inputs: width of the input.
        hidden: widths of the hidden layers.
        activation: elu, relu, tanh or silu.
        outputs: width of a last layer; None ends with the last hidden one.
    """
    layers: list[nn.Module] = []
    for width in [*hidden, *([outputs] if outputs is not None else [])]:
        layer = Linear(inputs, width)
        nn.init.orthogonal_(layer.weight, gain=2**0.5)
        nn.init.zeros_(layer.bias)
        layers += [layer, ACTIVATIONS[activation]()]
        inputs = width
    return nn.Sequential(*layers)

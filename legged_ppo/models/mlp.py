"""Multi-layer perceptrons, initialised the way on-policy learning likes it."""

from __future__ import annotations

from torch import nn

from legged_ppo.models.linear import Linear

_ACTIVATIONS = {"elu": nn.ELU, "relu": nn.ReLU, "tanh": nn.Tanh, "silu": nn.SiLU}


def mlp(
    inputs: int, hidden: list[int], activation: str, outputs: int | None = None
) -> nn.Sequential:
    """Linear layers with orthogonal weights (gain sqrt 2) and an activation after each."""
    layers: list[nn.Module] = []
    for width in [*hidden, *([outputs] if outputs is not None else [])]:
        layer = Linear(inputs, width)
        nn.init.orthogonal_(layer.weight, gain=2**0.5)
        nn.init.zeros_(layer.bias)
        layers += [layer, _ACTIVATIONS[activation]()]
        inputs = width
    return nn.Sequential(*layers)

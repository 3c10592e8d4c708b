"""Uniform draws from a generator that was passed in."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def uniform(
    bounds: Sequence[float], shape: tuple[int, ...], generator: torch.Generator
) -> torch.Tensor:
    """Draws between bounds[0] and bounds[1], `shape`, on the generator's device."""
    low, high = bounds
    unit = torch.rand(shape, generator=generator, device=generator.device)
    return low + (high - low) * unit

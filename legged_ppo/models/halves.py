"""Features in even and odd parts, in which a layer that commutes with the mirror is two layers of half the size.

Where the mirror exchanges x_i and s x_j, (x_i + s x_j) / 2 is even and (x_i - s x_j) / 2 odd; an entry that stays
is even, one that changes its sign alone is odd. The weights of an equivariant layer have no entries from even to
odd features or back, so its products take half the multiplications. What is not linear, an activation or a GRU's
gates, is applied to the sides that the parts are mixed to.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, overload

import torch

from legged_ppo.interface import SignedPermutation

_PARITIES = (1.0, -1.0)
"""Signs that the mirror gives to even and odd parts."""


class Halves(NamedTuple):
    """Features as their even parts, followed by the odd ones."""

    parts: torch.Tensor
    """[..., even + odd]"""
    even: int

    def by_sides(self, function: Callable[[torch.Tensor], torch.Tensor]) -> Halves:
        """A function of each entry of features whose halves the mirror exchanges."""
        even, odd = self.parts.chunk(2, -1)
        first, second = function(even + odd), function(even - odd)
        return Halves(torch.cat([first + second, first - second], -1) / 2, self.even)


Features = torch.Tensor | Halves
Inputs = Mapping[str, torch.Tensor] | Mapping[str, Features]
"""Groups of observations."""


class Columns(NamedTuple):
    """Where the features are whose sums or differences are multiplied by one parity's numbers of the parts: a
    table W [N, K] multiplies them by W[:, first] + sign * W[:, second]."""

    first: torch.Tensor
    second: torch.Tensor
    sign: torch.Tensor
    """0 where a feature is a part by itself"""


class Space:
    """Even and odd parts of vectors with a reflection."""

    def __init__(self, reflection: SignedPermutation) -> None:
        order, sign = reflection.order, reflection.sign
        entries = torch.arange(len(order))
        self.columns: list[Columns] = []
        """Of either parity, in the order of the entries: parts of vectors side by side are parts of their
        space."""
        for parity in _PARITIES:
            first = entries[(entries < order) | ((entries == order) & (sign == parity))]
            second = order[first]
            signs = parity * sign[second] * (first != second)
            self.columns.append(Columns(first, second, signs))
        self.even = len(self.columns[0].first)

    @functools.cached_property
    def _mixing(self) -> torch.Tensor:
        """[width, width], parts to features; made where it is used, because wide hidden layers never use it."""
        unit = torch.eye(sum(len(c.first) for c in self.columns))
        return torch.cat([unit[c.first] + c.sign[:, None] * unit[c.second] for c in self.columns])

    @functools.cached_property
    def _splitting(self) -> torch.Tensor:
        """[width, width], features to parts: the inverse, because the rows of the other are orthogonal."""
        return (self._mixing / self._mixing.square().sum(1, keepdim=True)).t().contiguous()

    def split(self, x: torch.Tensor) -> Halves:
        """Features [..., width] as parts."""
        return Halves(x @ self._splitting, self.even)

    def whole(self, halves: Halves) -> torch.Tensor:
        """Parts as features [..., width]."""
        return halves.parts @ self._mixing


@dataclass
class HalvedLinear:
    """A linear layer between parts; the tables are those of the present weights."""

    inputs: Space
    outputs: Space
    transposed: torch.Tensor | None = None
    """[K' N' + K'' N''], the transposed weights of the even parts and of the odd ones; gradients reach these"""
    weights: torch.Tensor | None = None
    """The same, not transposed, for the backward pass"""
    bias: torch.Tensor | None = None
    """[N' + N'']; those of the odd outputs are 0"""

    @property
    def shapes(self) -> tuple[int, int, int, int]:
        """K', N', K'' and N''."""
        sizes = [[len(c.first) for c in space.columns] for space in (self.inputs, self.outputs)]
        (even, odd), (even_out, odd_out) = sizes
        return even, even_out, odd, odd_out


@overload
def joined(parts: Sequence[torch.Tensor]) -> torch.Tensor: ...
@overload
def joined(parts: Sequence[Features]) -> Features: ...
def joined(parts: Sequence[Features]) -> Features:
    """Features side by side."""
    tensors = [part for part in parts if isinstance(part, torch.Tensor)]
    if len(tensors) == len(parts):
        return torch.cat(tensors, dim=-1)
    halves = [part for part in parts if isinstance(part, Halves)]
    assert len(halves) == len(parts)
    if len(halves) == 1:
        return halves[0]
    even = [part.parts[..., : part.even] for part in halves]
    odd = [part.parts[..., part.even :] for part in halves]
    return Halves(torch.cat([*even, *odd], dim=-1), sum(part.even for part in halves))

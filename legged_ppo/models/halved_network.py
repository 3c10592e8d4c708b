"""An equivariant policy as a network between even and odd parts (`models/halves.py`), with half the products.

The parameters stay those of the policy: weights between parts are read from them before an optimizer step, and
the gradients of these written back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from legged_ppo.interface import Observations, SignedPermutation, Symmetry
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.models.compiled_sums import CompiledSums
from legged_ppo.models.gru import GRU
from legged_ppo.models.halves import Columns, HalvedLinear, Halves, Space
from legged_ppo.models.linear import Linear
from legged_ppo.models.parameter_reflections import ParameterReflections
from legged_ppo.runtime.lanes.target import host

Layer = tuple[HalvedLinear, torch.Tensor, torch.Tensor]
"""A halved layer, the weight [N, K] and the bias [N] that it is made of."""


class HalvedNetwork:
    """Makes the layers of a policy take parts.

    A weight is the sum or the difference of two entries of a parameter or is one of them, and because
    parameters equal their reflections, each entry of a parameter's gradient is the same of two gradients. So
    both are one look into a table for all layers together.

    Args:
        groups: reflections of the observations that the policy reads.
        layers: all of the policy.
        reflections: of each layer's weight and bias, flattened.
    """

    def __init__(
        self,
        groups: Mapping[str, SignedPermutation],
        layers: Sequence[Layer],
        reflections: Sequence[SignedPermutation],
    ) -> None:
        self._spaces = {name: Space(reflection) for name, reflection in groups.items()}
        self._layers = [layer for layer, _, _ in layers]
        self.parameters = [p for _, weight, bias in layers for p in (weight, bias)]
        """Whose gradients `gradients` computes."""
        transposed, weights, start = [], [], 0
        for layer, weight, bias in layers:
            entries = torch.arange(start, start + weight.numel()).view(weight.shape)
            start += weight.numel()
            spaces = zip(layer.inputs.columns, layer.outputs.columns, strict=True)
            tables = [_table(entries, *columns) for columns in spaces]
            transposed.append(_Sums.joined([each.transposed() for each in tables]))
            transposed.append(_bias(start, layer))
            weights.append(_Sums.joined(tables))
            start += bias.numel()
        self._sizes = (
            [len(each.first) for each in transposed],
            [len(each.first) for each in weights],
        )
        self._learned = sum(self._sizes[0])
        together = _Sums.joined([*transposed, *weights])
        self._weights = CompiledSums(
            torch.stack([together.first, together.second]),
            torch.stack([torch.ones_like(together.sign), together.sign]),
        )
        joined = SignedPermutation.joined(reflections)
        self._gradients = _gradients_of(_Sums.joined(transposed), joined)
        self._leaf: torch.Tensor | None = None

    def inputs(self, obs: Observations) -> dict[str, Halves]:
        """What `ActorCritic.sequence` takes in place of normalised observations."""
        return {name: space.split(obs[name]) for name, space in self._spaces.items()}

    def refresh(self) -> None:
        """Let the layers compute with the present parameters, and their gradients be collected anew."""
        weights = self._weights(torch.cat([p.detach().flatten() for p in self.parameters]))
        leaf, plain = weights[: self._learned], weights[self._learned :]
        self._leaf = leaf.requires_grad_()
        owned = zip(leaf.split(self._sizes[0]), self.parameters, strict=True)
        pieces = [piece if p.requires_grad else piece.detach() for piece, p in owned]
        tables = zip(pieces[::2], pieces[1::2], plain.split(self._sizes[1]), strict=True)
        for layer, found in zip(self._layers, tables, strict=True):
            layer.transposed, layer.bias, layer.weights = found

    def gradients(self) -> bool:
        """Write the gradients since `refresh` to the parameters; False if there are none.

        They equal their reflections: they are those of the mean over a batch and its mirrored copy.
        """
        leaf = self._leaf
        self.release()
        if leaf is None or leaf.grad is None:
            return False
        pieces = self._gradients(leaf.grad).split([p.numel() for p in self.parameters])
        for parameter, piece in zip(self.parameters, pieces, strict=True):
            parameter.grad = piece.view_as(parameter) if parameter.requires_grad else None
        return True

    def release(self) -> None:
        """Let go of the tables: a policy with results of a graph cannot be copied."""
        self._leaf = None
        for layer in self._layers:
            layer.transposed = layer.bias = layer.weights = None


def halved_network(
    policy: ActorCritic, symmetry: Symmetry, found: ParameterReflections
) -> HalvedNetwork | None:
    """The network of a policy on the CPU; None if half of a GRU's units do not fill registers, or if it reads
    images.

    Args:
        found: the reflections of the policy's parameters.
    """
    memories = (module for module, *_ in found.layers if isinstance(module, GRU))
    filled = all(gru.hidden_size % (2 * host().lanes) == 0 for gru in memories)
    if not filled or not all(isinstance(size, int) for size in policy.obs_dims.values()):
        return None
    reflections = {id(p): r for p, r in zip(found.parameters, found.reflections, strict=True)}
    layers: list[Layer] = []
    for module, *spaces in found.layers:
        inputs, outputs = (Space(each) for each in spaces)
        if isinstance(module, Linear):
            module.halved = HalvedLinear(inputs, outputs)
            layers.append((module.halved, module.weight, module.bias))
            continue
        gates = Space(SignedPermutation.joined([spaces[1]] * 3))
        module.halved = []
        for layer in range(module.num_layers):
            weight_ih, weight_hh, bias_ih, bias_hh = module.parameters_of(layer)
            pair = (
                HalvedLinear(inputs if layer == 0 else outputs, gates),
                HalvedLinear(outputs, gates),
            )
            module.halved.append(pair)
            layers += [(pair[0], weight_ih, bias_ih), (pair[1], weight_hh, bias_hh)]
    groups = {n: symmetry.observations[n] for n in policy.trunk.groups}
    own = [reflections[id(p)] for _, weight, bias in layers for p in (weight, bias)]
    return HalvedNetwork(groups, layers, own)


class _Sums(NamedTuple):
    """x[first] + sign * x[second]"""

    first: torch.Tensor
    second: torch.Tensor
    sign: torch.Tensor

    def transposed(self) -> _Sums:
        return _Sums(*(each.t() for each in self))

    @classmethod
    def joined(cls, parts: Sequence[_Sums]) -> _Sums:
        """All, flattened."""
        return cls(*(torch.cat([e.flatten() for e in each]) for each in zip(*parts, strict=True)))


def _table(entries: torch.Tensor, inputs: Columns, outputs: Columns) -> _Sums:
    """A weight between the parts of one parity, from the places of the weight's entries."""
    rows = entries[outputs.first]
    return _Sums(rows[:, inputs.first], rows[:, inputs.second], inputs.sign.expand(len(rows), -1))


def _bias(start: int, layer: HalvedLinear) -> _Sums:
    """The bias of the outputs' parts, 0 of the odd ones, from the place of its first entry."""
    even, odd = (columns.first + start for columns in layer.outputs.columns)
    places = torch.cat([even, odd])
    return _Sums(places, places, torch.cat([torch.zeros(len(even)), -torch.ones(len(odd))]))


def _gradients_of(sums: _Sums, reflection: SignedPermutation) -> CompiledSums:
    """The gradients of the entries that sums are made of, from those of the sums: averaged with the reflections
    they are made of two at most."""
    count, entries = len(sums.first), len(reflection.order)
    own = torch.arange(count)
    entry, of = torch.cat([sums.first, sums.second]), torch.cat([own, own])
    factor = torch.cat([torch.ones(count), sums.sign]) / 2
    mirrored = reflection.order[entry]
    pairs = torch.cat([entry, mirrored]) * count + torch.cat([of, of])
    pairs, where = pairs.unique(return_inverse=True)  # sorted by the entry
    factor = torch.cat([factor, factor * reflection.sign[mirrored]])
    factors = torch.zeros(len(pairs)).index_add_(0, where, factor)
    pairs, factors = pairs[factors != 0], factors[factors != 0]
    entry, of = pairs // count, pairs % count
    rank = torch.arange(len(entry)) - torch.searchsorted(entry, entry)
    chosen, weights = torch.zeros(2, entries, dtype=torch.int64), torch.zeros(2, entries)
    chosen[rank, entry], weights[rank, entry] = of, factors
    return CompiledSums(chosen, weights)

"""Policies that commute with the mirror: the mirrored robot does the mirrored action."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from legged_ppo.errors import ConfigError
from legged_ppo.interface import Observations, SignedPermutation, Symmetry
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.models.gru import GRU
from legged_ppo.models.halves import Halves
from legged_ppo.runtime.lanes.use import compiles_for

if TYPE_CHECKING:
    from legged_ppo.models.halved_network import HalvedNetwork

_NEGLIGIBLE = 1e-4
"""Singular values below this share of the largest belong to directions that the symmetry excludes."""


class Equivariance:
    """Keeps a policy's parameters equal to their reflections.

    They stay equal under optimizer steps whose gradients are averaged with their reflections. Such a gradient
    is that of a batch together with its mirrored copy, at the cost of the batch alone.

    Raises:
        ConfigError: the policy has parts that have no reflection: images, choices, hidden layers of odd width.
    """

    def __init__(self, policy: ActorCritic, symmetry: Symmetry) -> None:
        found = policy.reflections(symmetry)
        covered = {id(p) for p in found.parameters}
        missing = [name for name, p in policy.named_parameters() if id(p) not in covered]
        if missing:
            raise ConfigError("ppo.symmetry", "equivariant", f"a policy without {missing[0]}")
        device = symmetry.actions.sign.device
        self._parameters, self._blocks = found.parameters, found.blocks
        self._reflection = SignedPermutation.joined(found.reflections).to(device)
        self._memories = [layer for layer, *_ in found.layers if isinstance(layer, GRU)]
        self._halved: HalvedNetwork | None = None
        if device.type == "cpu":
            # Here, because other devices need no LLVM.
            from legged_ppo.models.halved_network import halved_network

            self._halved = halved_network(policy, symmetry, found)
        own = set() if self._halved is None else {id(p) for p in self._halved.parameters}
        pairs = zip(found.parameters, found.reflections, strict=True)
        self._others = [(p, reflection) for p, reflection in pairs if id(p) not in own]
        """Parameters whose gradients are not computed in parts, such as a standard deviation's."""
        if policy.normalizer is not None:
            columns = [symmetry.observations[name] for name in policy.columns]
            policy.normalizer.reflection = SignedPermutation.joined(columns).to(device)

    def inputs(self, obs: Observations) -> dict[str, Halves] | None:
        """The even and odd parts of normalised observations, which `ActorCritic.sequence` takes in their place
        within a step, with half the products; None where no compiled code multiplies them, as where autocast
        chooses another precision than float32."""
        if self._halved is None or torch.is_autocast_enabled("cpu"):
            return None
        return self._halved.inputs(obs) if compiles_for(next(iter(obs.values()))) else None

    def begin_step(self) -> None:
        """Call before the forward passes of an optimizer step with `inputs`, and `project_gradients` after the
        backward passes."""
        if self._halved is not None:
            self._halved.refresh()

    def abandon_step(self) -> None:
        """End a step without gradients, such as one that failed."""
        if self._halved is not None:
            self._halved.release()

    @torch.no_grad()
    def initialize(self) -> None:
        """Replace new weights by equivariant ones of the same norm, each block with equal singular values as an
        orthogonal matrix has, and project the other parameters."""
        weights = zip(self._parameters, self._blocks, strict=True)
        matrices = ((w.flatten(1), rows) for w, rows in weights if w.dim() > 1)
        blocks = [block for matrix, rows in matrices for block in matrix.split(rows)]
        norms = [block.norm() for block in blocks]
        self.project()
        for block, norm in zip(blocks, norms, strict=True):
            block.copy_(_levelled(block) * norm)
        self.project()  # removes rounding errors

    @torch.no_grad()
    def project(self) -> None:
        """Replace the parameters by the closest equivariant ones."""
        _average([p.data for p in self._parameters], self._reflection)
        for memory in self._memories:
            memory.commutes = True

    @torch.no_grad()
    def project_gradients(self) -> None:
        """Average every gradient with its reflection, in place; parameters without one stay without."""
        if self._halved is not None and self._halved.gradients():
            # Those of its layers are averaged already.
            for parameter, reflection in self._others:
                if parameter.grad is not None:
                    _average([parameter.grad], reflection)
            return
        pairs = ((p, p.grad) for p in self._parameters)
        gradients = [torch.zeros_like(p) if grad is None else grad for p, grad in pairs]
        _average(gradients, self._reflection)


def _average(tensors: list[torch.Tensor], reflection: SignedPermutation) -> None:
    """Replace tensors by their means with their reflections, in place."""
    sizes = [t.numel() for t in tensors]
    flat = torch.cat([t.flatten() for t in tensors])
    parts = (flat + reflection(flat)).mul_(0.5).split(sizes)
    torch._foreach_copy_(tensors, [p.view_as(t) for p, t in zip(parts, tensors, strict=True)])


def _levelled(weight: torch.Tensor) -> torch.Tensor:
    """`weight` [M, K] with its singular values made equal, norm 1."""
    u, values, vh = torch.linalg.svd(weight, full_matrices=False)
    kept = values > _NEGLIGIBLE * values[0]
    level = u[:, kept] @ vh[kept]
    return level / level.norm()

"""Recurrent networks that compute the features of the action and value heads from observations.

A trunk is a pure function of observations, state and episode starts; its state is [layers, N, hidden].
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import nn

from legged_ppo.config.schema import PolicyConfig
from legged_ppo.errors import ConfigError
from legged_ppo.interface import Observations, SignedPermutation
from legged_ppo.models.gru import GRU
from legged_ppo.models.image_encoder import ImageEncoder
from legged_ppo.models.mlp import mlp
from legged_ppo.models.parameter_reflections import ParameterReflections

ObsDims = Mapping[str, int | tuple[int, ...]]

PRIVILEGED, EXTRINSICS, SCANDOTS, IMAGE = "privileged", "extrinsics", "scandots", "image"
DEPTH = "depth"
"""The depth camera's images, which no policy of Phase 1 reads."""


class Trunk(Protocol):
    """Features of actor and critic from observations."""

    groups: list[str]
    """Observation groups that it reads."""
    state_layers: int
    actor_layers: int
    """Number of the state's layers, from the first on, that the actor reads and writes."""
    actor_width: int
    critic_width: int

    def __call__(
        self, obs: Observations, state: torch.Tensor, starts: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Features of actor and critic [T, N, width], and the state after the last step.

        Args:
            obs: normalised groups, [T, N, width] each.
            state: [layers, N, hidden] before the first step.
            starts: [T, N] bool.
        """
        ...

    def act(
        self, obs: Observations, state: torch.Tensor, starts: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The actor's features and its layers of the state alone; `obs` may lack the critic's groups."""
        ...

    def reflect(
        self, found: ParameterReflections, groups: Mapping[str, SignedPermutation]
    ) -> tuple[SignedPermutation, SignedPermutation]:
        """Add the parameters to `found`; returns the reflections of the actor's and the critic's features, from
        those of the observation groups."""
        ...


class MonolithicTrunk(nn.Module):
    """One GRU over all observations of the actor; scandots and images pass through encoders first.

    With `critic_memory="own"` the second half of the state's layers is a second GRU's, for the critic;
    with `gru_layers=0` the policy has no memory and the state no layers.
    """

    def __init__(self, obs_dims: ObsDims, config: PolicyConfig) -> None:
        super().__init__()
        self.config = config
        self._direct = _direct_groups(obs_dims)
        self._critic_groups = [PRIVILEGED] if config.critic_privileged else []
        inputs = _total_width(obs_dims, self._direct)
        self.scandots_encoder: nn.Sequential | None = None
        encoded = [SCANDOTS] if SCANDOTS in obs_dims and config.scandots_latent > 0 else []
        if encoded:
            self.scandots_encoder = mlp(
                _total_width(obs_dims, encoded),
                config.scandots_hidden,
                config.activation,
                config.scandots_latent,
            )
            inputs += config.scandots_latent
        self.image_encoder: nn.Module | None = None
        if shape := image_shape(obs_dims):
            self.image_encoder = ImageEncoder(shape, config.image_channels, config.image_latent)
            inputs += config.image_latent
            encoded = [*encoded, IMAGE]
        self.groups = self._direct + encoded + self._critic_groups
        hidden, layers = config.gru_hidden, config.gru_layers
        own = config.critic_memory == "own"
        self.gru = GRU(inputs, hidden, layers) if layers else None
        self.critic_gru = GRU(inputs, hidden, layers) if layers and own else None
        self.actor_layers, self.state_layers = layers, layers * (2 if own else 1)
        width = hidden if layers else inputs
        self.actor_width = width + (inputs if config.actor_skip else 0)
        self.critic_width = inputs if config.critic_memory == "none" else width
        self.critic_width += _total_width(obs_dims, self._critic_groups)

    def forward(
        self, obs: Observations, state: torch.Tensor, starts: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """See `Trunk`."""
        inputs = self._inputs(obs)
        memory, after = self._actor_memory(inputs, state, starts)
        critic_memory = inputs if self.config.critic_memory == "none" else memory
        if self.critic_gru is not None:
            critic_memory, critic_after = self.critic_gru(
                inputs, state[self.actor_layers :], starts
            )
            after = torch.cat([after, critic_after])
        critic_parts = [critic_memory, *(obs[name] for name in self._critic_groups)]
        return self._features(memory, inputs), torch.cat(critic_parts, dim=-1), after

    def act(
        self, obs: Observations, state: torch.Tensor, starts: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Trunk`."""
        inputs = self._inputs(obs)
        memory, after = self._actor_memory(inputs, state, starts)
        return self._features(memory, inputs), after

    def reflect(
        self, found: ParameterReflections, groups: Mapping[str, SignedPermutation]
    ) -> tuple[SignedPermutation, SignedPermutation]:
        """See `Trunk`."""
        parts = [groups[name] for name in self._direct]
        if self.scandots_encoder is not None:
            parts.append(found.mlp(self.scandots_encoder, groups[SCANDOTS]))
        inputs = SignedPermutation.joined(parts)
        memory = found.gru(self.gru, inputs) if self.gru else inputs
        critic_memory = inputs if self.config.critic_memory == "none" else memory
        if self.critic_gru is not None:
            critic_memory = found.gru(self.critic_gru, inputs)
        critic = SignedPermutation.joined(
            [critic_memory, *(groups[name] for name in self._critic_groups)]
        )
        actor = SignedPermutation.joined([memory, inputs]) if self.config.actor_skip else memory
        return actor, critic

    def _inputs(self, obs: Observations) -> torch.Tensor:
        """[T, N, width] of every group that the actor reads, scandots and images encoded."""
        parts = [obs[name] for name in self._direct]
        if self.scandots_encoder is not None:
            parts.append(self.scandots_encoder(obs[SCANDOTS]))
        if self.image_encoder is not None:
            parts.append(self.image_encoder(obs[IMAGE]))
        return torch.cat(parts, dim=-1)

    def _actor_memory(
        self, inputs: torch.Tensor, state: torch.Tensor, starts: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The actor's GRU; without layers the inputs pass through."""
        if self.gru is None:
            return inputs, state
        return self.gru(inputs, state[: self.actor_layers], starts)

    def _features(self, memory: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        return torch.cat([memory, inputs], dim=-1) if self.config.actor_skip else memory


class RMATrunk(nn.Module):
    """The RMA architecture of Agarwal et al. (2022): a GRU over the scandots only, an encoder
    of the physical parameters of the robot (extrinsics), and a feed-forward base policy on both."""

    def __init__(self, obs_dims: ObsDims, config: PolicyConfig) -> None:
        super().__init__()
        self._direct = _direct_groups(obs_dims)
        self._critic_groups = [PRIVILEGED] if config.critic_privileged else []
        self.groups = [*self._direct, SCANDOTS, EXTRINSICS, *self._critic_groups]
        self.gru = GRU(_total_width(obs_dims, [SCANDOTS]), config.gru_hidden, config.gru_layers)
        self.terrain_latent = mlp(
            config.gru_hidden, [], config.activation, outputs=config.scandots_latent
        )
        self.extrinsics_encoder = mlp(
            _total_width(obs_dims, [EXTRINSICS]),
            config.extrinsics_hidden,
            config.activation,
            outputs=config.extrinsics_latent,
        )
        self.actor_layers = self.state_layers = config.gru_layers
        self.actor_width = _total_width(obs_dims, self._direct)
        self.actor_width += config.scandots_latent + config.extrinsics_latent
        self.critic_width = self.actor_width + _total_width(obs_dims, self._critic_groups)

    def forward(
        self, obs: Observations, state: torch.Tensor, starts: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """See `Trunk`."""
        features, after = self.act(obs, state, starts)
        critic = torch.cat([features, *(obs[name] for name in self._critic_groups)], dim=-1)
        return features, critic, after

    def act(
        self, obs: Observations, state: torch.Tensor, starts: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Trunk`."""
        memory, after = self.gru(obs[SCANDOTS], state, starts)
        latents = [self.terrain_latent(memory), self.extrinsics_encoder(obs[EXTRINSICS])]
        return torch.cat([*(obs[name] for name in self._direct), *latents], dim=-1), after

    def reflect(
        self, found: ParameterReflections, groups: Mapping[str, SignedPermutation]
    ) -> tuple[SignedPermutation, SignedPermutation]:
        """See `Trunk`."""
        terrain = found.mlp(self.terrain_latent, found.gru(self.gru, groups[SCANDOTS]))
        extrinsics = found.mlp(self.extrinsics_encoder, groups[EXTRINSICS])
        direct = [groups[name] for name in self._direct]
        actor = SignedPermutation.joined([*direct, terrain, extrinsics])
        critic = [groups[name] for name in self._critic_groups]
        return actor, SignedPermutation.joined([actor, *critic])


def make_trunk(obs_dims: ObsDims, config: PolicyConfig) -> MonolithicTrunk | RMATrunk:
    """The trunk that `config.architecture` names.

    Raises:
        ConfigError: the environment lacks an observation group that the trunk requires.
    """
    needs = {"policy.critic_privileged": [PRIVILEGED] if config.critic_privileged else []}
    if config.architecture == "rma":
        needs["policy.architecture"] = [SCANDOTS, EXTRINSICS]
    for key, groups in needs.items():
        for group in groups:
            if group not in obs_dims:
                value = getattr(config, key.removeprefix("policy."))
                raise ConfigError(key, value, f"an environment with {group} observations")
    return (RMATrunk if config.architecture == "rma" else MonolithicTrunk)(obs_dims, config)


def image_shape(obs_dims: ObsDims) -> tuple[int, int, int] | None:
    """Channels, height and width of the image observations; None without images."""
    shape = obs_dims.get(IMAGE)
    if shape is None:
        return None
    assert not isinstance(shape, int)
    channels, height, width = shape
    return channels, height, width


def _direct_groups(obs_dims: ObsDims) -> list[str]:
    """Observation groups that enter the GRU without an encoder."""
    encoded = (PRIVILEGED, EXTRINSICS, SCANDOTS, IMAGE, DEPTH)
    return [name for name in obs_dims if name not in encoded]


def _total_width(obs_dims: ObsDims, groups: list[str]) -> int:
    widths = [obs_dims[name] for name in groups]
    return sum(width for width in widths if isinstance(width, int))

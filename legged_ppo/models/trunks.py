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
from legged_ppo.interface import SignedPermutation
from legged_ppo.models.depth_encoder import DEPTH, DepthEncoder
from legged_ppo.models.gru import GRU
from legged_ppo.models.halves import Features, Inputs, joined
from legged_ppo.models.image_encoder import ImageEncoder
from legged_ppo.models.mlp import mlp
from legged_ppo.models.parameter_reflections import ParameterReflections

ObsDims = Mapping[str, int | tuple[int, ...]]

PRIVILEGED, EXTRINSICS, SCANDOTS, IMAGE = "privileged", "extrinsics", "scandots", "image"


class Trunk(Protocol):
    """Features of actor and critic from observations."""

    groups: list[str]
    """Observation groups that it reads."""
    state_layers: int
    actor_layers: int
    """Number of the state's layers, from the first on, that the actor reads and writes."""
    actor_width: int
    critic_width: int
    depth_encoder: DepthEncoder | None
    critic_parts: list[nn.Module]
    """Modules that only the critic reads."""

    def __call__(
        self, obs: Inputs, state: torch.Tensor, starts: torch.Tensor
    ) -> tuple[Features, Features, torch.Tensor]:
        """Features of actor and critic [T, N, width], and the state after the last step.

        Args:
            obs: normalised groups, [T, N, width] each, or their even and odd parts.
            state: [layers, N, hidden] before the first step.
            starts: [T, N] bool.
        """
        ...

    def act(
        self, obs: Inputs, state: torch.Tensor, starts: torch.Tensor
    ) -> tuple[Features, torch.Tensor]:
        """The actor's features and its layers of the state alone; `obs` may lack the critic's groups."""
        ...

    def reflect(
        self, found: ParameterReflections, groups: Mapping[str, SignedPermutation]
    ) -> tuple[SignedPermutation, SignedPermutation]:
        """Add the parameters to `found`; returns the reflections of the actor's and the critic's features, from
        those of the observation groups."""
        ...


class MonolithicTrunk(nn.Module):
    """One GRU over all observations of the actor; scandots, depth and images pass through encoders first.

    A camera takes the place of the scandots, which a robot does not have: the actor's latent is that of the
    depth image. A critic that does not share the actor's memory goes on reading the scandots.

    With `critic_memory="own"` the second half of the state's layers is a second GRU's, for the critic;
    with `gru_layers=0` the policy has no memory and the state no layers.
    """

    def __init__(self, obs_dims: ObsDims, config: PolicyConfig) -> None:
        super().__init__()
        self.config = config
        self._direct = _direct_groups(obs_dims)
        self._critic_groups = [PRIVILEGED] if config.critic_privileged else []
        inputs = _total_width(obs_dims, self._direct)
        sighted = config.scandots_latent > 0
        self.depth_encoder = make_depth_encoder(obs_dims, config) if sighted else None
        self.scandots_encoder: nn.Sequential | None = None
        scanned = self.depth_encoder is None or config.critic_memory != "shared"
        encoded = [SCANDOTS] if SCANDOTS in obs_dims and sighted and scanned else []
        if encoded:
            self.scandots_encoder = mlp(
                _total_width(obs_dims, encoded),
                config.scandots_hidden,
                config.activation,
                config.scandots_latent,
            )
        if self.depth_encoder is not None:
            encoded = [*encoded, DEPTH]
        if encoded:
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
        parts = [self.critic_gru, self.scandots_encoder if self.depth_encoder else None]
        self.critic_parts = [part for part in parts if part is not None]

    def forward(
        self, obs: Inputs, state: torch.Tensor, starts: torch.Tensor
    ) -> tuple[Features, Features, torch.Tensor]:
        """See `Trunk`."""
        inputs = self._inputs(obs, self._terrain_latent(obs))
        memory, after = self._actor_memory(inputs, state, starts)
        seen = inputs
        if self.depth_encoder is not None and self.scandots_encoder is not None:
            seen = self._inputs(obs, self.scandots_encoder(obs[SCANDOTS]))
        critic_memory = seen if self.config.critic_memory == "none" else memory
        if self.critic_gru is not None:
            critic_memory, critic_after = self.critic_gru(seen, state[self.actor_layers :], starts)
            after = torch.cat([after, critic_after])
        critic_parts = [critic_memory, *(obs[name] for name in self._critic_groups)]
        return self._features(memory, inputs), joined(critic_parts), after

    def act(
        self, obs: Inputs, state: torch.Tensor, starts: torch.Tensor
    ) -> tuple[Features, torch.Tensor]:
        """See `Trunk`."""
        inputs = self._inputs(obs, self._terrain_latent(obs))
        memory, after = self._actor_memory(inputs, state, starts)
        return self._features(memory, inputs), after

    def reflect(
        self, found: ParameterReflections, groups: Mapping[str, SignedPermutation]
    ) -> tuple[SignedPermutation, SignedPermutation]:
        """See `Trunk`."""
        parts, latents = [groups[name] for name in self._direct], []
        if self.depth_encoder is not None:
            latents.append(self.depth_encoder.reflect(found))
        if self.scandots_encoder is not None:
            latents.append(found.mlp(self.scandots_encoder, groups[SCANDOTS]))
        # The actor's latent and that of a critic that reads another sense have the same reflection.
        parts += latents[:1]
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

    def _terrain_latent(self, obs: Inputs) -> Features | None:
        """[T, N, scandots_latent], what the actor knows of the ground; None of a blind one."""
        if self.depth_encoder is not None:
            return self.depth_encoder(obs[DEPTH])
        return None if self.scandots_encoder is None else self.scandots_encoder(obs[SCANDOTS])

    def _inputs(self, obs: Inputs, terrain: Features | None) -> Features:
        """[T, N, width] of every group that the actor reads, with the latents of ground and images."""
        parts = [obs[name] for name in self._direct]
        if terrain is not None:
            parts.append(terrain)
        if self.image_encoder is not None:
            parts.append(self.image_encoder(obs[IMAGE]))
        return joined(parts)

    def _actor_memory(
        self, inputs: Features, state: torch.Tensor, starts: torch.Tensor
    ) -> tuple[Features, torch.Tensor]:
        """The actor's GRU; without layers the inputs pass through."""
        if self.gru is None:
            return inputs, state
        return self.gru(inputs, state[: self.actor_layers], starts)

    def _features(self, memory: Features, inputs: Features) -> Features:
        return joined([memory, inputs]) if self.config.actor_skip else memory


class RMATrunk(nn.Module):
    """The RMA architecture of Agarwal et al. (2022): a GRU over the scandots only, an encoder
    of the physical parameters of the robot (extrinsics), and a feed-forward base policy on both.

    Their Phase 2 replaces what a robot does not know: with a camera the GRU reads the depth latent and the
    direct observations, and with `adaptation` a second GRU, over the direct observations, estimates the latent
    of the physical parameters. Its layers follow those of the first in the state.
    """

    critic_parts: list[nn.Module]

    def __init__(self, obs_dims: ObsDims, config: PolicyConfig) -> None:
        super().__init__()
        self._direct = _direct_groups(obs_dims)
        self._critic_groups = [PRIVILEGED] if config.critic_privileged else []
        direct = _total_width(obs_dims, self._direct)
        self.depth_encoder = make_depth_encoder(obs_dims, config)
        sight = SCANDOTS if self.depth_encoder is None else DEPTH
        known = [] if config.adaptation else [EXTRINSICS]
        self.groups = [*self._direct, sight, *known, *self._critic_groups]
        hidden, layers = config.gru_hidden, config.gru_layers
        self.gru = self.depth_gru = None
        if self.depth_encoder is None:
            self.gru = GRU(_total_width(obs_dims, [SCANDOTS]), hidden, layers)
        else:
            self.depth_gru = GRU(config.scandots_latent + direct, hidden, layers)
        self.terrain_latent = mlp(hidden, [], config.activation, outputs=config.scandots_latent)
        self.extrinsics_encoder = self.adaptation_gru = self.adaptation_latent = None
        latent = config.extrinsics_latent
        if config.adaptation:
            self.adaptation_gru = GRU(direct, hidden, layers)
            self.adaptation_latent = mlp(hidden, [], config.activation, outputs=latent)
        else:
            self.extrinsics_encoder = mlp(
                _total_width(obs_dims, [EXTRINSICS]),
                config.extrinsics_hidden,
                config.activation,
                outputs=latent,
            )
        self._layers = layers
        self.actor_layers = self.state_layers = layers * (2 if config.adaptation else 1)
        self.actor_width = direct + config.scandots_latent + latent
        self.critic_width = self.actor_width + _total_width(obs_dims, self._critic_groups)
        self.critic_parts = []

    def forward(
        self, obs: Inputs, state: torch.Tensor, starts: torch.Tensor
    ) -> tuple[Features, Features, torch.Tensor]:
        """See `Trunk`."""
        features, after = self.act(obs, state, starts)
        critic = joined([features, *(obs[name] for name in self._critic_groups)])
        return features, critic, after

    def act(
        self, obs: Inputs, state: torch.Tensor, starts: torch.Tensor
    ) -> tuple[Features, torch.Tensor]:
        """See `Trunk`."""
        direct = [obs[name] for name in self._direct]
        if self.depth_encoder is not None and self.depth_gru is not None:
            seen = joined([self.depth_encoder(obs[DEPTH]), *direct])
            memory, after = self.depth_gru(seen, state[: self._layers], starts)
        else:
            assert self.gru is not None
            memory, after = self.gru(obs[SCANDOTS], state[: self._layers], starts)
        latents = [self.terrain_latent(memory)]
        if self.adaptation_gru is not None and self.adaptation_latent is not None:
            felt = joined(direct)
            memory, adapted = self.adaptation_gru(felt, state[self._layers :], starts)
            after = torch.cat([after, adapted])
            latents.append(self.adaptation_latent(memory))
        else:
            assert self.extrinsics_encoder is not None
            latents.append(self.extrinsics_encoder(obs[EXTRINSICS]))
        return joined([*direct, *latents]), after

    def reflect(
        self, found: ParameterReflections, groups: Mapping[str, SignedPermutation]
    ) -> tuple[SignedPermutation, SignedPermutation]:
        """See `Trunk`."""
        if self.gru is None or self.extrinsics_encoder is None:
            expected = "another use of symmetry for a policy with a camera or an adaptation module"
            raise ConfigError("ppo.symmetry", "equivariant", expected)
        direct = [groups[name] for name in self._direct]
        terrain = found.mlp(self.terrain_latent, found.gru(self.gru, groups[SCANDOTS]))
        extrinsics = found.mlp(self.extrinsics_encoder, groups[EXTRINSICS])
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
        sight = DEPTH if DEPTH in obs_dims else SCANDOTS
        needs["policy.architecture"] = [sight] if config.adaptation else [sight, EXTRINSICS]
    for key, groups in needs.items():
        for group in groups:
            if group not in obs_dims:
                value = getattr(config, key.removeprefix("policy."))
                raise ConfigError(key, value, f"an environment with {group} observations")
    return (RMATrunk if config.architecture == "rma" else MonolithicTrunk)(obs_dims, config)


def make_depth_encoder(obs_dims: ObsDims, config: PolicyConfig) -> DepthEncoder | None:
    """The encoder of the environment's depth images; None without a camera."""
    if DEPTH not in obs_dims:
        return None
    shape = obs_dims[DEPTH]
    assert not isinstance(shape, int)
    rows, columns = shape[-2:]
    return DepthEncoder(
        (rows, columns),
        config.depth_channels,
        config.depth_hidden,
        config.scandots_latent,
        config.activation,
    )


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

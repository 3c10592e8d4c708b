"""The recurrent actor-critic: encoder, GRU, action head, value head.

A pure function of observations, state and episode starts; nothing recurrent is kept in the module.
`state` is [layers, N, hidden]; with `critic_memory="own"` the second half of the layers is the critic's.
"""

from __future__ import annotations

import torch
from torch import nn

from legged_ppo.config.schema import PolicyConfig
from legged_ppo.models.distributions import ActionDistribution, make_head
from legged_ppo.models.gru import GRU
from legged_ppo.models.normalization import RunningNormalizer

Observations = dict[str, torch.Tensor]

PRIVILEGED = "privileged"
SCANDOTS = "scandots"

_ACTIVATIONS = {"elu": nn.ELU, "relu": nn.ReLU, "tanh": nn.Tanh, "silu": nn.SiLU}


class ActorCritic(nn.Module):
    """Policy and value function.

    Args:
        obs_dims: width of each observation group; every group but `privileged` feeds the actor, and
            `scandots` passes through its encoder first (it is left out when `scandots_latent` is 0).
        num_actions: A.
    """

    def __init__(self, obs_dims: dict[str, int], num_actions: int, config: PolicyConfig) -> None:
        super().__init__()
        self.config, self.num_actions = config, num_actions
        self.actor_groups = [
            name
            for name in obs_dims
            if name != PRIVILEGED and (name != SCANDOTS or config.scandots_latent > 0)
        ]
        self.critic_groups = [PRIVILEGED] if config.critic_privileged else []
        groups = self.actor_groups + self.critic_groups
        self._widths = {name: obs_dims[name] for name in groups}
        self.normalizer = (
            RunningNormalizer(sum(self._widths.values())) if config.normalize_observations else None
        )
        inputs = sum(obs_dims[name] for name in self.actor_groups if name != SCANDOTS)
        self.scandots_encoder: nn.Module | None = None
        if SCANDOTS in self.actor_groups:
            self.scandots_encoder = mlp(
                obs_dims[SCANDOTS],
                config.scandots_hidden,
                config.activation,
                config.scandots_latent,
            )
            inputs += config.scandots_latent
        hidden = config.gru_hidden
        self.gru = GRU(inputs, hidden, config.gru_layers)
        width = hidden + (inputs if config.actor_skip else 0)
        self.actor = mlp(width, config.actor_hidden, config.activation)
        self.head = make_head(_width(config.actor_hidden, width), num_actions, config)
        self.critic_gru = (
            GRU(inputs, hidden, config.gru_layers) if config.critic_memory == "own" else None
        )
        width = inputs if config.critic_memory == "none" else hidden
        width += sum(obs_dims[name] for name in self.critic_groups)
        self.critic = mlp(width, config.critic_hidden, config.activation)
        self.value = nn.Linear(_width(config.critic_hidden, width), 1)
        nn.init.orthogonal_(self.value.weight, gain=1.0)
        nn.init.zeros_(self.value.bias)

    @property
    def state_layers(self) -> int:
        """First dimension of the recurrent state."""
        return self.config.gru_layers * (2 if self.critic_gru is not None else 1)

    def initial_state(self, num_envs: int, device: torch.device) -> torch.Tensor:
        """The state before an episode, [layers, N, hidden] of zeros."""
        return torch.zeros(self.state_layers, num_envs, self.config.gru_hidden, device=device)

    def normalize(self, obs: Observations, observe: bool = False) -> Observations:
        """The groups this policy reads, [..., width], normalised with the committed statistics.

        Args:
            observe: also collect these observations [N, width] for the next statistics.
        """
        groups = {name: obs[name] for name in self._widths}
        if self.normalizer is None:
            return groups
        joined = torch.cat(list(groups.values()), dim=-1)
        if observe:
            self.normalizer.observe(joined)
        parts = self.normalizer(joined).split(list(self._widths.values()), dim=-1)
        return dict(zip(groups, parts, strict=True))

    def commit_statistics(self) -> None:
        """Let what was collected take effect; call between an update and the next rollout."""
        if self.normalizer is not None:
            self.normalizer.commit()

    def step(
        self, obs: Observations, state: torch.Tensor, starts: torch.Tensor
    ) -> tuple[ActionDistribution, torch.Tensor, torch.Tensor]:
        """One step of N environments.

        Args:
            obs: normalised groups, [N, width] each.
            state: [layers, N, hidden] after the step before.
            starts: [N] bool, the observation is the first of an episode.

        Returns:
            distribution over [N, A], value [N], state after this step.
        """
        sequence = {name: group.unsqueeze(0) for name, group in obs.items()}
        features, critic_features, after = self._features(sequence, state, starts.unsqueeze(0))
        distribution = self.head(self.actor(features[0]))
        value = self.value(self.critic(critic_features[0])).squeeze(-1).float()
        return distribution, value, after

    def sequence(
        self, obs: Observations, state: torch.Tensor, starts: torch.Tensor
    ) -> tuple[ActionDistribution, torch.Tensor, torch.Tensor]:
        """`step` over T steps: obs [T, N, width], starts [T, N]; distribution over [T, N, A], value [T, N]."""
        features, critic_features, after = self._features(obs, state, starts)
        distribution = self.head(self.actor(features))
        value = self.value(self.critic(critic_features)).squeeze(-1).float()
        return distribution, value, after

    def _features(
        self, obs: Observations, state: torch.Tensor, starts: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Inputs of the action MLP and of the value head [T, N, width], and the state after."""
        parts = [obs[name] for name in self.actor_groups if name != SCANDOTS]
        if self.scandots_encoder is not None:
            parts.append(self.scandots_encoder(obs[SCANDOTS]))
        inputs = torch.cat(parts, dim=-1)
        layers = self.config.gru_layers
        memory, after = self.gru(inputs, state[:layers], starts)
        match self.config.critic_memory:
            case "shared":
                critic_memory = memory
            case "own":
                assert self.critic_gru is not None
                critic_memory, critic_after = self.critic_gru(inputs, state[layers:], starts)
                after = torch.cat([after, critic_after])
            case _:
                critic_memory = inputs
        critic_parts = [critic_memory, *(obs[name] for name in self.critic_groups)]
        if self.config.actor_skip:
            memory = torch.cat([memory, inputs], dim=-1)
        return memory, torch.cat(critic_parts, dim=-1), after


def mlp(
    inputs: int, hidden: list[int], activation: str, outputs: int | None = None
) -> nn.Sequential:
    """Linear layers with orthogonal weights (gain sqrt 2) and an activation after each."""
    layers: list[nn.Module] = []
    for width in [*hidden, *([outputs] if outputs is not None else [])]:
        layer = nn.Linear(inputs, width)
        nn.init.orthogonal_(layer.weight, gain=2**0.5)
        nn.init.zeros_(layer.bias)
        layers += [layer, _ACTIVATIONS[activation]()]
        inputs = width
    return nn.Sequential(*layers)


def _width(hidden: list[int], inputs: int) -> int:
    return hidden[-1] if hidden else inputs

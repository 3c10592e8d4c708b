"""The recurrent actor-critic: normalizer, trunk (encoders and GRU), action head, value head.

A pure function of observations, state and episode starts; nothing recurrent is kept in the module.
`state` is [layers, N, hidden].
"""

from __future__ import annotations

import torch
from torch import nn

from legged_ppo.config.schema import PolicyConfig
from legged_ppo.interface import Observations, Symmetry
from legged_ppo.models.depth_encoder import DEPTH, FrameMemory
from legged_ppo.models.distributions import ActionDistribution, make_head
from legged_ppo.models.gru import GRU
from legged_ppo.models.halves import Inputs
from legged_ppo.models.linear import Linear
from legged_ppo.models.mlp import mlp
from legged_ppo.models.normalization import RunningNormalizer
from legged_ppo.models.parameter_reflections import INVARIANT, ParameterReflections
from legged_ppo.models.trunks import IMAGE, SCANDOTS, ObsDims, make_trunk


class ActorCritic(nn.Module):
    """Policy and value function.

    Args:
        obs_dims: width of each observation group. `privileged` feeds the critic alone and
            `extrinsics` the RMA architecture's encoder; every other group feeds the actor, `scandots`
            through an encoder (they are left out when `scandots_latent` is 0), `depth` (rows, columns) in
            their place through a convolutional one, and `image` (channels, height, width; uint8) through
            another. None of these three is normalised.
        num_actions: A.
    """

    def __init__(self, obs_dims: ObsDims, num_actions: int, config: PolicyConfig) -> None:
        super().__init__()
        self.config, self.num_actions = config, num_actions
        self.trunk = make_trunk(obs_dims, config)
        self.obs_dims = read = {name: obs_dims[name] for name in self.trunk.groups}
        """Sizes of the groups that the network reads."""
        # Normalised scandots made learning slower (docs/rough_terrain.md). They share one unit as they are.
        self._unnormalized = [name for name in (SCANDOTS, DEPTH, IMAGE) if name in read]
        self.columns, width = {}, 0
        """Columns of each normalised group in the statistics."""
        for name, size in read.items():
            if isinstance(size, int) and name not in self._unnormalized:
                self.columns[name] = slice(width, width + size)
                width += size
        normalized = config.normalize_observations and width > 0
        self.normalizer = RunningNormalizer(width) if normalized else None
        width = self.trunk.actor_width
        self.actor = mlp(width, config.actor_hidden, config.activation)
        self.head = make_head(_width(config.actor_hidden, width), num_actions, config)
        width = self.trunk.critic_width
        self.critic = mlp(width, config.critic_hidden, config.activation)
        self.value = Linear(_width(config.critic_hidden, width), 1)
        nn.init.orthogonal_(self.value.weight, gain=1.0)
        nn.init.zeros_(self.value.bias)

    @property
    def device(self) -> torch.device:
        """Where the parameters lie."""
        return self.value.weight.device

    def fuse_gru(self, wanted: bool) -> None:
        """Whether kernels compute the GRUs on a GPU (`training.fused_gru`), or torch's operators."""
        for module in self.trunk.modules():
            if isinstance(module, GRU):
                module.fused = wanted

    def initial_state(self, num_envs: int, device: torch.device) -> torch.Tensor:
        """The state before an episode, [layers, N, hidden] of zeros."""
        return torch.zeros(self.trunk.state_layers, num_envs, self.config.gru_hidden, device=device)

    def normalize(self, obs: Observations, observe: bool = False) -> Observations:
        """The groups of `obs` that this policy reads, [..., width]: all but scandots, depth and images normalised
        with the committed statistics. Groups that only the critic reads may be absent.

        Args:
            observe: also collect these observations [N, width], of every group, for the next statistics.
        """
        groups = {name: obs[name] for name in self.columns if name in obs}
        unnormalized = {name: obs[name] for name in self._unnormalized if name in obs}
        if self.normalizer is None:
            return groups | unnormalized
        if len(groups) < len(self.columns):
            normalized = {n: self.normalizer(x, self.columns[n]) for n, x in groups.items()}
            return normalized | unnormalized
        row = torch.cat(list(groups.values()), dim=-1)
        if observe:
            self.normalizer.observe(row)
        row = self.normalizer(row)
        return {name: row[..., part] for name, part in self.columns.items()} | unnormalized

    def frame_memory(self) -> FrameMemory:
        """What spares `act` and `step` from encoding a depth image again that a robot has held since the last
        step, while the weights are constant."""
        return FrameMemory(self.trunk.depth_encoder)

    def critic_parameters(self) -> list[nn.Parameter]:
        """Those that have no influence on the actions."""
        parts = [self.critic, self.value, *self.trunk.critic_parts]
        return [parameter for part in parts for parameter in part.parameters()]

    def reflections(self, symmetry: Symmetry) -> ParameterReflections:
        """The parameters' reflections; parts without one (images, choices) are left out.

        Raises:
            ConfigError: a hidden layer has an odd width.
        """
        found = ParameterReflections()
        actor, critic = self.trunk.reflect(found, symmetry.observations)
        self.head.reflect(found, found.mlp(self.actor, actor), symmetry.actions)
        found.linear(self.value, found.mlp(self.critic, critic), INVARIANT)
        return found

    def apply_normalization(self) -> None:
        """Let what was collected take effect; call between an update and the next rollout."""
        if self.normalizer is not None:
            self.normalizer.commit()

    def act(
        self, obs: Observations, state: torch.Tensor, starts: torch.Tensor
    ) -> tuple[ActionDistribution, torch.Tensor]:
        """The distribution that `step` returns, without the critic and the groups that only it reads.

        Args:
            obs: normalised groups, as in `step`; `privileged` may be absent.
            state: [layers, N, hidden] after the step before; the actor's layers suffice.
            starts: [N] bool, the observation is the first of an episode.

        Returns:
            distribution over [N, A], the actor's layers of the state after this step.
        """
        sequence = {name: group.unsqueeze(0) for name, group in obs.items()}
        features, after = self.trunk.act(sequence, state, starts.unsqueeze(0))
        return self.head(self.actor(features[0])), after

    def act_sequence(
        self, obs: Observations, state: torch.Tensor, starts: torch.Tensor
    ) -> tuple[ActionDistribution, torch.Tensor]:
        """`act` over T steps: obs [T, N, width], starts [T, N]; distribution over [T, N, A]."""
        features, after = self.trunk.act(obs, state, starts)
        return self.head(self.actor(features)), after

    def step(
        self, obs: Observations, state: torch.Tensor, starts: torch.Tensor
    ) -> tuple[ActionDistribution, torch.Tensor, torch.Tensor]:
        """One step of N environments.

        Args:
            obs: normalised groups, [N, width] each; `image` [N, channels, height, width].
            state: [layers, N, hidden] after the step before.
            starts: [N] bool, the observation is the first of an episode.

        Returns:
            distribution over [N, A], value [N], state after this step.
        """
        sequence = {name: group.unsqueeze(0) for name, group in obs.items()}
        features, critic_features, after = self.trunk(sequence, state, starts.unsqueeze(0))
        distribution = self.head(self.actor(features[0]))
        value = self.value(self.critic(critic_features[0])).squeeze(-1).float()
        return distribution, value, after

    def sequence(
        self, obs: Inputs, state: torch.Tensor, starts: torch.Tensor
    ) -> tuple[ActionDistribution, torch.Tensor, torch.Tensor]:
        """`step` over T steps: obs [T, N, width] or their even and odd parts, starts [T, N]; distribution over
        [T, N, A], value [T, N]."""
        features, critic_features, after = self.trunk(obs, state, starts)
        distribution = self.head(self.actor(features))
        value = self.value.of(self.critic(critic_features)).squeeze(-1).float()
        return distribution, value, after


def _width(hidden: list[int], inputs: int) -> int:
    return hidden[-1] if hidden else inputs

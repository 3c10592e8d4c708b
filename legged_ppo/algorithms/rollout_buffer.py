"""RolloutBuffer: T steps of N environments, and minibatches of chunks of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from legged_ppo.interface import Observations
from legged_ppo.models.halves import Features, Halves, Inputs
from legged_ppo.runtime.owned_state import OwnedState


@dataclass
class Minibatch:
    """B chunks of L steps, time-major; `state` is that at each chunk's first step."""

    obs: Inputs
    """[L, B, width] each, normalised, or what the buffer's `inputs` have of them"""
    state: torch.Tensor
    """[layers, B, hidden]"""
    starts: torch.Tensor
    """[L, B] bool"""
    actions: torch.Tensor
    """[L, B, A]"""
    log_probs: torch.Tensor
    """[L, B], of the policy that acted"""
    values: torch.Tensor
    """[L, B], of the critic during the rollout"""
    advantages: torch.Tensor
    """[L, B]"""
    returns: torch.Tensor
    """[L, B]"""


class RolloutBuffer(OwnedState):
    """Storage of one rollout, allocated once; `obs` and `states` by the first step that is stored.

    `starts[t]` is true where `obs[t]` is the first of an episode. The recurrent state is stored only
    where a chunk begins, every `bptt_length` steps.

    Args:
        env_groups: [N] int64, the kind (terrain type) of each environment; every minibatch gets its share of
            each kind. None: all are of one kind.
        learned_envs: number of environments, from the first on, that minibatches are drawn from; None for all.
    """

    owned = (
        *("obs", "states", "starts", "actions", "log_probs", "values", "rewards", "final_values"),
        *("terminated", "truncated", "advantages", "returns"),
    )

    def __init__(
        self,
        rollout_length: int,
        bptt_length: int,
        num_envs: int,
        num_actions: int,
        device: torch.device,
        env_groups: torch.Tensor | None = None,
        learned_envs: int | None = None,
    ) -> None:
        self.env_groups, self.learned_envs = env_groups, learned_envs or num_envs
        self.rollout_length, self.bptt_length = rollout_length, bptt_length
        self.num_envs, self.device = num_envs, device
        self.num_chunks = rollout_length // bptt_length

        def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
            return torch.zeros(rollout_length, num_envs, *shape, dtype=dtype, device=device)

        self.obs: Observations = {}
        self.inputs: Inputs | None = None
        """What minibatches have in place of `obs`, such as their even and odd parts; None: the same."""
        self.states: torch.Tensor | None = None  # [chunks, layers, N, hidden]
        self.starts = zeros(dtype=torch.bool)
        self.actions = zeros(num_actions)
        self.log_probs, self.values, self.rewards, self.final_values = (zeros() for _ in range(4))
        self.terminated, self.truncated = zeros(dtype=torch.bool), zeros(dtype=torch.bool)
        self.advantages, self.returns = zeros(), zeros()

    def store_inputs(
        self, t: int, obs: Observations, state: torch.Tensor, starts: torch.Tensor
    ) -> None:
        """Store the inputs of the policy at step t, [N, ...] each."""
        for name, group in obs.items():
            if name not in self.obs:
                self.obs[name] = group.new_zeros(self.rollout_length, *group.shape)
            self.obs[name][t] = group
        self.starts[t] = starts
        if t % self.bptt_length == 0:
            if self.states is None:
                self.states = state.new_zeros(self.num_chunks, *state.shape)
            self.states[t // self.bptt_length] = state

    def store_action(
        self, t: int, actions: torch.Tensor, log_probs: torch.Tensor, values: torch.Tensor
    ) -> None:
        """Store the outputs of the policy at step t: actions [N, A], the others [N]."""
        self.actions[t], self.log_probs[t], self.values[t] = actions, log_probs, values

    def store_outcome(
        self,
        t: int,
        rewards: torch.Tensor,
        terminated: torch.Tensor,
        truncated: torch.Tensor,
        final_values: torch.Tensor | None,
    ) -> None:
        """Store the results of step t, [N] each; see `gae`. None leaves the final values as they are."""
        self.rewards[t] = rewards
        if final_values is not None:
            self.final_values[t] = final_values
        self.terminated[t], self.truncated[t] = terminated, truncated

    def minibatch_ids(
        self, num_minibatches: int, generator: torch.Generator
    ) -> Iterator[torch.Tensor]:
        """All chunks once, in a new random order, as ids [B] for `gather`. A remainder is not dropped: some
        minibatches are larger by one chunk. None is empty."""
        total, learned = self.num_chunks * self.learned_envs, self.learned_envs
        order = torch.randperm(total, generator=generator, device=generator.device)
        if self.env_groups is not None:
            # Sorted by kind, in random order within each; every minibatch takes each count-th of them.
            order = order[torch.argsort(self.env_groups[order % learned], stable=True)]
        order = order // learned * self.num_envs + order % learned
        count = max(1, min(num_minibatches, total))
        for first in range(count):
            yield order[first::count]

    def gather(self, chunk_ids: torch.Tensor) -> Minibatch:
        """The chunks with these ids [B], `chunk * num_envs + environment`."""
        assert self.states is not None
        inputs = self.obs if self.inputs is None else self.inputs
        states = self.states.transpose(1, 2).flatten(0, 1)  # [chunks * N, layers, hidden]
        return Minibatch(
            obs={name: self._features(group, chunk_ids) for name, group in inputs.items()},
            state=states[chunk_ids].transpose(0, 1).contiguous(),
            starts=self._chunks(self.starts, chunk_ids),
            actions=self._chunks(self.actions, chunk_ids),
            log_probs=self._chunks(self.log_probs, chunk_ids),
            values=self._chunks(self.values, chunk_ids),
            advantages=self._chunks(self.advantages, chunk_ids),
            returns=self._chunks(self.returns, chunk_ids),
        )

    def _features(self, group: Features, chunk_ids: torch.Tensor) -> Features:
        if isinstance(group, Halves):
            return Halves(self._chunks(group.parts, chunk_ids), group.even)
        return self._chunks(group, chunk_ids)

    def _chunks(self, values: torch.Tensor, chunk_ids: torch.Tensor) -> torch.Tensor:
        """[T, N, ...] to [L, B, ...]."""
        if self.num_chunks == 1:
            return values.index_select(1, chunk_ids)
        parts = values.unflatten(0, (self.num_chunks, self.bptt_length))  # [C, L, N, ...]
        chunk, env = chunk_ids // self.num_envs, chunk_ids % self.num_envs
        return parts[chunk, :, env].transpose(0, 1).contiguous()

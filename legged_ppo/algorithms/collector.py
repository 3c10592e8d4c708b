"""Collector: fills a rollout buffer with steps of the policy in the environment."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from legged_ppo.algorithms.rollout_buffer import RolloutBuffer
from legged_ppo.interface import Environment, Observations, StepResult, TensorFunction
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.models.distributions import ActionDistribution, Gaussian
from legged_ppo.runtime.device import finite_without_sync, rows_without_sync
from legged_ppo.runtime.owned_state import OwnedState

_STEPS_AT_ONCE = 8
"""Steps whose ended episodes the policy evaluates in one pass: fewer kernels against memory."""


class Collector(OwnedState):
    """Carries the observations, recurrent state and episode starts from one rollout to the next.

    Args:
        generator: source of the actions' randomness, on the environment's device.
        precision: context of every forward pass (the same as the update's).
        mirror_actions: applied to the sampled actions and their log-probabilities before they are stored and
            executed.
    """

    owned: tuple[str, ...] = ("obs", "state", "starts")

    def __init__(
        self,
        env: Environment,
        policy: ActorCritic,
        generator: torch.Generator,
        precision: Callable[[], contextlib.AbstractContextManager[Any]],
        mirror_actions: Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
        | None = None,
    ) -> None:
        self.env, self.policy, self._mirror_actions = env, policy, mirror_actions
        self._generator, self._precision = generator, precision
        self._draw, self._clean = env.compiled(self._drawn, env.num_envs), Cleaning.of(env)
        self.obs: Observations = {name: group.clone() for name, group in env.reset().items()}
        self.state = policy.initial_state(env.num_envs, env.device)
        self.starts = torch.ones(env.num_envs, dtype=torch.bool, device=env.device)

    def restart(self) -> None:
        """Begin new episodes everywhere."""
        self._keep(self.env.reset(), torch.zeros_like(self.state), torch.ones_like(self.starts))

    @torch.no_grad()
    def collect(self, buffer: RolloutBuffer) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Fill the buffer.

        Returns:
            the value [N] of the observation after the last step, and the sums of the environment's
            `episode` and `step` metrics and of the samples that were not finite, `nonfinite`.
        """
        sums: dict[str, torch.Tensor] = {}
        seen, state, starts = self.obs, self.state, self.starts
        with_latents = self.policy.frame_memory()
        ends: list[_Ends] = []
        buffer.final_values.zero_()
        for t in range(buffer.rollout_length):
            obs = self.policy.normalize(seen, observe=True)
            buffer.store_inputs(t, obs, state, starts)
            with self._precision():
                distribution, values, state = self.policy.step(with_latents(obs), state, starts)
            actions, log_probs = self._sample(distribution)
            if self._mirror_actions is not None:
                actions, log_probs = self._mirror_actions(actions, log_probs)
            buffer.store_action(t, actions, log_probs, values)
            result, nonfinite = self._clean(self.env.step(actions))
            final_values: torch.Tensor | None = values
            if result.final_obs is not None:
                ends += _truncated(t, result, state)
                final_values = None  # all at once, after the rollout
            buffer.store_outcome(
                t, result.reward, result.terminated, result.truncated, final_values
            )
            seen, starts = result.obs, result.terminated | result.truncated
            add_metrics(sums, result, nonfinite)
        for first in range(0, len(ends), _STEPS_AT_ONCE):
            self._store_final_values(buffer, ends[first : first + _STEPS_AT_ONCE])
        with self._precision():
            obs = with_latents(self.policy.normalize(seen))
            _, next_value, _ = self.policy.step(obs, state, starts)
        self._keep(seen, state, starts)
        return next_value, sums

    def _sample(self, distribution: ActionDistribution) -> tuple[torch.Tensor, ...]:
        """Actions [N, A] and their log-densities [N]."""
        if isinstance(distribution, Gaussian):
            return self._draw(distribution.mean, distribution.log_std)
        actions = distribution.sample(self._generator)
        return actions, distribution.log_prob(actions)

    def _drawn(self, mean: torch.Tensor, log_std: torch.Tensor) -> tuple[torch.Tensor, ...]:
        distribution = Gaussian(mean, log_std)
        actions = distribution.sample(self._generator)
        return actions, distribution.log_prob(actions)

    def _keep(self, obs: Observations, state: torch.Tensor, starts: torch.Tensor) -> None:
        """Write the owned state, for the next rollout."""
        for name, group in self.obs.items():
            group.copy_(obs[name])
        self.state.copy_(state)
        self.starts.copy_(starts)

    def _store_final_values(self, buffer: RolloutBuffer, ends: list[_Ends]) -> None:
        """Values of the last observations of these episodes, in one pass of the policy."""
        obs = {name: torch.cat([end.obs[name] for end in ends]) for name in ends[0].obs}
        state = torch.cat([end.state for end in ends], dim=1)
        starts = torch.zeros(state.shape[1], dtype=torch.bool, device=state.device)
        with self._precision():
            _, values, _ = self.policy.step(self.policy.normalize(obs), state, starts)
        for end, part in zip(ends, values.split([len(end.rows) for end in ends]), strict=True):
            buffer.final_values[end.step].index_copy_(0, end.rows, part)


@dataclass
class _Ends:
    """Episodes that a time limit ended in one step, n of N."""

    step: int
    rows: torch.Tensor
    """[n] int64"""
    obs: Observations
    """last observations, [n, ...] each"""
    state: torch.Tensor
    """[layers, n, hidden] after the step, of these episodes"""


def _truncated(step: int, result: StepResult, state: torch.Tensor) -> list[_Ends]:
    """The truncated episodes of a step; an empty list where there are none."""
    rows = rows_without_sync(result.truncated)
    assert result.final_obs is not None
    if len(rows) == 0:
        return []
    if len(rows) == len(result.truncated):
        return [_Ends(step, rows, result.final_obs, state)]
    obs = {name: group[rows] for name, group in result.final_obs.items()}
    return [_Ends(step, rows, obs, state[:, rows])]


def add_metrics(sums: dict[str, torch.Tensor], result: StepResult, nonfinite: torch.Tensor) -> None:
    """Add a step's metrics to the sums of a rollout, the samples that were not finite as `nonfinite`."""
    for name, value in (result.info | {"nonfinite": nonfinite}).items():
        sums[name] = sums[name] + value if name in sums else value


@dataclass(frozen=True)
class Cleaning:
    """Removes numbers that are not finite from steps of an environment that may compile functions."""

    rows: TensorFunction
    """`clean_rows`"""
    groups: TensorFunction
    """`clean_groups`"""

    @classmethod
    def of(cls, env: Environment) -> Cleaning:
        n = env.num_envs
        return cls(env.compiled(clean_rows, n), env.compiled(clean_groups, n))

    def __call__(self, result: StepResult) -> tuple[StepResult, torch.Tensor]:
        """The step with non-finite numbers removed, and the number of environments that had any.

        Their reward and the non-finite entries of their observations become 0, and their episode counts as
        terminated, so that no value is bootstrapped and the recurrent state is zeroed.
        """
        obs, final_obs = result.obs, result.final_obs
        if finite_without_sync([result.reward, *obs.values(), *(final_obs or {}).values()]):
            return result, result.reward.new_zeros((), dtype=torch.int64)
        unsound, reward, terminated, truncated, *groups = self.rows(
            result.reward, result.terminated, result.truncated, *obs.values()
        )
        if final_obs is not None:
            last = self.groups(*final_obs.values())
            final_obs = dict(zip(final_obs, last, strict=True))
        obs = dict(zip(obs, groups, strict=True))
        found = StepResult(obs, reward, terminated, truncated, final_obs, result.info)
        return found, unsound.sum()


def clean_rows(
    reward: torch.Tensor, terminated: torch.Tensor, truncated: torch.Tensor, *groups: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """Which environments' numbers are not finite [N] bool, and the arguments as `Cleaning` leaves them."""
    floats = [group for group in groups if group.is_floating_point()]
    # A sum of anything that is not finite is not finite.
    sums = [reward, *(group.flatten(1).sum(1) for group in floats)]
    sound = torch.stack(sums).isfinite().all(0)
    reward = torch.where(sound, reward, 0.0)
    return ~sound, reward, terminated | ~sound, truncated & sound, *clean_groups(*groups)


def clean_groups(*groups: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Groups of observations with 0 in place of what is not finite."""
    return tuple(
        torch.where(group.isfinite(), group, 0.0) if group.is_floating_point() else group
        for group in groups
    )

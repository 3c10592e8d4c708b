"""Collector: fills a rollout buffer with steps of the policy in the environment."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from legged_ppo.algorithms.rollout_buffer import RolloutBuffer
from legged_ppo.interface import Environment, Observations, StepResult
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.runtime.device import finite_without_sync, rows_without_sync
from legged_ppo.runtime.owned_state import OwnedState


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
        for t in range(buffer.rollout_length):
            obs = self.policy.normalize(seen, observe=True)
            buffer.store_inputs(t, obs, state, starts)
            with self._precision():
                distribution, values, state = self.policy.step(with_latents(obs), state, starts)
            actions = distribution.sample(self._generator)
            log_probs = distribution.log_prob(actions)
            if self._mirror_actions is not None:
                actions, log_probs = self._mirror_actions(actions, log_probs)
            buffer.store_action(t, actions, log_probs, values)
            result, nonfinite = finite_step(self.env.step(actions))
            final_values = values
            if result.final_obs is not None:
                final_values = self._final_values(result, state)
            buffer.store_outcome(
                t, result.reward, result.terminated, result.truncated, final_values
            )
            seen, starts = result.obs, result.terminated | result.truncated
            add_metrics(sums, result, nonfinite)
        with self._precision():
            obs = with_latents(self.policy.normalize(seen))
            _, next_value, _ = self.policy.step(obs, state, starts)
        self._keep(seen, state, starts)
        return next_value, sums

    def _keep(self, obs: Observations, state: torch.Tensor, starts: torch.Tensor) -> None:
        """Write the owned state, for the next rollout."""
        for name, group in self.obs.items():
            group.copy_(obs[name])
        self.state.copy_(state)
        self.starts.copy_(starts)

    def _final_values(self, result: StepResult, state: torch.Tensor) -> torch.Tensor:
        """Values [N] of the last observations of truncated episodes, with the recurrent state of those
        episodes, [layers, N, hidden] after this step."""
        values, chosen = torch.zeros_like(result.reward), rows_without_sync(result.truncated)
        if len(chosen) == 0:
            return values
        assert result.final_obs is not None
        obs = self.policy.normalize({k: v[chosen] for k, v in result.final_obs.items()})
        starts = torch.zeros(len(chosen), dtype=torch.bool, device=values.device)
        with self._precision():
            _, values[chosen], _ = self.policy.step(obs, state[:, chosen], starts)
        return values


def add_metrics(sums: dict[str, torch.Tensor], result: StepResult, nonfinite: torch.Tensor) -> None:
    """Add a step's metrics to the sums of a rollout, the samples that were not finite as `nonfinite`."""
    for name, value in (result.info | {"nonfinite": nonfinite}).items():
        sums[name] = sums[name] + value if name in sums else value


def finite_step(result: StepResult) -> tuple[StepResult, torch.Tensor]:
    """The step with non-finite numbers removed, and the number of environments that had any.

    Their reward and the non-finite entries of their observations become 0, and their episode counts as
    terminated, so that no value is bootstrapped and the recurrent state is zeroed.
    """
    groups = [result.reward, *result.obs.values(), *(result.final_obs or {}).values()]
    if finite_without_sync(groups):
        return result, result.reward.new_zeros((), dtype=torch.int64)
    sound = result.reward.isfinite()
    for group in result.obs.values():
        sound = sound & group.isfinite().flatten(1).all(1)
    final_obs = result.final_obs
    clean = replace(
        result,
        obs={name: _zero_nonfinite(group) for name, group in result.obs.items()},
        reward=torch.where(sound, result.reward, 0.0),
        terminated=result.terminated | ~sound,
        truncated=result.truncated & sound,
        final_obs=final_obs and {name: _zero_nonfinite(g) for name, g in final_obs.items()},
    )
    return clean, (~sound).sum()


def _zero_nonfinite(group: torch.Tensor) -> torch.Tensor:
    return torch.where(group.isfinite(), group, 0) if group.is_floating_point() else group

"""The collector against a replay of the policy by hand, resets written out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from legged_ppo.algorithms.collector import Collector
from legged_ppo.algorithms.rollout_buffer import RolloutBuffer
from legged_ppo.config.schema import PolicyConfig
from legged_ppo.interface import Observations
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.models.normalization import RunningNormalizer

T, BPTT = 12, 4
MakeEnv = Callable[..., Any]


@dataclass
class Collected:
    env: Any
    policy: ActorCritic
    collector: Collector
    buffer: RolloutBuffer

    def collect(self) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        self.env.history.clear()
        return self.collector.collect(self.buffer)


def make_collected(make_env: MakeEnv, num_envs: int) -> Collected:
    """One rollout done and its statistics committed."""
    torch.manual_seed(0)
    env = make_env(num_envs)
    config = PolicyConfig(
        gru_hidden=8, actor_hidden=[8], critic_memory="own", critic_privileged=True
    )
    policy = ActorCritic(env.obs_dims, env.num_actions, config)
    collector = Collector(env, policy, torch.Generator().manual_seed(1), nullcontext)
    buffer = RolloutBuffer(T, BPTT, num_envs, env.num_actions, env.device)
    collected = Collected(env, policy, collector, buffer)
    collected.collect()
    policy.apply_normalization()
    return collected


@dataclass
class Replay:
    """What the rollout should have stored, [T, N] each, and [chunks, layers, N, hidden]."""

    log_probs: torch.Tensor
    values: torch.Tensor
    final_values: torch.Tensor
    states: torch.Tensor
    next_value: torch.Tensor
    state_after: torch.Tensor


@torch.no_grad()
def replay(collected: Collected, state: torch.Tensor, ended: torch.Tensor) -> Replay:
    """The policy over the stored observations, its state zeroed by hand where an episode ended.

    Args:
        state, ended: the recurrent state and the end flags before the rollout.
    """
    policy, buffer, results = collected.policy, collected.buffer, collected.env.history
    never = torch.zeros_like(ended)
    log_probs, values, final_values, states = [], [], [], []

    def zeroed(state: torch.Tensor, ended: torch.Tensor) -> torch.Tensor:
        state = state.clone()
        state[:, ended] = 0.0
        return state

    for t, result in enumerate(results):
        states.append(state)
        obs = {name: group[t] for name, group in buffer.obs.items()}
        distribution, value, state = policy.step(obs, zeroed(state, ended), never)
        log_probs.append(distribution.log_prob(buffer.actions[t]))
        values.append(value)
        last: Observations = policy.normalize(result.final_obs)
        _, value_of_last, _ = policy.step(last, state, never)
        final_values.append(torch.where(result.truncated, value_of_last, 0.0))
        ended = result.terminated | result.truncated
    _, next_value, _ = policy.step(policy.normalize(results[-1].obs), zeroed(state, ended), never)
    stack = torch.stack
    return Replay(
        stack(log_probs),
        stack(values),
        stack(final_values),
        stack(states[::BPTT]),
        next_value,
        state,
    )


@pytest.mark.parametrize("num_envs", [1, 9])
def test_rollout_equals_a_replay_with_resets_written_out(make_env: MakeEnv, num_envs: int) -> None:
    collected = make_collected(make_env, num_envs)
    collector, buffer = collected.collector, collected.buffer
    state, ended = collector.state.clone(), collector.starts.clone()
    next_value, _ = collected.collect()
    expected = replay(collected, state, ended)
    assert buffer.truncated.any() and buffer.terminated.any()
    for name in ("log_probs", "values", "final_values", "states"):
        ours = getattr(buffer, name)
        torch.testing.assert_close(ours, getattr(expected, name), rtol=1e-5, atol=1e-5, msg=name)
    # The values of last and of next observations were read without moving the memory on.
    torch.testing.assert_close(next_value, expected.next_value, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(collector.state, expected.state_after, rtol=1e-5, atol=1e-5)


def test_where_the_last_observation_is_hidden_the_value_before_it_counts(make_env: MakeEnv) -> None:
    collected = make_collected(make_env, 9)
    step = collected.env.step
    collected.env.step = lambda actions: replace(step(actions), final_obs=None)
    collected.collect()
    buffer = collected.buffer
    assert buffer.truncated.any()
    assert torch.equal(buffer.final_values[buffer.truncated], buffer.values[buffer.truncated])


def test_value_of_a_time_out_is_neither_that_of_the_state_before_nor_of_the_reset(
    make_env: MakeEnv,
) -> None:
    collected = make_collected(make_env, 9)
    collected.collect()
    buffer = collected.buffer
    cut = buffer.truncated.clone()
    assert not buffer.final_values[~cut].any()
    cut[-1] = False
    final = buffer.final_values[cut]
    assert (final - buffer.values[cut]).abs().min() > 1e-4
    assert (final - buffer.values.roll(-1, 0)[cut]).abs().min() > 1e-4


def test_a_step_starts_an_episode_exactly_if_the_step_before_ended_one(make_env: MakeEnv) -> None:
    torch.manual_seed(0)
    env = make_env(9)
    policy = ActorCritic(env.obs_dims, env.num_actions, PolicyConfig(gru_hidden=8))
    collector = Collector(env, policy, torch.Generator().manual_seed(1), nullcontext)
    buffer = RolloutBuffer(T, T, 9, env.num_actions, env.device)
    before = torch.ones(9, dtype=torch.bool)
    for _ in range(2):
        collector.collect(buffer)
        done = buffer.terminated | buffer.truncated
        assert torch.equal(buffer.starts, torch.cat([before[None], done[:-1]]))
        before = done[-1]


def test_memory_of_ended_episodes_is_cleared_and_of_others_kept(make_env: MakeEnv) -> None:
    first, second = make_collected(make_env, 20), make_collected(make_env, 20)
    ended = first.collector.starts.clone()
    assert ended.any() and not ended.all()
    second.collector.state += 1.0
    for collected in (first, second):
        collected.buffer = RolloutBuffer(1, 1, 20, 3, torch.device("cpu"))
        collected.collect()
    same = (first.collector.state == second.collector.state).all(-1)
    assert torch.equal(same, ended.expand_as(same))


def test_every_acted_on_observation_is_counted_once_after_the_rollout(make_env: MakeEnv) -> None:
    collected = make_collected(make_env, 9)
    normalizer = collected.policy.normalizer
    assert isinstance(normalizer, RunningNormalizer)
    mean = normalizer.mean.clone()
    collected.collect()
    assert torch.equal(normalizer.mean, mean)
    collected.policy.apply_normalization()
    assert normalizer.count == 2 * T * 9 and not torch.equal(normalizer.mean, mean)


def test_environment_metrics_are_summed_over_the_rollout(make_env: MakeEnv) -> None:
    collected = make_collected(make_env, 9)
    _, sums = collected.collect()
    buffer = collected.buffer
    ends = (buffer.terminated | buffer.truncated).sum()
    torch.testing.assert_close(sums["episode"], ends * torch.ones(3))
    torch.testing.assert_close(sums["step"], buffer.rewards.sum()[None])


def test_what_is_not_finite_of_an_environment_is_left_out_and_counted(
    make_env: MakeEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    collected = make_collected(make_env, 9)
    env, step = collected.env, collected.env.step

    def damaged(actions: torch.Tensor) -> Any:
        result = step(actions)
        if len(env.history) == 5:
            result.reward[2] = torch.nan
            result.obs["commands"][4, 1] = torch.inf
            result.final_obs["commands"][4] = torch.nan
        return result

    monkeypatch.setattr(env, "step", damaged)
    next_value, sums = collected.collect()
    buffer = collected.buffer
    assert sums["nonfinite"] == 2 and buffer.rewards[4, 2] == 0.0
    ended = torch.tensor([2, 4])
    assert buffer.terminated[4, ended].all() and not buffer.truncated[4, ended].any()
    assert buffer.starts[5, ended].all()
    tensors = (next_value, buffer.rewards, buffer.values, buffer.final_values, buffer.log_probs)
    assert all(tensor.isfinite().all() for tensor in (*tensors, *buffer.obs.values()))

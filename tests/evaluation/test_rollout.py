"""The loop that evaluation and viewing share."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

import torch

from legged_ppo.config.schema import PolicyConfig
from legged_ppo.evaluation.rollout import on_device, rollout
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.models.recurrent_policy import RecurrentPolicy


def test_rollout_makes_as_many_steps_as_asked_and_restarts_memory_at_ends(
    make_env: Callable[..., Any],
) -> None:
    env = make_env(8)
    actor = RecurrentPolicy(
        ActorCritic(env.obs_dims, env.num_actions, PolicyConfig(gru_hidden=8)), 8, env.device
    )
    ends = []
    for result in islice(rollout(actor, env, env.reset()), 5):
        assert torch.equal(actor.starts, result.terminated | result.truncated)
        ends.append(actor.starts)
    assert len(env.history) == 5 and torch.stack(ends).any()


def test_a_policy_of_another_device_is_copied_and_stays_where_it_is(
    make_env: Callable[..., Any],
) -> None:
    env = make_env(1)
    policy = ActorCritic(env.obs_dims, env.num_actions, PolicyConfig(gru_hidden=8))
    assert on_device(policy, env.device) is policy
    copied = on_device(policy, torch.device("meta"))
    assert copied.device.type == "meta" and policy.device.type == "cpu"

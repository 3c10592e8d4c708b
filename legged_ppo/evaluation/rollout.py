"""The loop of evaluations, recordings and viewers: act, step, note which episodes ended."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch

from legged_ppo.interface import Environment, Observations, StepResult
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.models.recurrent_policy import RecurrentPolicy


def on_device(policy: ActorCritic, device: torch.device) -> ActorCritic:
    """`policy`, or a copy of it where it is on another device."""
    return policy if policy.device == device else copy.deepcopy(policy).to(device)


def rollout(policy: RecurrentPolicy, env: Environment, obs: Observations) -> Iterator[StepResult]:
    """Results of one step after another, without end, from the observations `obs`.

    A step is made when its result is asked for; `policy.starts` then marks the episodes that ended in it.
    """
    while True:
        result = env.step(policy.act(obs))
        policy.note_ends(result)
        yield result
        obs = result.obs

"""The loop that evaluation and viewing share: act, step, note which episodes ended."""

from __future__ import annotations

from collections.abc import Iterator

from legged_ppo.interface import Environment, Observations, StepResult
from legged_ppo.models.recurrent_policy import RecurrentPolicy


def rollout(policy: RecurrentPolicy, env: Environment, obs: Observations) -> Iterator[StepResult]:
    """Results of one step after another, without end, from the observations `obs`.

    A step is made when its result is asked for; `policy.starts` then marks the episodes that ended in it.
    """
    while True:
        result = env.step(policy.act(obs))
        policy.note_ends(result)
        yield result
        obs = result.obs

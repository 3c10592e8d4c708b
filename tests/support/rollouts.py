"""Steps with random actions, and whether two runs of them are the same."""

from __future__ import annotations

import torch

from legged_ppo.env.locomotion import LocomotionEnv
from legged_ppo.interface import StepResult


def actions(env: LocomotionEnv, step: int, size: float = 1.0) -> torch.Tensor:
    return size * torch.randn(env.num_envs, 12, generator=torch.Generator().manual_seed(step))


def rollout(env: LocomotionEnv, steps: range, size: float = 1.0) -> list[StepResult]:
    return [env.step(actions(env, step, size)) for step in steps]


def assert_same_results(a: list[StepResult], b: list[StepResult]) -> None:
    for x, y in zip(a, b, strict=True):
        for name in ("reward", "terminated", "truncated"):
            assert torch.equal(getattr(x, name), getattr(y, name)), name
        for group in ("obs", "final_obs", "info"):
            for name, value in getattr(x, group).items():
                assert torch.equal(value, getattr(y, group)[name]), (group, name)

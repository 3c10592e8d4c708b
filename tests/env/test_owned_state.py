"""The environment's state stays where it is: CUDA graphs and checkpoints rely on it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from rollouts import rollout

from legged_ppo.config.schema import Config
from legged_ppo.env.locomotion import LocomotionEnv


def addresses(env: LocomotionEnv) -> dict[str, int]:
    where = env.placement
    parts = [env, env.commands, env.randomization, env.scandots]
    parts += [where, where.curriculum, env.statistics]
    tensors = {f"{type(p).__name__}.{n}": t for p in parts for n, t in p.owned_tensors().items()}
    tensors |= {
        "tile": where.tile,
        "origin": where.origin,
        "on_flat": env.commands.on_flat,
        "on_forward": env.commands.on_forward,
    }
    return {name: tensor.data_ptr() for name, tensor in tensors.items()}


def test_steps_resets_and_loads_keep_every_tensor_in_its_memory(
    kinematic: Callable[..., LocomotionEnv], busy: Config
) -> None:
    busy.task.observations.scandots.latency_s = [0.0, 0.05]
    busy.task.observations.scandots.period_s = [0.05, 0.1]
    env = kinematic(busy, 6)
    before = addresses(env)
    env.reset()
    results = rollout(env, range(40))
    assert torch.stack([r.truncated for r in results]).any(), "some episodes ended"
    env.load_state_dict(env.state_dict())
    env.place(0, 1)
    assert addresses(env) == before


def test_results_do_not_change_with_later_steps(
    kinematic: Callable[..., LocomotionEnv], busy: Config
) -> None:
    env = kinematic(busy, 6)
    env.reset()
    (result,) = rollout(env, range(1))
    kept = {name: group.clone() for name, group in result.obs.items()}
    rollout(env, range(1, 40))
    for name, group in result.obs.items():
        assert torch.equal(group, kept[name]), name

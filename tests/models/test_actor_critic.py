"""The actor-critic as a pure function, the same step by step and over a sequence."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from legged_ppo.config.schema import PolicyConfig
from legged_ppo.interface import Observations
from legged_ppo.models.actor_critic import ActorCritic

T, N, ACTIONS = 7, 4, 3
OBS_DIMS = {"proprioception": 5, "scandots": 6, "commands": 2, "extrinsics": 4, "privileged": 3}
assert_close = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-5)


def make_policy(**changes: Any) -> ActorCritic:
    """A small policy whose parameters are far from their careful initial values."""
    torch.manual_seed(0)
    small: dict[str, Any] = {"gru_hidden": 8, "actor_hidden": [7], "scandots_hidden": [6]}
    policy = ActorCritic(OBS_DIMS, ACTIONS, PolicyConfig(**small | changes))
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return policy


def make_inputs(policy: ActorCritic) -> tuple[Observations, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    obs = {name: torch.randn(T, N, d, generator=generator) for name, d in OBS_DIMS.items()}
    state = torch.randn(policy.trunk.state_layers, N, policy.config.gru_hidden, generator=generator)
    return obs, state.requires_grad_(), torch.rand(T, N, generator=generator) < 0.3


def outputs_of(result: tuple[Any, torch.Tensor, torch.Tensor]) -> list[torch.Tensor]:
    """All that a pass gives, as tensors."""
    distribution, value, after = result
    action = torch.linspace(-1, 1, ACTIONS)
    return [distribution.log_prob(action), distribution.mode, distribution.std, value, after]


@pytest.mark.parametrize("distribution", ["gaussian", "fixed_gaussian", "state_gaussian", "beta"])
@pytest.mark.parametrize("scandots_latent", [0, 16])
@pytest.mark.parametrize("actor_skip", [False, True])
@pytest.mark.parametrize("critic_privileged", [False, True])
@pytest.mark.parametrize("critic_memory", ["shared", "own", "none"])
def test_sequence_equals_single_steps_forward_and_backward(
    critic_memory: str,
    critic_privileged: bool,
    actor_skip: bool,
    scandots_latent: int,
    distribution: str,
) -> None:
    check_sequence_equals_steps(
        make_policy(
            critic_memory=critic_memory,
            critic_privileged=critic_privileged,
            actor_skip=actor_skip,
            scandots_latent=scandots_latent,
            distribution=distribution,
        )
    )


@pytest.mark.parametrize("critic_privileged", [False, True])
def test_sequence_equals_single_steps_for_rma_too(critic_privileged: bool) -> None:
    check_sequence_equals_steps(
        make_policy(architecture="rma", critic_privileged=critic_privileged, critic_hidden=[6])
    )


def test_rma_remembers_the_terrain_alone_and_is_told_the_extrinsics() -> None:
    policy = make_policy(architecture="rma")
    obs, state, starts = make_inputs(policy)
    _, _, after = policy.sequence(obs, state, starts)
    acts = policy.sequence(obs, state, starts)[0].mode
    for name, remembered in (("proprioception", False), ("extrinsics", False), ("scandots", True)):
        changed = obs | {name: obs[name] + 1.0}
        distribution, _, then = policy.sequence(changed, state, starts)
        assert torch.equal(then, after) != remembered, name
        assert not torch.equal(distribution.mode, acts), name
    assert "extrinsics" not in make_policy().trunk.groups


def check_sequence_equals_steps(policy: ActorCritic) -> None:
    obs, state, starts = make_inputs(policy)
    steps, after = [], state
    for t in range(T):
        result = policy.step({name: group[t] for name, group in obs.items()}, after, starts[t])
        steps.append(outputs_of(result)[:-1])
        after = result[2]
    stepped = [torch.stack(parts) for parts in zip(*steps, strict=True)] + [after]
    whole = outputs_of(policy.sequence(obs, state, starts))
    assert_close(whole, stepped)

    wrt = [state, *policy.parameters()]
    gradients = [
        torch.autograd.grad(
            torch.stack([out.mean(0).sum() for out in outputs]).sum(), wrt, allow_unused=True
        )
        for outputs in (whole, stepped)
    ]
    assert_close(gradients[0], gradients[1])
    assert all(g is not None and g.any() for g in gradients[0])


@pytest.mark.parametrize("critic_memory", ["shared", "own", "none"])
def test_module_keeps_no_state_between_calls(critic_memory: str) -> None:
    policy = make_policy(critic_memory=critic_memory, gru_layers=2)
    obs, state, starts = make_inputs(policy)
    before = state.detach().clone()
    first = outputs_of(policy.sequence(obs, state, starts))
    policy.sequence({name: -group for name, group in obs.items()}, 2 * state, ~starts)
    second = outputs_of(policy.sequence(obs, state, starts))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert torch.equal(state, before)


@pytest.mark.parametrize("critic_memory", ["shared", "own", "none"])
def test_actor_and_memory_do_not_depend_on_privileged_observations(critic_memory: str) -> None:
    policy = make_policy(critic_memory=critic_memory, critic_privileged=True)
    obs, state, starts = make_inputs(policy)
    changed = obs | {"privileged": obs["privileged"] + 1.0}
    *actor, value, after = outputs_of(policy.sequence(obs, state, starts))
    *actor_2, value_2, after_2 = outputs_of(policy.sequence(changed, state, starts))
    assert all(torch.equal(a, b) for a, b in zip([*actor, after], [*actor_2, after_2], strict=True))
    assert not torch.equal(value, value_2)


@pytest.mark.parametrize("critic_privileged", [False, True])
@pytest.mark.parametrize(
    "changes",
    [
        {"critic_memory": "shared", "actor_skip": True},
        {"critic_memory": "own"},
        {"critic_memory": "none", "gru_layers": 2},
        {"gru_layers": 0},
        {"architecture": "rma"},
    ],
)
def test_acting_needs_no_privileged_observations_and_equals_step(
    changes: dict[str, Any], critic_privileged: bool
) -> None:
    policy = make_policy(**changes, critic_privileged=critic_privileged)
    obs, state, starts = make_inputs(policy)
    policy.normalize({name: 3.0 * x.flatten(0, 1) + 1.0 for name, x in obs.items()}, observe=True)
    policy.apply_normalization()
    acted = state
    for t in range(T):
        now = {name: group[t] for name, group in obs.items()}
        distribution, _, state = policy.step(policy.normalize(now), state, starts[t])
        del now["privileged"]
        same, acted = policy.act(policy.normalize(now), acted, starts[t])
        assert torch.equal(same.mode, distribution.mode)
        assert torch.equal(same.std, distribution.std)
        assert torch.equal(acted, state[: len(acted)])


@pytest.mark.parametrize("scandots_latent", [0, 16])
def test_only_a_blind_policy_ignores_scandots(scandots_latent: int) -> None:
    policy = make_policy(scandots_latent=scandots_latent)
    obs, state, starts = make_inputs(policy)
    changed = obs | {"scandots": obs["scandots"] + 1.0}
    outputs, outputs_2 = (
        outputs_of(policy.sequence(policy.normalize(o), state, starts)) for o in (obs, changed)
    )
    same = all(torch.equal(a, b) for a, b in zip(outputs, outputs_2, strict=True))
    assert same == (scandots_latent == 0)


def test_scandots_keep_their_unit_where_other_observations_are_normalised() -> None:
    policy = make_policy(scandots_latent=16)
    obs, _, _ = make_inputs(policy)
    rows = {name: 0.1 * group.flatten(0, 1) for name, group in obs.items()}
    policy.normalize(rows, observe=True)
    policy.apply_normalization()
    seen = policy.normalize(rows)
    assert torch.equal(seen.pop("scandots"), rows["scandots"])
    for name, group in seen.items():
        assert not torch.allclose(group, rows[name], rtol=0.5), name


def test_own_critic_memory_does_not_share_with_the_actor() -> None:
    policy = make_policy(critic_memory="own")
    obs, state, starts = make_inputs(policy)
    starts = torch.zeros_like(starts)
    distribution, value, _ = policy.sequence(obs, state, starts)
    (of_actor,) = torch.autograd.grad(distribution.mode.sum(), state)
    (of_value,) = torch.autograd.grad(value.sum(), state)
    assert of_actor[0].all() and not of_actor[1].any()
    assert of_value[1].all() and not of_value[0].any()


@pytest.mark.parametrize("critic_memory", ["shared", "own", "none"])
def test_a_policy_of_no_layers_remembers_nothing(critic_memory: str) -> None:
    policy = make_policy(gru_layers=0, critic_memory=critic_memory)
    obs, _, starts = make_inputs(policy)
    state = policy.initial_state(N, torch.device("cpu"))
    assert state.shape[0] == 0
    for values in zip(
        *(outputs_of(policy.sequence(obs, state, s)) for s in (starts, ~starts)), strict=True
    ):
        assert torch.equal(*values)
    reversed_obs = {name: group.flip(0) for name, group in obs.items()}
    _, value, _ = policy.sequence(obs, state, starts)
    _, backwards, _ = policy.sequence(reversed_obs, state, starts)
    assert_close(value.flip(0), backwards)

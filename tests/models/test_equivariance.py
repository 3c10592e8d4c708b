"""A constrained policy commutes with the mirror, and its gradients are those of mirrored data."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from legged_ppo.config.schema import PolicyConfig
from legged_ppo.errors import ConfigError
from legged_ppo.interface import SignedPermutation, Symmetry
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.models.equivariance import Equivariance
from legged_ppo.models.halves import Halves, Space, joined

T, N, ACTIONS = 5, 6, 6
OBS_DIMS: dict[str, Any] = {
    "proprioception": 9,
    "scandots": 7,
    "commands": 3,
    "extrinsics": 5,
    "privileged": 4,
}
DEPTH = (9, 11)
"""Two convolutions make 5 columns of 11, and 2 of 5."""
POLICIES: list[dict[str, Any]] = [
    {"actor_skip": True, "critic_memory": "none", "critic_privileged": True, "critic_hidden": [8]},
    {"gru_layers": 2, "critic_memory": "own", "distribution": "beta"},
    {"gru_layers": 0, "distribution": "state_gaussian", "scandots_latent": 0},
    {"architecture": "rma", "distribution": "fixed_gaussian", "critic_privileged": True},
    {"normalize_observations": False},
    {"depth": DEPTH, "actor_skip": True, "critic_memory": "none", "critic_hidden": [8]},
    {"depth": DEPTH, "critic_memory": "own", "depth_channels": [4], "depth_hidden": []},
    {"depth": (3, 4), "depth_channels": [], "gru_layers": 0},
]


def reflection(width: int, seed: int) -> SignedPermutation:
    """Pairs that change places, half of them with another sign; the others stay, some with another sign."""
    generator = torch.Generator().manual_seed(seed)
    order, sign = torch.arange(width), torch.ones(width)
    chosen = torch.randperm(width, generator=generator)[: width // 2 * 2].tolist()
    for i, (a, b) in enumerate(zip(chosen[::2], chosen[1::2], strict=True)):
        if i % 3 < 2:
            order[a], order[b] = b, a
        sign[a] = sign[b] = (-1.0) ** i
    return SignedPermutation(order, sign)


def make_symmetry() -> Symmetry:
    groups = {name: reflection(width, seed) for seed, (name, width) in enumerate(OBS_DIMS.items())}
    return Symmetry(reflection(ACTIONS, 9), groups)


def make_policy(
    depth: tuple[int, int] | None = None, **changes: Any
) -> tuple[ActorCritic, Equivariance, Symmetry]:
    torch.manual_seed(0)
    small: dict[str, Any] = {
        **{"gru_hidden": 8, "actor_hidden": [10], "scandots_hidden": [6]},
        **{"depth_channels": [2, 6], "depth_hidden": [10]},
    }
    symmetry, dims = make_symmetry(), dict(OBS_DIMS)
    if depth:
        columns = SignedPermutation(torch.arange(depth[1]).flip(0), torch.ones(depth[1]))
        symmetry.observations["depth"], dims["depth"] = columns, depth
    policy = ActorCritic(dims, ACTIONS, PolicyConfig(**small | changes))
    return policy, Equivariance(policy, symmetry), symmetry


def make_obs(policy: ActorCritic, seed: int = 5) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {n: (w,) if isinstance(w, int) else w for n, w in policy.obs_dims.items()}
    return {n: 3 * torch.randn(T, N, *w, generator=generator) + 1 for n, w in shapes.items()}


def outputs(
    policy: ActorCritic, obs: dict[str, torch.Tensor], starts: torch.Tensor
) -> tuple[Any, torch.Tensor]:
    state = policy.initial_state(N, torch.device("cpu"))
    distribution, value, _ = policy.sequence(policy.normalize(obs), state, starts)
    return distribution, value


def learn(policy: ActorCritic, equivariance: Equivariance) -> None:
    """Some steps of an optimizer towards arbitrary actions and values, after statistics of the observations."""
    optimizer = torch.optim.AdamW(policy.parameters(), lr=0.02, weight_decay=0.1)
    obs = make_obs(policy)
    policy.normalize({name: group.flatten(0, 1) for name, group in obs.items()}, observe=True)
    policy.apply_normalization()
    for _ in range(20):
        optimizer.zero_grad()
        lopsided_loss(policy, obs).backward()
        equivariance.project_gradients()
        optimizer.step()


def lopsided_loss(policy: ActorCritic, obs: dict[str, torch.Tensor]) -> torch.Tensor:
    distribution, value = outputs(policy, obs, torch.zeros(T, N, dtype=torch.bool))
    wanted = torch.linspace(-0.9, 0.8, ACTIONS)
    likely = distribution.log_prob(wanted.expand(T, N, ACTIONS))
    return (value - obs["commands"][..., 0]).square().mean() - likely.mean()


@pytest.mark.parametrize("changes", POLICIES)
def test_the_mirrored_robot_does_the_mirrored_action_after_learning(
    changes: dict[str, Any],
) -> None:
    policy, equivariance, symmetry = make_policy(**changes)
    equivariance.initialize()
    learn(policy, equivariance)
    obs = make_obs(policy, seed=6)
    starts = torch.rand(T, N, generator=torch.Generator().manual_seed(1)) < 0.3
    with torch.no_grad():
        distribution, value = outputs(policy, obs, starts)
        mirrored, mirrored_value = outputs(policy, symmetry.reflect(obs), starts)
    torch.testing.assert_close(
        mirrored.mode, symmetry.actions(distribution.mode), rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(mirrored_value, value, rtol=1e-4, atol=1e-5)
    std = distribution.std
    torch.testing.assert_close(mirrored.std, std[..., symmetry.actions.order], rtol=1e-4, atol=1e-5)
    assert distribution.mode.std() > 0.01  # it has learned to do something


@pytest.mark.parametrize("changes", POLICIES)
def test_a_projected_gradient_is_that_of_the_batch_and_its_mirrored_copy(
    changes: dict[str, Any],
) -> None:
    policy, equivariance, symmetry = make_policy(**changes)
    equivariance.initialize()
    obs = make_obs(policy)
    starts = torch.zeros(T, N, dtype=torch.bool)
    actions, weights = torch.rand(T, N, ACTIONS) - 0.5, torch.randn(T, N)

    def gradients(seen: dict[str, torch.Tensor], taken: torch.Tensor) -> list[torch.Tensor]:
        policy.zero_grad()
        distribution, value = outputs(policy, seen, starts)
        ((distribution.log_prob(taken) + value) * weights).mean().backward()
        return [p.grad for p in policy.parameters() if p.grad is not None]

    mirrored = [g.clone() for g in gradients(symmetry.reflect(obs), symmetry.actions(actions))]
    projected = gradients(obs, actions)
    expected = [(own + other) / 2 for own, other in zip(projected, mirrored, strict=True)]
    equivariance.project_gradients()
    torch.testing.assert_close(projected, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("changes", [each for each in POLICIES if "depth" not in each])
@pytest.mark.parametrize("activation", ["elu", "tanh"])
def test_even_and_odd_parts_give_the_same_outputs_and_gradients(
    changes: dict[str, Any], activation: str
) -> None:
    """With hidden layers that fill registers and such that do not."""
    wide = {"gru_hidden": 64, "actor_hidden": [32, 10], "activation": activation}
    policy, equivariance, _ = make_policy(**wide | changes)
    equivariance.initialize()
    obs = policy.normalize(make_obs(policy))
    starts = torch.rand(T, N, generator=torch.Generator().manual_seed(1)) < 0.3
    state = torch.randn(policy.initial_state(N, starts.device).shape)

    def everything(seen: Any) -> list[torch.Tensor]:
        policy.zero_grad()
        distribution, value, after = policy.sequence(seen, state, starts)
        likely = distribution.log_prob(torch.linspace(-0.9, 0.8, ACTIONS).expand(T, N, ACTIONS))
        loss = (value - 1.0).square().mean() - likely.mean() + after.square().mean()
        loss.backward()
        equivariance.project_gradients()
        gradients = [p.grad for p in policy.parameters() if p.grad is not None]
        return [distribution.mode.detach(), value.detach(), after.detach(), *gradients]

    expected = everything(obs)
    parts = equivariance.inputs(obs)
    assert parts is not None
    equivariance.begin_step()
    torch.testing.assert_close(everything(parts), expected, rtol=1e-4, atol=2e-6)
    copy.deepcopy(policy)


def test_parts_are_for_large_enough_memories_without_images() -> None:
    for changes in ({"gru_hidden": 6}, {"depth": DEPTH, "gru_hidden": 64}):
        policy, equivariance, _ = make_policy(**changes)
        obs = policy.normalize(make_obs(policy))
        assert equivariance.inputs(obs) is None
        equivariance.begin_step()
        policy.sequence(obs, policy.initial_state(N, torch.device("cpu")), torch.zeros(T, N) > 0)


def test_parts_of_an_actor_that_is_frozen_leave_it_as_it_is() -> None:
    policy, equivariance, _ = make_policy(gru_hidden=64, critic_memory="own")
    obs = equivariance.inputs(policy.normalize(make_obs(policy)))
    assert obs is not None
    policy.requires_grad_(False)
    for parameter in policy.critic_parameters():
        parameter.requires_grad_(True)
    equivariance.begin_step()
    state = policy.initial_state(N, torch.device("cpu"))
    distribution, value, _ = policy.sequence(obs, state, torch.zeros(T, N) > 0)
    assert not distribution.mode.requires_grad
    value.mean().backward()
    equivariance.project_gradients()
    with_gradient = {name for name, p in policy.named_parameters() if p.grad is not None}
    critics = {id(p) for p in policy.critic_parameters()}
    assert with_gradient == {name for name, p in policy.named_parameters() if id(p) in critics}


def test_parts_are_joined_with_parts_alone() -> None:
    even, odd = torch.arange(6.0).view(2, 3), torch.arange(10.0, 14.0).view(2, 2)
    both = joined([Halves(torch.cat([even, odd], 1), 3), Halves(odd, 1)])
    assert isinstance(both, Halves) and both.even == 4
    assert both.parts.tolist() == [[0, 1, 2, 10, 10, 11, 11], [3, 4, 5, 12, 12, 13, 13]]
    with pytest.raises(AssertionError):
        joined([even, Halves(odd, 1)])


@pytest.mark.parametrize("width", [1, 2, 9])
def test_parts_become_features_again(width: int) -> None:
    space, x = Space(reflection(width, 3)), torch.randn(4, width)
    parts = space.split(x)
    torch.testing.assert_close(space.whole(parts), x)
    mirrored = space.split(reflection(width, 3)(x))
    assert torch.equal(mirrored.parts[:, : parts.even], parts.parts[:, : parts.even])
    assert torch.equal(mirrored.parts[:, parts.even :], -parts.parts[:, parts.even :])


def test_initial_weights_keep_their_norm_and_equal_singular_values() -> None:
    policy, equivariance, _ = make_policy()
    norms = {name: float(p.detach().norm()) for name, p in policy.named_parameters()}
    equivariance.initialize()
    for name, parameter in policy.named_parameters():
        assert float(parameter.detach().norm()) == pytest.approx(norms[name], rel=1e-5)
    for block in policy.get_parameter("trunk.gru.weight_hh_l0").detach().split(8):
        torch.testing.assert_close(block @ block.T, torch.eye(8), rtol=0, atol=1e-5)


def test_projection_changes_equivariant_parameters_in_no_bit_and_removes_the_rest() -> None:
    policy, equivariance, _ = make_policy()
    equivariance.initialize()
    before = {name: p.detach().clone() for name, p in policy.named_parameters()}
    equivariance.project()
    assert all(torch.equal(p, before[name]) for name, p in policy.named_parameters())
    learn(policy, equivariance)
    learned = {name: p.detach().clone() for name, p in policy.named_parameters()}
    equivariance.project()
    assert all(torch.equal(p, learned[name]) for name, p in policy.named_parameters())
    with torch.no_grad():
        policy.value.weight.mul_(torch.linspace(1.0, 2.0, policy.value.in_features))
    lopsided = policy.value.weight.detach().clone()
    equivariance.project()
    assert not torch.equal(policy.value.weight, lopsided)
    half = policy.value.in_features // 2
    assert torch.equal(policy.value.weight[:, :half], policy.value.weight[:, half:])


def test_statistics_are_those_of_observations_and_their_mirrored_copies() -> None:
    policy, _, symmetry = make_policy()
    plain = ActorCritic(OBS_DIMS, ACTIONS, policy.config)
    for seed in (1, 2):
        obs = {name: group.flatten(0, 1) for name, group in make_obs(plain, seed).items()}
        copies = symmetry.reflect(obs)
        policy.normalize(obs, observe=True)
        plain.normalize({n: torch.cat([obs[n], copies[n]]) for n in obs}, observe=True)
        for each in (policy, plain):
            each.apply_normalization()
    assert policy.normalizer is not None and plain.normalizer is not None
    torch.testing.assert_close(policy.normalizer.mean, plain.normalizer.mean)
    torch.testing.assert_close(policy.normalizer.var, plain.normalizer.var)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"gru_hidden": 7}, "even width"),
        ({"actor_hidden": [8, 9]}, "even width"),
        ({"distribution": "categorical"}, "without head.logits.weight"),
        ({"depth": DEPTH, "depth_channels": [5]}, "even width"),
    ],
)
def test_a_policy_without_a_mirror_image_is_refused(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected) as error:
        make_policy(**changes)
    assert error.value.key == "ppo.symmetry"


def test_an_image_whose_last_column_no_convolution_reaches_is_refused() -> None:
    with pytest.raises(ConfigError, match="odd") as error:
        make_policy(depth=(9, 13))
    assert error.value.key == "task.observations.depth.columns"

"""PPO's update of a policy that commutes with the mirror: in even and odd parts, and as any other policy."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from legged_ppo.algorithms.ppo import PPO
from legged_ppo.algorithms.rollout_buffer import Minibatch, RolloutBuffer
from legged_ppo.config.schema import PolicyConfig, PPOConfig
from legged_ppo.interface import SignedPermutation, Symmetry
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.models.equivariance import Equivariance
from legged_ppo.models.halves import Halves
from legged_ppo.runtime.lanes.use import operators_only

STEPS, CHUNK, ROBOTS, ACTIONS = 8, 4, 7, 4
OBS_DIMS: dict[str, Any] = {"proprioception": 9, "scandots": 5, "extrinsics": 3, "privileged": 2}
POLICIES: list[dict[str, Any]] = [
    {"gru_layers": 2, "critic_memory": "own", "distribution": "beta"},
    {"gru_layers": 0, "critic_privileged": True},
    {"architecture": "rma", "distribution": "fixed_gaussian"},
    {"actor_skip": True, "critic_memory": "none", "scandots_latent": 0},
]


@dataclass
class Learner:
    ppo: PPO
    buffer: RolloutBuffer

    def update(self) -> dict[str, Any]:
        return self.ppo.update(self.buffer, torch.zeros(ROBOTS), progress=0.0)

    def parameters(self) -> torch.Tensor:
        return torch.cat([p.detach().flatten() for p in self.ppo.policy.parameters()])


def reversed_order(width: int) -> SignedPermutation:
    """The first entry becomes the last; the one in the middle changes its sign."""
    sign = torch.ones(width)
    if width % 2:
        sign[width // 2] = -1.0
    return SignedPermutation(torch.arange(width).flip(0), sign)


def make_learner(
    policy_changes: dict[str, Any], depth: tuple[int, int] | None = None, **ppo_changes: Any
) -> Learner:
    torch.manual_seed(0)
    dims = OBS_DIMS | ({"depth": depth} if depth else {})
    widths = {name: size if isinstance(size, int) else size[-1] for name, size in dims.items()}
    groups = {name: reversed_order(width) for name, width in widths.items()}
    symmetry = Symmetry(reversed_order(ACTIONS), groups)
    small: dict[str, Any] = {"gru_hidden": 64, "actor_hidden": [32, 10], "critic_hidden": [6]}
    policy = ActorCritic(dims, ACTIONS, PolicyConfig(**small | policy_changes))
    equivariance = Equivariance(policy, symmetry)
    equivariance.initialize()
    defaults: dict[str, Any] = {"num_epochs": 2, "num_minibatches": 3, "learning_rate": 3e-3}
    config = PPOConfig(**defaults | ppo_changes, rollout_length=STEPS, bptt_length=CHUNK)
    generator = torch.Generator().manual_seed(1)
    ppo = PPO(policy, config, generator, equivariance=equivariance)
    return Learner(ppo, filled_buffer(policy))


@torch.no_grad()
def filled_buffer(policy: ActorCritic) -> RolloutBuffer:
    buffer = RolloutBuffer(STEPS, CHUNK, ROBOTS, ACTIONS, torch.device("cpu"))
    state = policy.initial_state(ROBOTS, buffer.device)
    sizes = {n: (w,) if isinstance(w, int) else w for n, w in policy.obs_dims.items()}
    for t in range(STEPS):
        obs = policy.normalize({n: torch.randn(ROBOTS, *size) for n, size in sizes.items()})
        starts, ended = torch.rand(2, ROBOTS) < 0.2
        buffer.store_inputs(t, obs, state, starts)
        distribution, values, state = policy.step(obs, state, starts)
        actions = distribution.mode + 0.1 * torch.randn(ROBOTS, ACTIONS)
        buffer.store_action(t, actions, distribution.log_prob(actions), values)
        buffer.store_outcome(t, torch.randn(ROBOTS), ended, ended, None)
    return buffer


@pytest.mark.parametrize("changes", POLICIES)
@pytest.mark.parametrize("parts", [1, 3])
def test_an_update_in_parts_is_that_of_torchs_operators(
    changes: dict[str, Any], parts: int
) -> None:
    halved, plain = (make_learner(changes, gradient_accumulation=parts) for _ in range(2))
    before = halved.parameters()
    metrics = halved.update()
    with operators_only():
        expected = plain.update()
    assert (halved.parameters() - before).abs().max() > 1e-3
    torch.testing.assert_close(halved.parameters(), plain.parameters(), rtol=0, atol=1e-4)
    for name, value in expected.items():
        assert float(metrics[name]) == pytest.approx(float(value), rel=1e-3, abs=1e-4)
    after = halved.parameters()
    halved.ppo._equivariance.project()  # type: ignore[union-attr]
    assert torch.equal(halved.parameters(), after)


def test_minibatches_are_in_parts_but_in_another_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    for precision, in_parts in (("float32", True), ("tf32", True), ("bfloat16", False)):
        learner = make_learner({}, precision=precision)
        seen: list[Minibatch] = []
        gather = learner.buffer.gather

        def recorded(
            ids: torch.Tensor, gather: Any = gather, seen: list[Minibatch] = seen
        ) -> Minibatch:
            seen.append(gather(ids))
            return seen[-1]

        monkeypatch.setattr(learner.buffer, "gather", recorded)
        learner.update()
        assert {isinstance(each, Halves) for b in seen for each in b.obs.values()} == {in_parts}


def test_a_step_in_parts_that_is_not_finite_changes_nothing() -> None:
    learner = make_learner({"critic_memory": "own"}, normalize_advantages=False)
    learner.update()
    before = learner.parameters()
    learner.buffer.obs["proprioception"][2, :, 4] = torch.nan
    metrics = learner.update()
    assert (metrics["Loss/skipped_steps"], metrics["Loss/optimizer_steps"]) == (6.0, 0.0)
    assert torch.equal(learner.parameters(), before)


@pytest.mark.parametrize("place", ["forward", "backward"])
def test_an_update_that_fails_leaves_a_policy_that_can_be_copied_and_learns(
    monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    learner, other = make_learner({}), make_learner({})

    def fail(*_: Any, **__: Any) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        if place == "forward":
            patch.setattr(learner.ppo, "evaluate", fail)
        else:
            patch.setattr(torch.Tensor, "backward", fail)
        with pytest.raises(MemoryError):
            learner.update()
    assert learner.buffer.inputs is None
    copy.deepcopy(learner.ppo.policy)
    learner.ppo._generator.manual_seed(1)
    for each in (learner, other):
        each.update()
    assert torch.equal(learner.parameters(), other.parameters())


def test_a_camera_without_convolutions_learns_as_it_is() -> None:
    learner = make_learner({"depth_channels": [], "depth_hidden": [6]}, depth=(3, 4))
    before = learner.parameters()
    learner.update()
    assert not torch.equal(learner.parameters(), before)

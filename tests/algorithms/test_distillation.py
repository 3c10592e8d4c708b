"""DAgger on a small environment whose episodes end at random."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from legged_ppo.algorithms.distillation import (
    ACTION_LOSS,
    Distillation,
    DistillationCollector,
    take_over,
)
from legged_ppo.algorithms.rollout_buffer import RolloutBuffer
from legged_ppo.config.schema import DistillationConfig, PolicyConfig
from legged_ppo.interface import Environment, Observations, StepResult
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.models.halves import Inputs
from legged_ppo.models.recurrent_policy import RecurrentPolicy

NUM_ENVS, WINDOW, CHUNK = 12, 12, 6
MakeEnv = Callable[..., Any]
SMALL: dict[str, Any] = {
    "gru_hidden": 16,
    "actor_hidden": [8],
    "scandots_hidden": [8],
    "scandots_latent": 6,
    "critic_privileged": True,
    "critic_memory": "none",
    "depth_channels": [4],
    "depth_hidden": [16],
    "init_std": 0.3,
}


class DepthEnv(Environment):
    """The small environment with a camera: an image of the scandots, and what has been observed and done."""

    def __init__(self, env: Any) -> None:
        self.env, self.num_envs, self.num_actions = env, env.num_envs, env.num_actions
        self.device, self.generator = env.device, env.generator
        self.obs_dims = env.obs_dims | {"depth": (5, 6)}
        self.episode_metrics, self.step_metrics = env.episode_metrics, env.step_metrics
        self.seen: list[Observations] = []
        self.starts = [torch.ones(env.num_envs, dtype=torch.bool)]
        self.actions: list[torch.Tensor] = []

    def reset(self) -> Observations:
        self.seen.append(self._with_depth(self.env.reset()))
        return self.seen[-1]

    def step(self, actions: torch.Tensor) -> StepResult:
        result = self.env.step(actions)
        result.obs = self._with_depth(result.obs)
        self.seen.append(result.obs)
        self.actions.append(actions)
        self.starts.append(result.terminated | result.truncated)
        return result

    def _with_depth(self, obs: Observations) -> Observations:
        return obs | {"depth": obs["scandots"].tanh()[:, None, :].expand(-1, 5, 6).clone()}


@dataclass
class Setup:
    env: DepthEnv
    student: ActorCritic
    teacher: ActorCritic
    distillation: Distillation
    collector: DistillationCollector
    buffer: RolloutBuffer

    def iterate(self, progress: float = 0.5) -> dict[str, Any]:
        next_value, _ = self.collector.collect(self.buffer)
        metrics = self.distillation.update(self.buffer, next_value, progress)
        self.student.apply_normalization()
        return metrics


def make_setup(make_env: MakeEnv, policy: dict[str, Any] | None = None, **changes: Any) -> Setup:
    torch.manual_seed(0)
    env = DepthEnv(make_env(NUM_ENVS))
    config = PolicyConfig(**SMALL | (policy or {}))
    teacher = ActorCritic(env.env.obs_dims, env.num_actions, config)
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    teacher.requires_grad_(False)
    student = ActorCritic(env.obs_dims, env.num_actions, config)
    take_over(student, teacher)
    learning = DistillationConfig(**{"num_minibatches": 3} | changes)
    generator = torch.Generator().manual_seed(1)
    collector = DistillationCollector(
        env, student, teacher, generator, contextlib.nullcontext, learning
    )
    buffer = RolloutBuffer(WINDOW, CHUNK, NUM_ENVS, env.num_actions, env.device)
    scandots = env.obs_dims["scandots"]
    assert isinstance(scandots, int)
    distillation = Distillation(student, learning, "float32", generator, scandots)
    return Setup(env, student, teacher, distillation, collector, buffer)


def test_labels_are_the_teachers_own_along_the_students_way(make_env: MakeEnv) -> None:
    setup = make_setup(make_env)
    labels, states = [], []
    for _ in range(3):
        setup.collector.collect(setup.buffer)
        labels.append(setup.buffer.actions.clone())
        assert setup.buffer.states is not None
        states.append(setup.buffer.states.clone())
    env = setup.env
    assert sum(int(s.sum()) for s in env.starts[1:]) > 20
    expected, carried = [], []
    teacher = RecurrentPolicy(setup.teacher, NUM_ENVS, env.device)
    student = RecurrentPolicy(setup.student, NUM_ENVS, env.device)
    for obs, starts in zip(env.seen[:-1], env.starts[:-1], strict=True):
        teacher.starts = student.starts = starts
        carried.append(student.state)
        expected.append(teacher.act(obs))
        student.act(obs)
    torch.testing.assert_close(torch.cat(labels), torch.stack(expected))
    # The student's state goes on from window to window too; nothing was learned between them.
    found = torch.cat(states)
    torch.testing.assert_close(found, torch.stack(carried[::CHUNK]))
    assert not any(
        torch.equal(action, label) for action, label in zip(env.actions, expected, strict=True)
    )


def test_the_teacher_acts_in_its_share_of_the_robots(make_env: MakeEnv) -> None:
    setup = make_setup(make_env, stochastic=False)
    for share, some, all_ in ((1.0, True, True), (0.5, True, False), (0.0, False, False)):
        first = len(setup.env.actions)
        setup.collector.teacher_share = share
        setup.collector.collect(setup.buffer)
        done = torch.stack(setup.env.actions[first:])
        by_teacher = (done == setup.buffer.actions).all(2)
        assert torch.equal(by_teacher.any(0), by_teacher.all(0)), (
            "a robot has one driver in a window"
        )
        assert bool(by_teacher.any()) == some and bool(by_teacher.all()) == all_


def test_the_share_falls_linearly_to_nothing(make_env: MakeEnv) -> None:
    schedule = make_setup(make_env, teacher_share=0.8, teacher_share_until=0.4).distillation
    shares = [schedule.teacher_share(progress) for progress in (0.0, 0.2, 0.4, 1.0)]
    assert shares == pytest.approx([0.8, 0.4, 0.0, 0.0])


def at_step(obs: Inputs, t: int) -> dict[str, torch.Tensor]:
    return {name: group[t] for name, group in obs.items() if isinstance(group, torch.Tensor)}


@pytest.mark.parametrize("loss", ["mse", "huber"])
def test_gradients_through_resets_are_those_of_single_steps(make_env: MakeEnv, loss: str) -> None:
    setup = make_setup(make_env, loss=loss)
    for _ in range(2):
        setup.iterate()
    setup.collector.collect(setup.buffer)
    ids = torch.arange(2 * NUM_ENVS)
    batch = setup.buffer.gather(ids)
    assert batch.starts[1:].any() and batch.state.abs().max() > 0.1
    student = setup.student
    student.zero_grad(set_to_none=True)
    setup.distillation.losses(batch)[0].backward()
    found = {n: p.grad.clone() for n, p in student.named_parameters() if p.grad is not None}
    student.zero_grad(set_to_none=True)
    total, state = torch.zeros(()), batch.state
    for t in range(CHUNK):
        # A new episode's memory is zeroed before its first step, and no gradient flows through it.
        state = torch.where(batch.starts[t][None, :, None], 0.0, state)
        none = torch.zeros_like(batch.starts[t])
        acted, state = student.act(at_step(batch.obs, t), state, none)
        error = acted.mode - batch.actions[t]
        if loss == "huber":
            size = error.abs()
            total = total + torch.where(size < 1, 0.5 * error.square(), size - 0.5).mean() / CHUNK
        else:
            total = total + error.square().mean() / CHUNK
    total.backward()
    assert len(found) > 8
    for name, parameter in student.named_parameters():
        if name in found:
            torch.testing.assert_close(found[name], parameter.grad, rtol=1e-4, atol=1e-6)
        else:
            assert parameter.grad is None, name


def test_the_student_learns_what_the_teacher_does(make_env: MakeEnv) -> None:
    setup = make_setup(make_env, learning_rate=3e-3)
    losses = [float(setup.iterate()[ACTION_LOSS]) for _ in range(60)]
    # Of ten seeds the last losses were 0.21 to 0.48 of the first, with this one 0.40.
    assert sum(losses[-5:]) / 5 < 0.6 * losses[0]


def test_the_students_features_learn_the_heights_that_it_does_not_see(make_env: MakeEnv) -> None:
    errors = {}
    for weight in (0.0, 1.0):
        setup = make_setup(make_env, learning_rate=3e-3, reconstruction_coef=weight)
        found = [float(setup.iterate()["Loss/reconstruction"]) for _ in range(40)]
        errors[weight] = found[0], sum(found[-5:]) / 5
    assert errors[0.0] == (0.0, 0.0)
    assert errors[1.0][1] < 0.7 * errors[1.0][0]


def test_heights_are_stored_for_a_student_that_reads_none(make_env: MakeEnv) -> None:
    blind_critic = {"critic_memory": "shared", "critic_privileged": False}
    setup = make_setup(make_env, policy=blind_critic, reconstruction_coef=0.5)
    assert "scandots" not in setup.student.obs_dims
    setup.collector.collect(setup.buffer)
    seen = torch.stack([obs["scandots"] for obs in setup.env.seen[:WINDOW]])
    assert torch.equal(setup.buffer.obs["scandots"], seen)
    assert (
        float(setup.distillation.update(setup.buffer, torch.zeros(1), 0.5)["Loss/reconstruction"])
        > 0
    )


def test_the_decoder_is_restored_with_the_optimizer(make_env: MakeEnv) -> None:
    setup = make_setup(make_env, reconstruction_coef=0.5)
    setup.iterate()
    other = make_setup(make_env, reconstruction_coef=0.5).distillation
    other.load_state_dict(setup.distillation.state_dict())
    assert setup.distillation.decoder is not None and other.decoder is not None
    assert torch.equal(other.decoder.weight, setup.distillation.decoder.weight)


def test_a_frozen_base_stays_the_teachers(make_env: MakeEnv) -> None:
    setup = make_setup(make_env, freeze_base=True)
    before = {n: p.clone() for n, p in setup.student.named_parameters()}
    for _ in range(3):
        setup.iterate()
    changed = {n for n, p in setup.student.named_parameters() if not torch.equal(p, before[n])}
    assert any(name.startswith("trunk.gru") for name in changed)
    assert any(name.startswith("trunk.depth_encoder") for name in changed)
    assert not [name for name in changed if name.startswith(("actor", "head", "critic", "value"))]


def test_a_loss_that_is_not_finite_changes_nothing(make_env: MakeEnv) -> None:
    setup = make_setup(make_env)
    next_value, _ = setup.collector.collect(setup.buffer)
    setup.buffer.actions.fill_(torch.nan)
    before = [p.clone() for p in setup.student.parameters()]
    metrics = setup.distillation.update(setup.buffer, next_value, 0.0)
    assert metrics["Loss/optimizer_steps"] == 0 and metrics["Loss/skipped_steps"] == 6
    assert all(map(torch.equal, before, setup.student.parameters()))


def test_a_student_begins_with_the_teachers_modules_and_statistics(make_env: MakeEnv) -> None:
    env = DepthEnv(make_env(4))
    dims = env.env.obs_dims | {"extrinsics": 4}
    teacher = ActorCritic(
        dims, 3, PolicyConfig(**SMALL | {"architecture": "rma", "critic_memory": "shared"})
    )
    changes = {"architecture": "rma", "critic_memory": "shared", "adaptation": True}
    student = ActorCritic(dims | {"depth": (5, 6)}, 3, PolicyConfig(**SMALL | changes))
    assert teacher.normalizer is not None and student.normalizer is not None
    teacher.normalizer.mean.copy_(torch.arange(len(teacher.normalizer.mean)).float())
    teacher.normalizer.count.fill_(7.0)
    new = take_over(student, teacher)
    assert new == [
        "trunk.depth_encoder",
        "trunk.depth_gru",
        "trunk.adaptation_gru",
        "trunk.adaptation_latent",
    ]
    for name in ("actor", "head", "value"):
        ours, theirs = getattr(student, name).state_dict(), getattr(teacher, name).state_dict()
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert "extrinsics" not in student.columns and float(student.normalizer.count) == 7.0
    for group, columns in student.columns.items():
        expected = teacher.normalizer.mean[teacher.columns[group]]
        assert torch.equal(student.normalizer.mean[columns], expected), group


def test_modules_of_other_sizes_begin_anew_as_a_whole(make_env: MakeEnv) -> None:
    env = make_env(4)
    teacher = ActorCritic(env.obs_dims, 3, PolicyConfig(**SMALL))
    student = ActorCritic(env.obs_dims, 3, PolicyConfig(**SMALL | {"scandots_latent": 5}))
    recurrent = student.state_dict()["trunk.gru.weight_hh_l0"].clone()
    new = take_over(student, teacher)
    assert "trunk.gru" in new and "trunk.scandots_encoder" in new and "actor" not in new
    assert torch.equal(student.state_dict()["trunk.gru.weight_hh_l0"], recurrent)

"""The PPO update on real rollouts of a small environment whose episodes end at random."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from legged_ppo.algorithms.collector import Collector
from legged_ppo.algorithms.losses import explained_variance, ppo_losses
from legged_ppo.algorithms.ppo import PPO
from legged_ppo.algorithms.rollout_buffer import Minibatch, RolloutBuffer
from legged_ppo.config.schema import PolicyConfig, PPOConfig
from legged_ppo.interface import Environment
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.runtime import cpu as processor
from legged_ppo.runtime.precision import advice, network_precision

NUM_ENVS, ROLLOUT = 13, 12
MakeEnv = Callable[..., Environment]


@dataclass
class Learner:
    ppo: PPO
    collector: Collector
    buffer: RolloutBuffer

    def collect(self) -> torch.Tensor:
        next_value, _ = self.collector.collect(self.buffer)
        return next_value

    def iterate(self, count: int) -> dict[str, Any]:
        metrics: dict[str, Any] = {}
        for _ in range(count):
            metrics = self.ppo.update(self.buffer, self.collect(), progress=0.3)
            self.ppo.policy.apply_normalization()
        return metrics


def make_learner(
    make_env: MakeEnv,
    policy_changes: dict[str, Any] | None = None,
    num_envs: int = NUM_ENVS,
    **ppo_changes: Any,
) -> Learner:
    torch.manual_seed(0)
    env = make_env(num_envs)
    small: dict[str, Any] = {"gru_hidden": 16, "actor_hidden": [8], "critic_privileged": True}
    policy = ActorCritic(
        env.obs_dims, env.num_actions, PolicyConfig(**small | (policy_changes or {}))
    )
    defaults: dict[str, Any] = {"rollout_length": ROLLOUT, "bptt_length": 4, "num_epochs": 2}
    config = PPOConfig(**defaults | ppo_changes)
    ppo = PPO(policy, config, torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(2)
    collector = Collector(
        env, policy, generator, lambda: network_precision(config.precision, env.device)
    )
    buffer = RolloutBuffer(
        config.rollout_length, config.bptt_length, num_envs, env.num_actions, env.device
    )
    return Learner(ppo, collector, buffer)


def parameters_of(ppo: PPO) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in ppo.policy.parameters()])


def optimizer_steps(ppo: PPO) -> int:
    return int(ppo.optimizer.state[ppo.parameters[0]]["step"])


@pytest.mark.parametrize("bptt_length", [ROLLOUT, 4])
@pytest.mark.parametrize(
    "policy_changes",
    [
        {"gru_layers": 2, "distribution": "state_gaussian"},
        {"critic_memory": "own", "distribution": "beta", "actor_skip": True},
        {"critic_memory": "none"},
    ],
    ids=["two layers", "own critic memory", "critic without memory"],
)
def test_before_the_first_step_every_ratio_is_one_and_every_value_the_collected_one(
    make_env: MakeEnv, policy_changes: dict[str, Any], bptt_length: int
) -> None:
    learner = make_learner(
        make_env, policy_changes, bptt_length=bptt_length, learning_rate=3e-3, max_grad_norm=10.0
    )
    learner.iterate(3)
    learner.collect()
    buffer = learner.buffer
    inside = torch.arange(ROLLOUT) % bptt_length > 0
    assert buffer.starts[inside].any() and buffer.truncated.any() and buffer.terminated.any()
    assert buffer.states is not None and buffer.states[0].abs().max() > 0.1
    for ids in buffer.minibatch_ids(5, torch.Generator().manual_seed(0)):
        batch = buffer.gather(ids)
        distribution, values = learner.ppo.evaluate(batch)
        ratio = (distribution.log_prob(batch.actions) - batch.log_probs).exp()
        torch.testing.assert_close(ratio, torch.ones_like(ratio), rtol=0, atol=1e-5)
        torch.testing.assert_close(values, batch.values, rtol=1e-5, atol=1e-5)


def test_in_bfloat16_every_ratio_is_one_within_a_percent(make_env: MakeEnv) -> None:
    learner = make_learner(make_env, precision="bfloat16")
    learner.iterate(2)
    learner.collect()
    batch = learner.buffer.gather(torch.arange(NUM_ENVS * 3))
    distribution, values = learner.ppo.evaluate(batch)
    ratio = (distribution.log_prob(batch.actions) - batch.log_probs).exp()
    torch.testing.assert_close(ratio, torch.ones_like(ratio), rtol=0, atol=1e-2)
    torch.testing.assert_close(values, batch.values, rtol=1e-2, atol=1e-2)
    assert values.dtype == torch.float32
    with_full_precision, _, _ = learner.ppo.policy.sequence(batch.obs, batch.state, batch.starts)
    assert not torch.equal(with_full_precision.mode, distribution.mode)


def test_a_precision_that_the_processor_lacks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "_words", lambda: frozenset({"avx2"}))
    assert "float32 is faster" in str(advice("bfloat16", torch.device("cpu")))
    assert advice("float32", torch.device("cpu")) is None
    assert advice("bfloat16", torch.device("cuda")) is None
    monkeypatch.setattr(processor, "_words", lambda: frozenset({"avx2", "avx512_bf16"}))
    assert advice("bfloat16", torch.device("cpu")) is None


def test_tf32_is_for_the_network_alone_in_rollout_and_update(
    make_env: MakeEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = make_learner(make_env, precision="tf32")
    seen: dict[str, set[str]] = {"forward": set(), "backward": set(), "environment": set()}

    def note(place: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any, **kwargs: Any) -> Any:
            seen[place].add(torch.get_float32_matmul_precision())
            return call(*args, **kwargs)

        return noted

    policy, env = learner.ppo.policy, learner.collector.env
    monkeypatch.setattr(policy, "step", note("forward", policy.step))
    monkeypatch.setattr(policy, "sequence", note("forward", policy.sequence))
    monkeypatch.setattr(torch.Tensor, "backward", note("backward", torch.Tensor.backward))
    monkeypatch.setattr(env, "step", note("environment", env.step))
    learner.iterate(1)
    assert seen == {"forward": {"high"}, "backward": {"high"}, "environment": {"highest"}}


def test_gradient_accumulation_gives_the_same_parameters(make_env: MakeEnv) -> None:
    whole, parts = make_learner(make_env), make_learner(make_env, gradient_accumulation=3)
    sizes = {
        len(ids)
        for ids in whole.buffer.minibatch_ids(
            whole.ppo.minibatches_per_epoch(whole.buffer), torch.Generator()
        )
    }
    assert any(size % 3 for size in sizes)
    before = parameters_of(whole.ppo)
    metrics, metrics_of_parts = whole.iterate(1), parts.iterate(1)
    assert (parameters_of(whole.ppo) - before).abs().max() > 1e-4
    torch.testing.assert_close(
        parameters_of(parts.ppo), parameters_of(whole.ppo), rtol=0, atol=1e-6
    )
    for name, value in metrics.items():
        assert float(metrics_of_parts[name]) == pytest.approx(float(value), rel=1e-4, abs=1e-6)


def test_an_epoch_uses_every_chunk_once_though_the_division_leaves_a_remainder(
    make_env: MakeEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = make_learner(make_env, num_epochs=2, num_minibatches=4)
    used: list[torch.Tensor] = []
    gather = learner.buffer.gather

    def watched(ids: torch.Tensor) -> Minibatch:
        used.append(ids)
        return gather(ids)

    monkeypatch.setattr(learner.buffer, "gather", watched)
    learner.iterate(1)
    chunks = torch.arange(NUM_ENVS * 3)
    assert len(chunks) % 4 and len(used) == 8
    epochs = torch.cat(used[:4]), torch.cat(used[4:])
    assert all(torch.equal(epoch.sort().values, chunks) for epoch in epochs)
    assert not torch.equal(*epochs)


@pytest.mark.parametrize("distribution", ["gaussian", "beta"])
def test_many_fast_updates_stay_finite(make_env: MakeEnv, distribution: str) -> None:
    learner = make_learner(make_env, {"distribution": distribution}, learning_rate=3e-2)
    metrics = learner.iterate(10)
    assert parameters_of(learner.ppo).isfinite().all()
    assert all(torch.as_tensor(value).isfinite() for value in metrics.values())


def test_update_makes_rewarded_actions_likelier(make_env: MakeEnv) -> None:
    learner = make_learner(make_env, learning_rate=1e-2, gamma=0.01)
    next_value = learner.collect()
    batch = learner.buffer.gather(torch.arange(NUM_ENVS * 3))
    learner.buffer.rewards.copy_(learner.buffer.actions[..., 0] - learner.buffer.actions[..., 1])
    before, _ = learner.ppo.evaluate(batch)
    learner.ppo.update(learner.buffer, next_value, progress=0.0)
    after, _ = learner.ppo.evaluate(batch)
    change = (after.mode - before.mode).mean((0, 1))
    assert change[0] > 0.03 and change[1] < -0.03


def test_target_kl_stops_the_epochs(make_env: MakeEnv) -> None:
    fast: dict[str, Any] = {"learning_rate": 3e-2, "num_epochs": 5, "num_minibatches": 2}
    stopping = make_learner(make_env, target_kl=1e-4, **fast)
    assert stopping.iterate(1)["Policy/kl_early_stop"] == 1.0
    assert optimizer_steps(stopping.ppo) == 2
    patient = make_learner(make_env, target_kl=1e4, **fast)
    assert patient.iterate(1)["Policy/kl_early_stop"] == 0.0
    assert optimizer_steps(patient.ppo) == 10


@pytest.mark.parametrize(("desired_kl", "factor"), [(100.0, 1.5), (1e-9, 1 / 1.5)])
def test_adaptive_schedule_moves_the_optimizers_learning_rate_each_epoch(
    make_env: MakeEnv, desired_kl: float, factor: float
) -> None:
    learner = make_learner(
        make_env, schedule="adaptive", desired_kl=desired_kl, learning_rate=1e-3, num_epochs=3
    )
    metrics = learner.iterate(1)
    assert metrics["Loss/learning_rate"] == pytest.approx(1e-3 * factor**3)
    # The optimizer's own still is the last epoch's: the rule looks back at an epoch.
    assert learner.ppo.optimizer.param_groups[0]["lr"] == pytest.approx(1e-3 * factor**2)


def test_restored_optimizer_and_schedule_continue_bit_for_bit(make_env: MakeEnv) -> None:
    learner = make_learner(make_env, schedule="adaptive", desired_kl=100.0, weight_decay=0.1)
    learner.iterate(2)
    assert learner.ppo.learning_rate > 2 * learner.ppo.config.learning_rate
    next_value = learner.collect()
    restored = PPO(
        copy.deepcopy(learner.ppo.policy), learner.ppo.config, torch.Generator().manual_seed(9)
    )
    restored.load_state_dict(copy.deepcopy(learner.ppo.state_dict()))
    learner.ppo._generator.manual_seed(9)
    for ppo in (learner.ppo, restored):
        ppo.update(copy.deepcopy(learner.buffer), next_value, progress=0.5)
    assert restored.learning_rate == learner.ppo.learning_rate
    assert torch.equal(parameters_of(restored), parameters_of(learner.ppo))


def test_one_pass_over_one_minibatch_is_a2c(make_env: MakeEnv) -> None:
    learner = make_learner(make_env, num_epochs=1, num_minibatches=1, value_clip_range=None)
    learner.iterate(1)
    ppo, buffer, c = learner.ppo, learner.buffer, learner.ppo.config
    ppo.estimate_advantages(buffer, learner.collect())
    batch = buffer.gather(torch.arange(buffer.num_chunks * buffer.learned_envs))

    def gradient_of(loss: torch.Tensor) -> torch.Tensor:
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, ppo.parameters)])

    distribution, values = ppo.evaluate(batch)
    gain = (batch.advantages * distribution.log_prob(batch.actions)).mean()
    error = (values - batch.returns).square().mean()
    entropy = distribution.entropy().mean()
    a2c = gradient_of(c.value_coef * error - gain - c.entropy_coef * entropy)
    distribution, values = ppo.evaluate(batch)
    losses = ppo_losses(
        distribution, values, batch, c.clip_range, None, c.value_coef, c.entropy_coef
    )
    torch.testing.assert_close(gradient_of(losses.total), a2c, rtol=1e-4, atol=1e-6)


def test_runs_with_the_same_seeds_are_bit_identical(make_env: MakeEnv) -> None:
    first, second = make_learner(make_env), make_learner(make_env)
    metrics, metrics_2 = first.iterate(3), second.iterate(3)
    assert torch.equal(parameters_of(first.ppo), parameters_of(second.ppo))
    assert all(float(metrics[name]) == float(metrics_2[name]) for name in metrics)


def test_a_step_whose_loss_is_not_finite_is_skipped_and_counted(make_env: MakeEnv) -> None:
    learner = make_learner(make_env, num_epochs=2, num_minibatches=4)
    learner.iterate(1)
    ppo, next_value = learner.ppo, learner.collect()
    learner.buffer.rewards[3, 5] = torch.nan
    before, steps = parameters_of(ppo), optimizer_steps(ppo)
    state = copy.deepcopy(ppo.optimizer.state_dict()["state"])
    metrics = ppo.update(learner.buffer, next_value, progress=0.0)
    assert (metrics["Loss/skipped_steps"], metrics["Loss/optimizer_steps"]) == (8.0, 0.0)
    assert torch.equal(parameters_of(ppo), before) and optimizer_steps(ppo) == steps
    after = ppo.optimizer.state_dict()["state"]
    assert all(torch.equal(after[i][n], state[i][n]) for i in state for n in state[i])
    healthy = learner.iterate(1)
    assert (healthy["Loss/skipped_steps"], healthy["Loss/optimizer_steps"]) == (0.0, 8.0)
    assert not torch.equal(parameters_of(ppo), before)


def test_only_the_steps_that_are_not_finite_are_skipped(make_env: MakeEnv) -> None:
    learner = make_learner(make_env, num_epochs=1, num_minibatches=4, normalize_advantages=False)
    next_value = learner.collect()
    learner.buffer.log_probs[ROLLOUT - 1, 5] = torch.nan
    metrics = learner.ppo.update(learner.buffer, next_value, progress=0.0)
    assert (metrics["Loss/skipped_steps"], metrics["Loss/optimizer_steps"]) == (1.0, 3.0)
    assert parameters_of(learner.ppo).isfinite().all()


def test_a_finite_gradient_of_an_infinite_loss_is_skipped(
    make_env: MakeEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = make_learner(make_env)
    evaluate = learner.ppo._evaluate_losses

    def infinite(batch: Minibatch) -> Any:
        distribution, losses = evaluate(batch)
        return distribution, replace(losses, total=losses.total + torch.inf)

    monkeypatch.setattr(learner.ppo, "_evaluate_losses", infinite)
    assert learner.iterate(1)["Loss/optimizer_steps"] == 0.0


def test_a_single_sample_leaves_the_weights_finite(make_env: MakeEnv) -> None:
    learner = make_learner(make_env, num_envs=1, rollout_length=1, bptt_length=1)
    metrics = learner.iterate(3)
    assert metrics["Loss/skipped_steps"] == 0.0
    assert parameters_of(learner.ppo).isfinite().all()
    assert all(torch.as_tensor(value).isfinite() for value in metrics.values())


@pytest.mark.parametrize("restored", [False, True])
def test_weights_alone_decay(make_env: MakeEnv, restored: bool) -> None:
    ppo = make_learner(make_env, weight_decay=0.0 if restored else 0.5).ppo
    if restored:  # a resumed run may ask for another decay
        config = replace(ppo.config, weight_decay=0.5)
        other = PPO(ppo.policy, config, torch.Generator())
        other.load_state_dict(ppo.state_dict())
        ppo = other
    with torch.no_grad():
        for parameter in ppo.parameters:
            parameter.fill_(1.0)
            parameter.grad = torch.zeros_like(parameter)
    ppo.optimizer.step()
    shrunk = {p.dim() > 1: bool((p < 1.0).all()) for p in ppo.parameters}
    assert shrunk == {True: True, False: False}
    assert all((p == 1.0).all() for p in ppo.parameters if p.dim() <= 1)


def test_explained_variance_is_of_the_learned_environments_alone(make_env: MakeEnv) -> None:
    learner = make_learner(make_env, num_epochs=1)
    learner.buffer.learned_envs, own = 6, slice(6)
    next_value = learner.collect()
    learner.buffer.values[:, 6:] = 1e3
    found = learner.ppo.update(learner.buffer, next_value, 0.0)["Policy/explained_variance"]
    values, returns = learner.buffer.values[:, own], learner.buffer.returns[:, own]
    assert float(found) == float(explained_variance(values, returns))

"""PPO: one update of a recurrent policy from one rollout, top to bottom in `update`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch

from legged_ppo.algorithms.gae import gae
from legged_ppo.algorithms.losses import (
    LOSS_METRICS,
    Losses,
    explained_variance,
    mirror_loss,
    ppo_losses,
)
from legged_ppo.algorithms.optimizer import GuardedAdamW
from legged_ppo.algorithms.rollout_buffer import Minibatch, RolloutBuffer
from legged_ppo.algorithms.schedules import (
    adapted_learning_rate,
    annealed,
    scheduled_learning_rate,
)
from legged_ppo.config.schema import PPOConfig
from legged_ppo.interface import SignedPermutation
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.models.distributions import ActionDistribution
from legged_ppo.models.equivariance import Equivariance
from legged_ppo.runtime import distributed
from legged_ppo.runtime.cuda_graphs import Captured, Recorder
from legged_ppo.runtime.owned_state import OwnedState
from legged_ppo.runtime.precision import matmul_precision, network_precision

_SKIPPED = "Loss/skipped_steps"
_GRADIENT_METRICS = (*LOSS_METRICS, "Loss/grad_norm", _SKIPPED)
_SYMMETRY = "Loss/symmetry"


class PPO(OwnedState):
    """Optimizer, schedule and update of one policy.

    Args:
        generator: source of the minibatches' order, on the policy's device.
        mirror: reflection of actions; with it the second half of a buffer's environments are mirrored copies of
            the first, and `symmetry` selects what is learned from them.
        recorder: records optimizer steps as CUDA graphs, which are then replayed; None runs each eagerly.
        equivariance: the constraint that every optimizer step keeps; None leaves the policy unconstrained.
    """

    owned = ("learning_rate", "_entropy_coef")

    def __init__(
        self,
        policy: ActorCritic,
        config: PPOConfig,
        generator: torch.Generator,
        mirror: SignedPermutation | None = None,
        recorder: Recorder | None = None,
        equivariance: Equivariance | None = None,
    ) -> None:
        self.policy, self.config, self._generator = policy, config, generator
        self._mirror, self.recorder, self._equivariance = mirror, recorder, equivariance
        self._metrics = _GRADIENT_METRICS if mirror is None else (*_GRADIENT_METRICS, _SYMMETRY)
        self.parameters = list(policy.parameters())
        self._guarded = GuardedAdamW(
            self.parameters,
            config.learning_rate,
            config.weight_decay,
            config.max_grad_norm,
            generator.device,
        )
        self.optimizer = self._guarded.adamw
        self.learning_rate = self._guarded.learning_rate
        """scalar float64 on the device"""
        self._actor_frozen = False
        self._entropy_coef = torch.zeros((), device=generator.device)
        self._captured: tuple[RolloutBuffer, Captured] | None = None

    def update(
        self, buffer: RolloutBuffer, next_value: torch.Tensor, progress: float
    ) -> dict[str, torch.Tensor | float]:
        """Improve the policy on a full buffer. An optimizer step whose loss or gradient is not finite
        is skipped on the device and counted.

        Args:
            next_value: [N], value of the observation after the rollout's last step.
            progress: completed share of the run, in [0, 1].

        Returns:
            metrics; tensors are scalars on the device, to be read once an iteration.
        """
        c = self.config
        self.estimate_advantages(buffer, next_value)
        if c.schedule != "adaptive":
            self.learning_rate.fill_(scheduled_learning_rate(c, progress))
        entropy_coef = annealed(c.entropy_coef, c.entropy_coef_final, progress)
        self._entropy_coef.fill_(entropy_coef)
        desired_kl = annealed(c.desired_kl, c.desired_kl_final, progress)

        per_epoch = self.minibatches_per_epoch(buffer)
        totals = torch.zeros(len(self._metrics), device=buffer.device)
        minibatches, stopped = 0, 0.0
        optimize = self.optimizer_step(buffer)
        with self._keeping_symmetry(buffer):
            for _ in range(c.num_epochs):
                epoch = torch.zeros_like(totals)
                count = 0
                for minibatch_ids in buffer.minibatch_ids(per_epoch, self._generator):
                    epoch += optimize(minibatch_ids)
                    count += 1
                totals += epoch
                minibatches += count
                if self._after_epoch(epoch / count, desired_kl):
                    stopped = 1.0
                    break
        metrics: dict[str, torch.Tensor | float] = dict(
            zip(self._metrics, (totals / minibatches).unbind(), strict=True)
        )
        metrics[_SKIPPED] = totals[self._metrics.index(_SKIPPED)]  # a sum
        metrics["Loss/optimizer_steps"] = minibatches - metrics[_SKIPPED]
        metrics["Loss/learning_rate"] = self.learning_rate.clone()
        metrics["Loss/entropy_coef"] = entropy_coef
        learned = slice(buffer.learned_envs)
        metrics["Policy/explained_variance"] = explained_variance(
            buffer.values[:, learned], buffer.returns[:, learned]
        )
        metrics["Policy/kl_early_stop"] = stopped
        return metrics

    def minibatches_per_epoch(self, buffer: RolloutBuffer) -> int:
        """`num_minibatches`, or the number that gives each about `sequences_per_minibatch` chunks."""
        total = buffer.num_chunks * buffer.learned_envs
        wanted = self.config.sequences_per_minibatch
        return max(1, round(total / wanted)) if wanted else self.config.num_minibatches

    def evaluate(self, batch: Minibatch) -> tuple[ActionDistribution, torch.Tensor]:
        """Distribution and values [L, B] of the current policy on a minibatch."""
        with network_precision(self.config.precision, batch.starts.device):
            distribution, values, _ = self.policy.sequence(batch.obs, batch.state, batch.starts)
        return distribution, values

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's state and the learning rate."""
        return self._guarded.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned; hyperparameters other than the learning rate stay this run's."""
        self._guarded.load_state_dict(state)
        self._captured = None  # its graphs have the addresses of the old moments

    def freeze_actor(self, frozen: bool) -> None:
        """Improve the value function alone from now on, or everything again. Meanwhile the adaptive rule, which
        measures the actor's steps, leaves the learning rate as it is."""
        if frozen == self._actor_frozen:
            return
        self._actor_frozen, self._captured = frozen, None
        self.policy.requires_grad_(not frozen)
        for parameter in self.policy.critic_parameters():
            parameter.requires_grad_(True)

    def estimate_advantages(self, buffer: RolloutBuffer, next_value: torch.Tensor) -> None:
        """Fill the buffer's advantages (normalised, where configured) and returns."""
        c = self.config
        advantages, returns = gae(
            buffer.rewards,
            buffer.values,
            next_value,
            buffer.terminated,
            buffer.truncated,
            buffer.final_values,
            c.gamma,
            c.gae_lambda,
        )
        if c.normalize_advantages:
            advantages = _normalized(advantages, buffer.learned_envs)
        buffer.advantages.copy_(advantages)
        buffer.returns.copy_(returns)

    def optimizer_step(self, buffer: RolloutBuffer) -> Callable[[torch.Tensor], torch.Tensor]:
        """`optimize` on this buffer, of chunks with given ids."""
        if self.recorder is None:
            return partial(self.optimize, buffer)
        if self._captured is None or self._captured[0] is not buffer:
            work = Captured(partial(self.optimize, buffer), self.recorder, "the update")
            self._captured = (buffer, work)
        return self._captured[1]

    def optimize(self, buffer: RolloutBuffer, chunk_ids: torch.Tensor) -> torch.Tensor:
        """One optimizer step; returns the metrics on the device, in the order of their names."""
        c = self.config
        metrics = torch.zeros(len(LOSS_METRICS), device=buffer.device)
        asymmetry = torch.zeros(0 if self._mirror is None else 1, device=buffer.device)
        loss_sum = torch.zeros(1, device=buffer.device)
        self.optimizer.zero_grad(set_to_none=True)
        if self._equivariance is not None and buffer.inputs is not None:
            self._equivariance.begin_step()
        for part in torch.tensor_split(chunk_ids, min(c.gradient_accumulation, len(chunk_ids))):
            share = len(part) / len(chunk_ids)
            distribution, losses = self._evaluate_losses(buffer.gather(part))
            total = losses.total
            if self._mirror is not None:
                copies = buffer.gather(part + buffer.learned_envs)
                mirrored, mirrored_losses = self._evaluate_losses(copies)
                if c.symmetry == "augmentation":
                    total = (total + mirrored_losses.total) / 2
                loss = mirror_loss(distribution.mode, mirrored.mode, self._mirror)
                total = total + c.symmetry_coef * loss
                asymmetry += loss.detach() * share
            with matmul_precision(c.precision):
                (total * share).backward()
            loss_sum += total.detach() * share
            metrics += losses.metrics * share
        if self._equivariance is not None:
            self._equivariance.project_gradients()
        norm, skip = self._guarded.step(loss_sum)
        return torch.cat([metrics, torch.stack([norm, skip]), asymmetry])

    @contextlib.contextmanager
    def _keeping_symmetry(self, buffer: RolloutBuffer) -> Iterator[None]:
        """Scope of an update's optimizer steps, in which minibatches have even and odd parts where the policy
        can compute with them; its parameters equal their reflections at the end."""
        symmetry = self._equivariance
        if symmetry is None:
            yield
            return
        with network_precision(self.config.precision, buffer.device):
            buffer.inputs = symmetry.inputs(buffer.obs)
        try:
            yield
        finally:
            buffer.inputs = None
            symmetry.abandon_step()
        symmetry.project()  # vector and scalar instructions round differently

    def _evaluate_losses(self, batch: Minibatch) -> tuple[ActionDistribution, Losses]:
        c = self.config
        distribution, values = self.evaluate(batch)
        losses = ppo_losses(
            distribution,
            values,
            batch,
            c.clip_range,
            c.value_clip_range,
            c.value_coef,
            self._entropy_coef,
        )
        return distribution, losses

    def _after_epoch(self, metrics: torch.Tensor, desired_kl: float) -> bool:
        """Adapt the learning rate; True if no further epoch is to follow. Synchronises with the device only
        if `target_kl` is set."""
        c = self.config
        if c.schedule != "adaptive" and c.target_kl is None:
            return False
        kl = distributed.mean(metrics[LOSS_METRICS.index("Policy/approx_kl")])
        if c.schedule == "adaptive" and not self._actor_frozen:
            self.learning_rate.copy_(adapted_learning_rate(self.learning_rate, kl, desired_kl))
        return c.target_kl is not None and float(kl) > c.target_kl


def _normalized(advantages: torch.Tensor, learned: int) -> torch.Tensor:
    """Mean 0 and standard deviation 1 over the first `learned` environments [T, N] of all ranks; a
    single sample becomes 0."""
    count = advantages[:, :learned].numel() * distributed.world_size()
    centred = advantages - distributed.mean(advantages[:, :learned].mean())
    variance = distributed.sum_(centred[:, :learned].square().sum()) / max(count - 1, 1)
    return centred / (variance.sqrt() + 1e-8)

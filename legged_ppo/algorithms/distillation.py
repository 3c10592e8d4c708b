"""Distillation by DAgger (Ross et al., 2011): the student acts, the teacher labels what the student met.

The teacher has a memory of its own. It runs along the student's trajectory, over the observations that only
the teacher has, and is zeroed where an episode begins, so that a label is what the teacher would do had it come
there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.nn import functional

from legged_ppo.algorithms.collector import Collector, add_metrics
from legged_ppo.algorithms.optimizer import GuardedAdamW
from legged_ppo.algorithms.rollout_buffer import Minibatch, RolloutBuffer
from legged_ppo.algorithms.schedules import annealed, cosine
from legged_ppo.config.schema import DistillationConfig
from legged_ppo.interface import Environment
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.models.equivariance import Equivariance
from legged_ppo.models.linear import Linear
from legged_ppo.models.trunks import SCANDOTS
from legged_ppo.runtime import distributed
from legged_ppo.runtime.precision import matmul_precision, network_precision

ACTION_LOSS = "Loss/action"


class DistillationCollector(Collector):
    """Fills a buffer with steps of student and teacher; its actions are the teacher's mean actions, the labels.

    The student's recurrent state goes on from one window to the next, as the teacher's does.

    Args:
        teacher: of observation groups that the environment has; it is not changed.
        config: whether the executed actions are sampled, and what is stored beside the student's observations.
    """

    owned: tuple[str, ...] = (*Collector.owned, "teacher_state")

    def __init__(
        self,
        env: Environment,
        student: ActorCritic,
        teacher: ActorCritic,
        generator: torch.Generator,
        precision: Callable[[], contextlib.AbstractContextManager[Any]],
        config: DistillationConfig,
    ) -> None:
        super().__init__(env, student, generator, precision)
        self.teacher, self._stochastic = teacher, config.stochastic
        self._with_heights = config.reconstruction_coef > 0.0
        self.teacher_state = teacher.initial_state(env.num_envs, env.device)
        self.teacher_share = 0.0
        """Share of the robots in which the teacher acts during the next window."""

    def restart(self) -> None:
        """Begin new episodes everywhere."""
        super().restart()
        self.teacher_state.zero_()

    @torch.no_grad()
    def collect(self, buffer: RolloutBuffer) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Fill the buffer.

        Returns:
            zeros [N] in place of a value, and the sums of `Collector.collect`.
        """
        sums: dict[str, torch.Tensor] = {}
        seen, state, starts, memory = self.obs, self.state, self.starts, self.teacher_state
        with_latents = self.policy.frame_memory()
        drawn = torch.rand(len(starts), generator=self._generator, device=starts.device)
        by_teacher = (drawn < self.teacher_share)[:, None]
        layers = self.policy.trunk.actor_layers
        for t in range(buffer.rollout_length):
            obs = self.policy.normalize(seen, observe=True)
            heights = {SCANDOTS: seen[SCANDOTS]} if self._with_heights else {}
            buffer.store_inputs(t, obs | heights, state, starts)
            with self._precision():
                own, after = self.policy.act(with_latents(obs), state, starts)
            label, memory = self.teacher.act(self.teacher.normalize(seen), memory, starts)
            # A critic's layers rest; the critic learns later, from states of its own.
            state = torch.cat([after, state[layers:]])
            distributions = label, own
            shown, acted = (
                each.sample(self._generator) if self._stochastic else each.mode
                for each in distributions
            )
            zero = torch.zeros_like(drawn)
            buffer.store_action(t, label.mode, zero, zero)
            result, nonfinite = self._clean(self.env.step(torch.where(by_teacher, shown, acted)))
            buffer.store_outcome(t, result.reward, result.terminated, result.truncated, zero)
            seen, starts = result.obs, result.terminated | result.truncated
            add_metrics(sums, result, nonfinite)
        self._keep(seen, state, starts)
        self.teacher_state.copy_(memory)
        return torch.zeros_like(drawn), sums


class Distillation:
    """Optimizer and update of a student from labelled windows.

    With `reconstruction_coef` a linear layer, which only the distillation has, computes the scandots from the
    features that the action MLP reads, so that the memory keeps the ground that the camera no longer sees, as the
    belief encoder of Miki et al. (Science Robotics, 2022) does.

    Args:
        precision: of the network's products, as `ppo.precision`.
        generator: source of the minibatches' order, on the policy's device.
        scandots: width of that observation group.
        equivariance: the constraint that every optimizer step keeps; None leaves the student unconstrained.
    """

    def __init__(
        self,
        student: ActorCritic,
        config: DistillationConfig,
        precision: str,
        generator: torch.Generator,
        scandots: int,
        equivariance: Equivariance | None = None,
    ) -> None:
        self.policy, self.config = student, config
        self._precision, self._generator = precision, generator
        self._equivariance = equivariance
        self.decoder: Linear | None = None
        if config.reconstruction_coef > 0.0:
            self.decoder = Linear(student.trunk.actor_width, scandots).to(generator.device)
            distributed.broadcast_(self.decoder.state_dict().values())
        student.requires_grad_(True)
        if config.freeze_base:
            for part in (student.actor, student.head):
                part.requires_grad_(False)
        self._guarded = GuardedAdamW(
            student.parameters(),
            config.learning_rate,
            config.weight_decay,
            config.max_grad_norm,
            generator.device,
            beside=[] if self.decoder is None else self.decoder.parameters(),
        )

    def update(
        self, buffer: RolloutBuffer, next_value: torch.Tensor, progress: float
    ) -> dict[str, torch.Tensor | float]:
        """Bring the student's mean actions nearer to the labels of a full buffer.

        Args:
            next_value: not used: no return is estimated.
            progress: completed share of the distillation, in [0, 1].

        Returns:
            metrics; tensors are scalars on the device. `Loss/action` and `Loss/reconstruction` are means over all
            minibatches, each taken before its step.
        """
        c = self.config
        rate = cosine(c.learning_rate, c.learning_rate * c.final_lr_fraction, progress)
        self._guarded.learning_rate.fill_(rate)
        totals, minibatches = torch.zeros(4, device=buffer.device), 0
        for _ in range(c.num_epochs):
            for ids in buffer.minibatch_ids(c.num_minibatches, self._generator):
                totals += self._optimize(buffer.gather(ids))
                minibatches += 1
        loss, reconstruction, norm, skipped = totals.unbind()
        return {
            ACTION_LOSS: loss / minibatches,
            "Loss/reconstruction": reconstruction / minibatches,
            "Loss/grad_norm": norm / minibatches,
            "Loss/skipped_steps": skipped,
            "Loss/optimizer_steps": minibatches - skipped,
            "Loss/learning_rate": rate,
            "Distillation/teacher_share": self.teacher_share(progress),
        }

    def teacher_share(self, progress: float) -> float:
        """Share of the robots in which the teacher acts, at `progress` in [0, 1] of the distillation."""
        c = self.config
        return annealed(c.teacher_share, 0.0, progress / c.teacher_share_until)

    def losses(self, batch: Minibatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean distances of the student's mean actions from the labels `batch.actions` [L, B, A], and of the
        reconstructed scandots from the true ones; 0 without a reconstruction."""
        with network_precision(self._precision, batch.starts.device):
            features, _ = self.policy.trunk.act(batch.obs, batch.state, batch.starts)
            mean = self.policy.head(self.policy.actor(features)).mode.float()
            distance = functional.huber_loss if self.config.loss == "huber" else functional.mse_loss
            if self.decoder is None:
                return distance(mean, batch.actions), mean.new_zeros(())
            heights = self.decoder(features).float()
        seen = batch.obs[SCANDOTS]
        assert isinstance(seen, torch.Tensor)
        return distance(mean, batch.actions), functional.mse_loss(heights, seen)

    def _optimize(self, batch: Minibatch) -> torch.Tensor:
        """One optimizer step; both losses, gradient norm and whether it was skipped [4]."""
        self._guarded.adamw.zero_grad(set_to_none=True)
        action, reconstruction = self.losses(batch)
        loss = action + self.config.reconstruction_coef * reconstruction
        with matmul_precision(self._precision):
            loss.backward()
        symmetry = self._equivariance
        if symmetry is not None:
            symmetry.project_gradients()
        norm, skip = self._guarded.step(loss.detach().reshape(1).clone())
        if symmetry is not None:
            symmetry.project()  # vector and scalar instructions round differently
        return torch.stack([action.detach(), reconstruction.detach(), norm, skip])

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's state, the learning rate and the decoder."""
        decoder = {} if self.decoder is None else self.decoder.state_dict()
        return self._guarded.state_dict() | {"decoder": decoder}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned; without a saved decoder a new one begins."""
        self._guarded.load_state_dict(state)
        if self.decoder is not None and state["decoder"]:
            self.decoder.load_state_dict(state["decoder"])


@torch.no_grad()
def take_over(student: ActorCritic, teacher: ActorCritic) -> list[str]:
    """Copy the modules whose parameters have the same names and shapes in both, and the teacher's statistics of
    the observation groups that both normalise, into the student.

    Returns:
        names of the student's other modules: those that learn from the beginning.
    """
    theirs, own = _parameters_by_module(teacher), _parameters_by_module(student)
    new = []
    for module, parameters in own.items():
        found = theirs.get(module, {})
        if {k: p.shape for k, p in found.items()} != {k: p.shape for k, p in parameters.items()}:
            new.append(module)
            continue
        for name, parameter in parameters.items():
            parameter.copy_(found[name])
    if student.normalizer is not None and teacher.normalizer is not None:
        for group in student.columns.keys() & teacher.columns.keys():
            mine, other = student.columns[group], teacher.columns[group]
            student.normalizer.mean[mine] = teacher.normalizer.mean[other]
            student.normalizer.var[mine] = teacher.normalizer.var[other]
        student.normalizer.count.copy_(teacher.normalizer.count)
    return new


def _parameters_by_module(policy: ActorCritic) -> dict[str, dict[str, torch.Tensor]]:
    """The parameters of actor, head, critic, value and each part of the trunk (`trunk.gru`)."""
    found: dict[str, dict[str, torch.Tensor]] = {}
    for name, parameter in policy.named_parameters():
        parts = name.split(".")
        module = ".".join(parts[: 2 if parts[0] == "trunk" else 1])
        found.setdefault(module, {})[name] = parameter
    return found

"""Phase 2: the training loop of a student, first by DAgger, then by PPO from the distilled student."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

from legged_ppo.algorithms.distillation import Distillation, DistillationCollector, take_over
from legged_ppo.config.schema import Config
from legged_ppo.evaluation.task import PolicyScorer, score_policy
from legged_ppo.interface import Environment, Symmetry
from legged_ppo.models.trunks import SCANDOTS
from legged_ppo.runs.run_directory import RunDirectory
from legged_ppo.runtime import distributed
from legged_ppo.training.attempt import attempt
from legged_ppo.training.logger import Metrics
from legged_ppo.training.teacher import Teacher
from legged_ppo.training.trainer import Callback, Trainer

_log = logging.getLogger(__name__)


class Distiller(Trainer):
    """One run of Phase 2. It is a `Trainer` whose learner changes: `Distillation` until `distillation.steps`,
    `PPO` from there on, at first with a frozen actor.

    Args:
        teacher: whose actions are learned; its weights begin the student's.
        checkpoint: what `load_checkpoint` returned, to go on with that run.
    """

    def __init__(
        self,
        config: Config,
        env: Environment,
        run: RunDirectory,
        teacher: Teacher,
        checkpoint: dict[str, Any] | None = None,
        scorer: PolicyScorer | None = score_policy,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.teacher, self.finetuning = teacher, False
        super().__init__(config, env, run, checkpoint, None, scorer, callbacks)

    def _make_learner(self, symmetry: Symmetry | None) -> None:
        """Of the present stage, with new episodes."""
        if self.finetuning:
            self.policy.requires_grad_(True)
            super()._make_learner(symmetry)
            return
        new = take_over(self.policy, self.teacher.policy)
        if self._equivariance is not None:
            self._equivariance.project()
        if distributed.is_main():
            _log.info("the student begins as its teacher but for: %s", ", ".join(new) or "nothing")
        config, env = self.config, self.env
        scandots = env.obs_dims[SCANDOTS]
        assert isinstance(scandots, int)
        self.distillation = Distillation(
            self.policy,
            config.distillation,
            config.ppo.precision,
            self.generator,
            scandots,
            self._equivariance,
        )
        self.learner, self.buffer = self.distillation, self._make_buffer(env)
        self._labelled = DistillationCollector(
            env,
            self.policy,
            self.teacher.policy,
            self.generator,
            self._precision,
            config.distillation,
        )
        self.collector = self._labelled
        self.collect = partial(self._labelled.collect, self.buffer)

    def iterate(self) -> Metrics:
        """See `Trainer`."""
        steps, config = self.counters.env_steps, self.config.distillation
        if not self.finetuning and steps >= config.steps:
            self._finish_distillation()
        if not self.finetuning:
            share = self.distillation.teacher_share(self._progress()[1])
            self._labelled.teacher_share = share
            return super().iterate()
        warmup = steps < config.steps + config.critic_warmup
        self.ppo.freeze_actor(warmup)
        metrics = super().iterate()
        if warmup:
            # No advice is due on an actor that does not move by intention.
            del metrics["Policy/clip_fraction"]
        return metrics

    def _progress(self) -> tuple[float, float]:
        """The teacher has learned under the whole range of commands already; schedules follow the stage."""
        steps, total = self.config.distillation.steps, self.config.training.total_timesteps
        if self.finetuning:
            return 1.0, (self.counters.env_steps - steps) / max(total - steps, 1)
        return 1.0, self.counters.env_steps / min(steps, total)

    def _finish_distillation(self) -> None:
        """Keep the distilled student, and let PPO begin from it."""
        self.policy.load_state_dict(self.judged_policy().state_dict())
        if self._equivariance is not None:
            self._equivariance.project()
        save = partial(self.run.write_checkpoint, self.run.distilled, self.state_dict())
        written = attempt(save, "without a copy of the student before fine-tuning")
        if written and distributed.is_main():
            _log.info("distilled: %s; fine-tuning from here on", self.run.distilled)
        self.finetuning = True
        self._make_learner(None)

    def state_dict(self) -> dict[str, Any]:
        """See `Trainer`."""
        return super().state_dict() | {"finetuning": self.finetuning}

    def _restore(self, checkpoint: dict[str, Any]) -> None:
        if checkpoint["finetuning"]:
            self.finetuning = True
            self._make_learner(None)
        super()._restore(checkpoint)

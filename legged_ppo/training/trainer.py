"""The training loop: collect, update, log, checkpoint; bit for bit the same after a resume on the CPU."""

from __future__ import annotations

import contextlib
import math
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from legged_ppo.algorithms.collector import Collector
from legged_ppo.algorithms.learner import Learner
from legged_ppo.algorithms.ppo import PPO
from legged_ppo.algorithms.rollout_buffer import RolloutBuffer
from legged_ppo.config.schema import Config
from legged_ppo.evaluation.task import PolicyScore, PolicyScorer, score_policy
from legged_ppo.interface import Environment, Symmetry
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.models.equivariance import Equivariance
from legged_ppo.reports.health import HealthMonitor, rules_for
from legged_ppo.runs.checkpoint import (
    global_rng_state,
    set_global_rng_state,
    to_device,
)
from legged_ppo.runs.robot_model import read_model
from legged_ppo.runs.run_directory import RunDirectory
from legged_ppo.runtime import distributed
from legged_ppo.runtime.cuda_graphs import Captured, Recorder, cuda_recorder
from legged_ppo.runtime.device import SingleThread, all_finite
from legged_ppo.runtime.precision import network_precision
from legged_ppo.training.attempt import attempt
from legged_ppo.training.closing import close_run, note_best, peak_memory_gb
from legged_ppo.training.divergence import WEIGHTS_FINITE, DivergenceMonitor, TrainingDiverged
from legged_ppo.training.interrupt import InterruptGuard
from legged_ppo.training.logger import Metrics
from legged_ppo.training.mirrored_env import SymmetryAugmentedEnv, required_symmetry
from legged_ppo.training.reporter import Reporter, SilentReporter
from legged_ppo.training.timer import Stopwatch
from legged_ppo.training.tracker import Tracker

_EPISODE_WINDOW = 100
"""Smallest number of episodes that `Train/*` and `Episode/*` are averaged over."""
_COUNTS = ("Sim/overflows", "Sim/nonfinite_samples")
"""Metrics of the environment that are summed over the ranks; the others are averaged."""


@dataclass
class Counters:
    """Progress of a run. `iteration` is the number of completed iterations."""

    iteration: int = 0
    env_steps: int = 0
    train_wall_time_s: float = 0.0
    best_score: float = -math.inf
    next_checkpoint: int = 0
    next_evaluation: int = 0


Callback = Callable[["Trainer", Metrics], None]
"""Called with the trainer and an iteration's metrics, on every rank; metrics that it adds are logged too."""


class Trainer:
    """One run of one recipe.

    Args:
        config: the resolved recipe.
        env: the environment that `config` describes.
        run: where its files go.
        checkpoint: what `load_checkpoint` returned, to go on with that run.
        weights: of another run's policy, statistics of the observations included, to start from.
        scorer: how policies are evaluated on the way, by which the best is kept; None neither evaluates
            nor keeps a best one.
        callbacks: called in this order after every iteration; what they keep is not in a checkpoint.
    """

    def __init__(
        self,
        config: Config,
        env: Environment,
        run: RunDirectory,
        checkpoint: dict[str, Any] | None = None,
        weights: dict[str, torch.Tensor] | None = None,
        scorer: PolicyScorer | None = score_policy,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.config, self.env, self.run, self.scorer = config, env, run, scorer
        self.callbacks = callbacks
        self.tracker: Tracker | None = None
        """On the first rank, from the start of `train`; whoever calls `train` may finish it afterwards."""
        seed = config.training.seed
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        device = env.device
        own_seed = distributed.seed_of_rank(seed + 1)
        self.generator = torch.Generator(device=device).manual_seed(own_seed)
        self.policy = ActorCritic(self.env.obs_dims, self.env.num_actions, config.policy).to(device)
        self.policy.fuse_gru(config.training.fused_gru)
        if weights is not None:
            self.policy.load_state_dict(weights)
        symmetry = required_symmetry(config, env)
        self._equivariance: Equivariance | None = None
        if symmetry is not None and config.ppo.symmetry == "equivariant":
            self._equivariance = Equivariance(self.policy, symmetry)
            if weights is None:
                self._equivariance.initialize()
            else:
                self._equivariance.project()
        # Averaged gradients keep the ranks' parameters equal only if they are at the start.
        distributed.broadcast_(self.policy.state_dict().values())
        self._make_learner(symmetry)
        self.average: AveragedModel | None = None
        if decay := config.training.average_decay:
            self.average = AveragedModel(self.policy, multi_avg_fn=get_ema_multi_avg_fn(decay))
        self._unsaved_best: Callable[[], None] | None = None
        """Writes the best checkpoint of this iteration's evaluation, where the disk did not allow it."""
        self.counters = Counters()
        self.episodes: deque[list[float]] = deque()
        robots = self.env.num_envs * distributed.world_size()
        self.steps_per_iteration = robots * config.ppo.rollout_length
        self.total_iterations = math.ceil(
            config.training.total_timesteps / self.steps_per_iteration
        )
        self.health = HealthMonitor(rules_for(config, env.num_actions, self.total_iterations))
        self._robot_model = read_model(config) if hasattr(env, "robot") else None
        self._divergence = DivergenceMonitor(run.latest)
        self._while_computing: Callable[[], None] = lambda: None
        """Work of the host that an iteration does before it waits for the device"""
        if checkpoint is not None:
            self._restore(checkpoint)

    def _make_learner(self, symmetry: Symmetry | None) -> None:
        """PPO, its buffer and the collector; with `mirrored_copies` they include a copy of every robot."""
        env, config = self.env, self.config.ppo
        acting: Environment = env
        mirror_actions, reflection = None, None
        if symmetry is not None and config.mirrored_copies:
            acting = augmented = SymmetryAugmentedEnv(env, symmetry)
            mirror_actions = augmented.mirror_actions
            reflection = symmetry.actions
        recorder: Recorder | None = None
        if self.config.training.cuda_graphs:
            generators = [self.generator, *([] if env.generator is None else [env.generator])]
            recorder = cuda_recorder(env.device, generators)
        self.ppo = PPO(
            self.policy, config, self.generator, reflection, recorder, self._equivariance
        )
        self.learner: Learner = self.ppo
        self.buffer = self._make_buffer(acting)
        self.collector = Collector(
            acting, self.policy, self.generator, self._precision, mirror_actions
        )
        self.collect: Callable[[], tuple[torch.Tensor, dict[str, torch.Tensor]]]
        """`Collector.collect` into the buffer, recorded where the environment permits it"""
        self.collect = partial(self.collector.collect, self.buffer)
        # A subclass may keep state of its own, so it makes the promise itself.
        if recorder is not None and vars(type(env)).get("fits_graphs", False):
            self.collect = Captured(self.collect, recorder, "the rollout")

    def _make_buffer(self, acting: Environment) -> RolloutBuffer:
        """Storage for the rollouts of `acting`, whose first robots are those of `env`."""
        return RolloutBuffer(
            self.config.ppo.rollout_length,
            self.config.ppo.bptt_length,
            acting.num_envs,
            acting.num_actions,
            acting.device,
            acting.env_groups,
            self.env.num_envs,
        )

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        return network_precision(self.config.ppo.precision, self.env.device)

    def train(self) -> bool:
        """Run to the end, or until Ctrl-C; True if the run is complete.

        The state is saved in either case; an error leaves the last checkpoint as it was. A checkpoint on the way
        that cannot be written is skipped with a warning.

        Raises:
            WriteError: the last checkpoint cannot be written.
            TrainingDiverged: the weights are not finite, or no update has been finite for a while.
        """
        metrics: Metrics = {}
        with InterruptGuard() as interrupt, self._make_reporter() as reporter:
            self._while_computing = reporter.flush
            while self.counters.iteration < self.total_iterations:
                if distributed.any_rank(interrupt.requested):
                    break
                metrics = self.iterate()
                if reason := self._divergence.check(metrics):
                    reporter.write(metrics)
                    raise TrainingDiverged(reason)  # before anything is saved
                metrics |= self._evaluate_if_due()
                for callback in self.callbacks:
                    callback(self, metrics)
                reporter.write(metrics)  # before the checkpoint, whose resume expects the row
                self._checkpoint_if_due(reporter)
        if self.counters.iteration < self.total_iterations:
            self._save()
            return False
        if distributed.is_main():
            counters = asdict(self.counters)
            close_run(self.run, self.run.latest, self.config, counters, metrics, peak_memory_gb())
        return True

    def _make_reporter(self) -> Reporter | SilentReporter:
        if not distributed.is_main():
            return SilentReporter()
        self.tracker = Tracker(self.run.root, self.config)
        return Reporter(
            self.run,
            self.config,
            self.health,
            self.counters.env_steps,
            self.total_iterations * self.steps_per_iteration,
            self.total_iterations,
            self.tracker,
            late=self.env.device.type != "cpu",
        )

    def iterate(self) -> Metrics:
        """Collect, update, count; returns the iteration's metrics as plain numbers."""
        begin = time.perf_counter()
        stopwatch = Stopwatch(self.env.device)
        stopwatch.mark()
        env_progress, progress = self._progress()
        self.env.set_progress(env_progress)
        with SingleThread(self.env.device, self.env.num_envs):
            next_value, sums = self.collect()
        stopwatch.mark()
        figures = self.learner.update(self.buffer, next_value, progress) | self.env.metrics()
        self.policy.apply_normalization()
        if self.average is not None:
            self.average.update_parameters(self.policy)
        figures["Sim/nonfinite_samples"] = sums["nonfinite"]
        # An average of finite weights is finite.
        figures[WEIGHTS_FINITE] = all_finite(self.policy.state_dict().values())
        self._while_computing()
        metrics: Metrics = distributed.reduced(figures, _COUNTS, self.env.device)
        metrics |= self._episode_metrics(distributed.sum_(sums["episode"]).tolist())
        samples = self.steps_per_iteration
        step_means = [value / samples for value in distributed.sum_(sums["step"]).tolist()]
        metrics |= dict(zip(self.env.step_metrics, step_means, strict=True))
        stopwatch.mark()
        collection_time, learning_time = stopwatch.seconds()
        end = time.perf_counter()
        counters = self.counters
        counters.iteration += 1
        counters.env_steps += samples
        counters.train_wall_time_s += end - begin
        metrics["Perf/collection_time"] = collection_time
        metrics["Perf/learning_time"] = learning_time
        metrics["Perf/total_fps"] = samples / (end - begin)
        return {
            "iteration": counters.iteration,
            "env_steps": counters.env_steps,
            "wall_time_s": counters.train_wall_time_s,
            **metrics,
        }

    def _progress(self) -> tuple[float, float]:
        """Completed shares in [0, 1] that the environment's and the learner's schedules follow."""
        progress = self.counters.env_steps / self.config.training.total_timesteps
        return progress, progress

    def _episode_metrics(self, ended: list[float]) -> Metrics:
        """Means over the last episodes, at least `_EPISODE_WINDOW` of them."""
        self.episodes.append(ended)
        while sum(e[0] for e in self.episodes) - self.episodes[0][0] >= _EPISODE_WINDOW:
            self.episodes.popleft()
        count, *sums = (sum(column) for column in zip(*self.episodes, strict=True))
        if count == 0:
            return {}
        means = dict(zip(self.env.episode_metrics[1:], (s / count for s in sums), strict=True))
        # Without a commanded path the ratio is undefined.
        commanded = means.pop("commanded", 0.0)
        path_distance = means.pop("path_distance", 0.0)
        metrics = {
            "Train/mean_reward": means.pop("return"),
            "Train/mean_episode_length": means.pop("length"),
            **means,
        }
        if commanded > 0:
            metrics["Track/progress"] = path_distance / commanded
        return metrics

    def _evaluate_if_due(self) -> Metrics:
        training, counters = self.config.training, self.counters
        last = counters.iteration >= self.total_iterations
        if not last and counters.env_steps < counters.next_evaluation:
            return {}
        frequency = training.evaluation_freq or training.checkpoint_freq
        self._unsaved_best = None
        counters.next_evaluation = _next_multiple(counters.env_steps, frequency)
        if self.scorer is None or not (last or counters.iteration > 1):
            return {}
        return self._evaluate(self.scorer)

    def _checkpoint_if_due(self, reporter: Reporter | SilentReporter) -> None:
        counters = self.counters
        last = counters.iteration >= self.total_iterations
        if not last and counters.env_steps < counters.next_checkpoint:
            return
        frequency = self.config.training.checkpoint_freq
        counters.next_checkpoint = _next_multiple(counters.env_steps, frequency)
        reporter.flush()
        self._save(required=last)
        if last and self._unsaved_best is not None and distributed.is_main():
            self._unsaved_best()
        report = self.env.curriculum_report()
        if report is not None:
            reporter.write_curriculum(report, counters.env_steps)

    def _evaluate(self, scorer: PolicyScorer) -> Metrics:
        """Score the policy (its average, if there is one) on fixed seeds; the best so far is saved as
        the run's best checkpoint."""
        begin = time.perf_counter()
        policy = self.judged_policy()
        training = self.config.training
        score: PolicyScore | None = None
        if distributed.is_main():
            score = scorer(policy, self.config, training.evaluation_episodes, training.seed + 1000)
        score = distributed.from_main(score)
        assert score is not None
        best_before = self.counters.best_score
        if score.score >= best_before:  # a first one of -inf counts
            self.counters.best_score = score.score
            payload = self.state_dict() | {"policy": policy.state_dict()}
            save = partial(self._save_best, payload, score.metrics)
            if not attempt(save, "the best is chosen anew at the next evaluation"):
                self.counters.best_score, self._unsaved_best = best_before, save
        self.counters.train_wall_time_s += time.perf_counter() - begin
        return score.metrics

    def judged_policy(self) -> ActorCritic:
        """The one that evaluations score: the average of the last weights, if there is one."""
        return self.policy if self.average is None else cast(ActorCritic, self.average.module)

    def _save(self, required: bool = True) -> None:
        """Write a checkpoint; one that is not `required` and cannot be written costs a warning.

        Raises:
            WriteError: a required one cannot be written.
        """
        counters, keep = self.counters, self.config.training.keep_checkpoints
        save = partial(self.run.save, self.state_dict(), counters.env_steps, keep)
        if not required:
            attempt(save, f"the next attempt is at {counters.next_checkpoint:,} steps")
        elif distributed.is_main():
            save()
        if self.tracker is not None:
            self.tracker.log_checkpoints(self.run, counters.env_steps)

    def _save_best(self, payload: dict[str, Any], figures: Metrics) -> None:
        """Write the best checkpoint and what its evaluation found.

        Raises:
            WriteError: they cannot be written.
        """
        self.run.write_checkpoint(self.run.best, payload)
        note_best(self.run, payload["counters"], figures)

    def state_dict(self) -> dict[str, Any]:
        """The whole state of the run, as checkpoints hold it. A collective operation: every rank must call it."""
        return {
            "config": asdict(self.config),
            "robot_model": self._robot_model,
            "obs_dims": self.env.obs_dims,
            "num_actions": self.env.num_actions,
            "policy": self.policy.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "ppo": self.learner.state_dict(),
            "ranks": distributed.gather(self._own_state()),
            "counters": asdict(self.counters),
            "episodes": list(self.episodes),
            "health": self.health.streaks,
            "device": self.env.device.type,
        }

    def _own_state(self) -> dict[str, Any]:
        """The part of the state that differs between the ranks."""
        return {
            "env": self.env.state_dict(),
            "collector": self.collector.state_dict(),
            "generator": self.generator.get_state(),
            "rng": global_rng_state(self.env.device),
        }

    def _restore(self, checkpoint: dict[str, Any]) -> None:
        self.policy.load_state_dict(checkpoint["policy"])
        if self._equivariance is not None:
            self._equivariance.project()
        if self.average is not None and checkpoint.get("average") is not None:
            self.average.load_state_dict(checkpoint["average"])
        self.learner.load_state_dict(checkpoint["ppo"])
        self.counters = Counters(**checkpoint["counters"])
        if not self.run.best.exists():  # the checkpoint was moved here
            self.counters.best_score = -math.inf
        self.episodes = deque(checkpoint["episodes"])
        self.health.streaks = dict(checkpoint["health"])
        ranks = to_device(checkpoint["ranks"], self.env.device)
        same_device = checkpoint["device"] == self.env.device.type
        known = all(state["env"] for state in ranks)
        if not (known and same_device and len(ranks) == distributed.world_size()):
            # Physics and generators of another device cannot be restored: new episodes, at the old levels.
            self.env.load_levels([state["env"] for state in ranks])
            # The seed of the start would repeat its random numbers.
            seed = self.config.training.seed + 1 + self.counters.env_steps
            self.generator.manual_seed(distributed.seed_of_rank(seed))
            self.buffer.env_groups = self.collector.env.env_groups
            self.collector.restart()
            return
        own = ranks[distributed.rank()]
        self.env.load_state_dict(own["env"])
        self.buffer.env_groups = self.collector.env.env_groups
        self.collector.load_state_dict(own["collector"])
        self.generator.set_state(own["generator"])
        set_global_rng_state(own["rng"], self.env.device)


def _next_multiple(value: int, step: int) -> int:
    """The first multiple of `step` above `value`."""
    return (value // step + 1) * step

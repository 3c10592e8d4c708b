"""Training as a function: start a run, or resume one, and write its report."""

from __future__ import annotations

import contextlib
import logging
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from legged_ppo.config.extensions import check_named, load_extensions, override_of
from legged_ppo.config.schema import Config
from legged_ppo.errors import ConfigError, UsageError, noting_sizes
from legged_ppo.evaluation.task import task_of
from legged_ppo.interface import Environment
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.models.equivariance import Equivariance
from legged_ppo.runs import checkpoint as checkpoints
from legged_ppo.runs.failure import noting_failure
from legged_ppo.runs.run_directory import TO_RESUME, RunDirectory, find_checkpoint
from legged_ppo.runs.run_lock import run_lock
from legged_ppo.runs.whole_file import writing
from legged_ppo.runtime import distributed
from legged_ppo.runtime.device import find_device
from legged_ppo.runtime.precision import advice
from legged_ppo.sim.mujoco_warnings import counted_warnings
from legged_ppo.training.closing import close_again, lacks_end, lacks_report, note_report
from legged_ppo.training.distiller import Distiller
from legged_ppo.training.mirrored_env import required_symmetry
from legged_ppo.training.teacher import check_student, load_teacher
from legged_ppo.training.tracker import Tracker, check_tracker
from legged_ppo.training.trainer import Callback, Trainer

_log = logging.getLogger(__name__)

_MUJOCO_LOG = "MUJOCO_LOG.TXT"


def train(
    config: Config,
    *,
    device: str = "auto",
    resume: str | Path | None = None,
    init_from: str | Path | None = None,
    teacher: str | Path | None = None,
    name: str = "run",
    callbacks: Sequence[Callback] = (),
) -> Path:
    """Train to `config.training.total_timesteps`; returns the run directory.

    Args:
        device: `auto`, `cpu` or `cuda:N`.
        resume: checkpoint, run directory, or "latest" (the newest run under `training.log_dir`) to
            continue from, under `config`.
        init_from: checkpoint, run directory or "latest", whose policy, normalization statistics
            included, starts a new run.
        teacher: checkpoint or run directory of a policy of Phase 1 that this run distils into a student, as
            `config.distillation` says; of a resumed run its own copy by default.
        name: recipe's name, the first part of a new run directory's name.
        callbacks: functions of the trainer and an iteration's metrics, called after every iteration and
            after those of `training.callbacks`.

    Raises:
        ConfigError: a wrong value, checkpoint or device; nothing was written.
        KeyboardInterrupt: Ctrl-C or SIGTERM during training, after the state was saved.
    """
    if resume and init_from:
        raise UsageError("--init-from cannot be combined with --resume")
    if init_from and teacher:
        raise UsageError(
            "--init-from cannot be combined with a teacher, from whose weights it starts"
        )
    check_tracker(config)
    found = find_device(device, physics=task_of(config).physics)
    known = load_extensions(config.extensions).callbacks
    chosen = [*(known[each] for each in config.training.callbacks), *callbacks]
    with distributed.process_group():
        if resume:
            return _resume(config, str(resume), teacher, found, chosen)
        if teacher:
            return _start_phase2(config, name, teacher, found, chosen)
        return _start(config, name, init_from, found, chosen)


def sizes(config: Config, env: Environment | None = None) -> str:
    """The sizes that determine the memory: the recipe's, and the planned physics buffers."""
    ppo = config.ppo
    line = (
        f"the run has training.num_envs={config.training.num_envs} "
        f"ppo.rollout_length={ppo.rollout_length} ppo.gradient_accumulation={ppo.gradient_accumulation}"
    )
    simulator = getattr(env, "simulator", None)
    capacity = getattr(simulator, "capacity", None)
    if env is None or simulator is None or capacity is None:
        return line
    from legged_ppo.sim.warp.memory import predicted_bytes

    planned = " ".join(f"sim.{name}={size}" for name, size in asdict(capacity).items())
    gigabytes = predicted_bytes(simulator.model, capacity, env.num_envs) / 2**30
    return (
        f"{line} and the physics of {env.num_envs} robots, planned at {gigabytes:.2f} GB: {planned}"
    )


def _start(
    config: Config,
    name: str,
    init_from: str | Path | None,
    device: torch.device,
    callbacks: Sequence[Callback],
) -> Path:
    # The environment comes first: a robot that cannot be built leaves nothing on disk.
    env = _make_env(config, device)
    _check_learner(config, env)
    weights = None
    if init_from:
        path = find_checkpoint(init_from, config.training.log_dir, "--init-from")
        weights = checkpoints.load_weights(path, config, env)
    run = _on_main(lambda: RunDirectory.create(config, name))
    with _writing(run), noting_sizes(lambda: sizes(config, env)):
        trainer = Trainer(config, env, run, weights=weights, callbacks=callbacks)
        return _run_trainer(trainer, config)


def _start_phase2(
    config: Config,
    name: str,
    teacher: str | Path,
    device: torch.device,
    callbacks: Sequence[Callback],
) -> Path:
    check_student(config)
    path = find_checkpoint(teacher, config.training.log_dir, "--teacher")
    env = _make_env(config, device)
    _check_learner(config, env)
    loaded = load_teacher(path, config, env)
    if loaded.levels:
        env.load_levels(loaded.levels)
    run = _on_main(lambda: RunDirectory.create(config, name, path))
    with _writing(run), noting_sizes(lambda: sizes(config, env)):
        return _run_trainer(Distiller(config, env, run, loaded, callbacks=callbacks), config)


def _resume(
    config: Config,
    resume: str,
    teacher: str | Path | None,
    device: torch.device,
    callbacks: Sequence[Callback],
) -> Path:
    path = find_checkpoint(resume, config.training.log_dir, "--resume", TO_RESUME)
    saved = checkpoints.load_checkpoint(path)
    config = checkpoints.use_stored_model(config, saved, path)
    checkpoints.check_compatible(saved, config, path)
    if "ppo" not in saved:
        expected = "a run's checkpoint; this one holds a policy alone, for --init-from"
        raise ConfigError("--resume", str(path), expected)
    counters = saved["counters"]
    if counters["env_steps"] >= config.training.total_timesteps:
        return _complete(path, saved, config)
    changes = checkpoints.differences(saved, config, path)
    env = _make_env(config, device)
    checkpoints.check_environment_state(saved, env, config, path, distributed.world_size())
    source = _teacher_of(saved, path, teacher, config)
    loaded = source and load_teacher(source, config, env)
    present = RunDirectory.of_checkpoint(path)
    run = present or _on_main(lambda: RunDirectory.create(config, path.stem, source))
    with _writing(run), noting_sizes(lambda: sizes(config, env)):
        if present and distributed.is_main():
            _reopen(present, config, counters, bool(changes))
        trainer = (
            Distiller(config, env, run, loaded, saved, callbacks=callbacks)
            if loaded
            else Trainer(config, env, run, saved, callbacks=callbacks)
        )
        if distributed.is_main():
            _log.info("resuming %s at %s steps", path, f"{counters['env_steps']:,}")
            for key, (before, now) in changes.items():
                _log.info("  %s: %s until now, %s from here on", key, before, now)
        return _run_trainer(trainer, config)


def _complete(path: Path, saved: dict[str, Any], config: Config) -> Path:
    """Write what a run that was killed after its last step lacks."""
    run = RunDirectory.of_checkpoint(path)
    if run is None or not distributed.is_main():
        return path.parent if run is None else run.root
    reporting = config.training.report and lacks_report(run)
    if not reporting and not lacks_end(run, saved["counters"]):
        steps = f"{saved['counters']['env_steps']:,}"
        hint = "raise training.total_timesteps to train on"
        _log.info("%s: this run is complete (%s steps); %s", path, steps, hint)
        return run.root
    with _writing(run):
        close_again(run, path, saved["counters"], config)
        if config.training.report and lacks_report(run):
            tracker = Tracker(run.root, config)
            with writing(run.root):
                _report(run, config, tracker)
            tracker.finish()
    _log.info("%s: the end of this run is complete now", run.root)
    return run.root


def _teacher_of(
    saved: dict[str, Any], path: Path, given: str | Path | None, config: Config
) -> Path | None:
    """The teacher of a checkpoint of Phase 2: its run's own copy, or the given one of a checkpoint that was moved
    elsewhere; None in Phase 1.

    Raises:
        ConfigError: it is missing, or given where none is needed.
    """
    run = RunDirectory.of_checkpoint(path)
    if "finetuning" not in saved:
        if given:
            raise ConfigError("--teacher", str(given), f"left out: {path} is of Phase 1")
        return None
    if given:
        return find_checkpoint(given, config.training.log_dir, "--teacher")
    if run is not None and run.teacher.is_file():
        return run.teacher
    raise ConfigError("--teacher", None, f"the teacher's checkpoint, which is not beside {path}")


def _reopen(run: RunDirectory, config: Config, counters: dict[str, Any], changed: bool) -> None:
    """Go on after the checkpoint of these counters."""
    run.reopen(counters["iteration"])
    if changed:
        run.replace_config(config, counters["env_steps"])


@contextlib.contextmanager
def _writing(run: RunDirectory) -> Iterator[None]:
    """On the first rank, no other process may write the run, and an error leaves its failure.txt.

    Raises:
        UsageError: another process writes it.
    """
    if not distributed.is_main():
        yield
        return
    with run_lock(run.root), noting_failure(run.root):
        yield


def _make_env(config: Config, device: torch.device) -> Environment:
    """This rank's share of the robots.

    Raises:
        ConfigError: what `Task.make_env` raises; robots that the ranks cannot share evenly.
    """
    robots, ranks = config.training.num_envs, distributed.world_size()
    if robots % ranks:
        raise ConfigError("training.num_envs", robots, f"a multiple of the {ranks} processes")
    seed = distributed.seed_of_rank(config.training.seed)
    with noting_sizes(lambda: sizes(config)):
        return task_of(config).make_env(robots // ranks, seed, device)


def _check_learner(config: Config, env: Environment) -> None:
    """Whether a `Trainer` can be made of these, before anything is written.

    Raises:
        ConfigError: the policy or `ppo.symmetry` requires what the environment lacks.
    """
    with torch.device("meta"):
        policy = ActorCritic(env.obs_dims, env.num_actions, config.policy)
    symmetry = required_symmetry(config, env)
    if symmetry is not None and config.ppo.symmetry == "equivariant":
        Equivariance(policy, symmetry)


def _on_main(make: Callable[[], RunDirectory]) -> RunDirectory:
    """The run directory that the first rank makes; the other ranks receive its path."""
    root = make().root if distributed.is_main() else None
    return RunDirectory(distributed.from_main(root) or Path())


def _weight_warnings(trainer: Trainer, config: Config) -> list[str]:
    from legged_ppo.robots.checks import weight_warnings

    robot = getattr(trainer.env, "robot", None)
    return weight_warnings(robot.total_mass, config.task.rewards) if robot else []


def _run_trainer(trainer: Trainer, config: Config) -> Path:
    run = trainer.run
    if distributed.is_main():
        _log.info("run: %s", run.root)
        if line := advice(config.ppo.precision, trainer.env.device):
            _log.info(line)
        for line in _weight_warnings(trainer, config):
            _log.warning("warning: %s", line)
    try:
        with counted_warnings(run.root / _MUJOCO_LOG):
            finished = trainer.train()
        if not finished:
            if distributed.is_main():
                latest = str(run.latest)
                line = shlex.join(["--resume", latest, *override_of(config.extensions)])
                _log.info("stopped; go on with: %s", line)
            raise KeyboardInterrupt
        if config.training.report and trainer.tracker is not None:
            with writing(run.root):
                _report(run, config, trainer.tracker)
    finally:
        if trainer.tracker is not None:
            trainer.tracker.finish()
    return run.root


def _check_imports(best: Path, config: Config) -> None:
    """Refuse a best checkpoint that would import other modules than the run's own config, which the user gave.

    Raises:
        ConfigError: it names other extensions or another Gymnasium environment.
    """
    stored = checkpoints.checkpoint_config(checkpoints.load_checkpoint(best), best)
    check_named(stored.extensions, config.extensions, best)
    if stored.gym.id != config.gym.id:
        raise ConfigError("gym.id", stored.gym.id, f"{config.gym.id!r}", source=str(best))


def _report(run: RunDirectory, config: Config, tracker: Tracker) -> None:
    """Evaluate and record the best policy, and log the closing lines."""
    from legged_ppo.reports.run_report import write_report
    from legged_ppo.training.report_logger import log_report

    training, best = config.training, run.best
    _check_imports(best, config)
    with counted_warnings(run.root / _MUJOCO_LOG):
        lines = write_report(run.root, best, training.report_episodes, training.seed)
    log_report(run, tracker)
    for line in lines:
        _log.info(line)
    note_report(run)

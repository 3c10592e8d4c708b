"""Signals, closed pipes, jumping clocks, a deleted folder, no file descriptors, dashboards that fail or hang."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from legged_ppo.config.schema import Config
from legged_ppo.runs import run_directory
from legged_ppo.training import event_files
from legged_ppo.training.dashboard import Dashboard
from legged_ppo.training.trainer import Trainer
from tests.faults import runs
from tests.faults.children import Job, run_child
from tests.faults.kills import Chain, leg
from tests.faults.measure import Measure

_SAME = "the run ends bit for bit like one without the fault"
_DAY = 86_400.0


def signals(subject: str, folder: Path, trials: int, seed: int) -> Measure:
    """SIGTERM, SIGHUP and SIGINT at random moments, in turn."""
    demand = f"exit 130 with a checkpoint of the last row, or as after kill -9; resumed, {_SAME}"
    measure = Measure(f"SIGTERM, SIGHUP, SIGINT at random moments ({subject})", demand)
    chain, source = Chain(subject, folder), random.Random(seed)
    while measure.trials < trials:
        shutil.rmtree(chain.log_dir, ignore_errors=True)
        complete = False
        while not complete:
            number = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)[measure.trials % 3]
            job = Job(leg, signal=number, after_s=source.uniform(0.0, chain.seconds))
            if measure.trials >= trials:
                job = Job(leg)
            name = f"{subject}, {number.name} {measure.trials}"
            ended = chain.start(job, measure, name)
            complete = ended.code == 0
            sound = ended.code in (0, 130, -number) and "Traceback" not in ended.output
            measure.require(sound, f"{name}: {ended.code}: {ended.output[-400:]}")
            if ended.code == 130 and "--resume" in ended.output:
                measure.count("saved, exit 130")
                lost = runs.last_row(chain.log_dir) - runs.saved_iteration(chain.log_dir)
                measure.require(lost == 0, f"{name}: {lost} iterations lost")
            elif not complete:
                measure.count("ended outside the training loop")
        for line in chain.reference.differences(runs.result(chain.log_dir), False):
            measure.require(False, f"{subject}, signals up to {measure.trials}: {line}")
    return measure


def piped_leg(config: Config, resume: bool, close_at: int) -> int:
    """A run whose standard output and error are pipes that nobody reads from an iteration on."""
    reader, writer = os.pipe()
    for descriptor in (1, 2):
        os.dup2(writer, descriptor)
    os.close(writer)

    def close(trainer: Trainer, _: Any) -> None:
        if trainer.counters.iteration == close_at:
            os.close(reader)

    if close_at == 0:
        os.close(reader)
    return runs.run(config, "latest" if resume else None, [close])


def closed_pipes(subject: str, folder: Path, stride: int = 1) -> Measure:
    """The reader of the output goes away after each iteration in turn."""
    measure = Measure(f"a closed pipe as output ({subject})", _SAME)
    work = [{"close_at": at} for at in range(0, runs.ITERATIONS, stride)]
    return _through(measure, subject, folder, piped_leg, work)


class _Clock:
    """A clock that jumps by up to a year at every reading, forwards and backwards."""

    def __init__(self, seed: int) -> None:
        self._time, self._source = time.time, random.Random(seed)

    def __call__(self) -> float:
        return max(1.0, self._time() + self._source.uniform(-365, 365) * _DAY)


def jumping_leg(config: Config, resume: bool, seed: int) -> int:
    """A run under a clock that jumps, whose files have times in the future and the past."""
    clock = _Clock(seed)
    time.time = clock

    class Jumping(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.fromtimestamp(clock(), tz)

    run_directory.datetime = Jumping  # type: ignore[misc, attr-defined]

    def touch(trainer: Trainer, _: Any) -> None:
        for path in trainer.run.root.rglob("*"):
            os.utime(path, (clock(), clock()))

    return runs.run(config, "latest" if resume else None, [touch])


def clock_jumps(subject: str, folder: Path, trials: int) -> Measure:
    """The system's time jumps by up to a year at every reading."""
    measure = Measure(f"a clock that jumps ({subject})", _SAME)
    work = [{"seed": seed} for seed in range(trials)]
    return _through(measure, subject, folder, jumping_leg, work)


def deleting_leg(config: Config, resume: bool, delete_at: int, whole: bool) -> int:
    """A run whose folder (or all of the log folder) is deleted after an iteration."""

    def delete(trainer: Trainer, _: Any) -> None:
        if trainer.counters.iteration == delete_at:
            root = trainer.run.root
            shutil.rmtree(root.parent if whole else root)

    return runs.run(config, "latest" if resume else None, [delete])


def deleted_folders(subject: str, folder: Path, stride: int = 1) -> Measure:
    """Deleted after each iteration in turn; the weights must survive, the older rows cannot."""
    demand = "the run goes on into a new folder and ends with the same weights; the log folder can be resumed"
    measure = Measure(f"the log folder deleted ({subject})", demand)
    chain = Chain(subject, folder)
    for at in range(1, runs.ITERATIONS, stride):
        for whole in (False, True):
            name = f"{subject}, deleted after {at}"
            shutil.rmtree(chain.log_dir, ignore_errors=True)
            arguments = {"config": chain.config, "resume": False, "delete_at": at, "whole": whole}
            ended = run_child(Job(deleting_leg, arguments))
            measure.count("went on to the end" if ended.code == 0 else f"exit {ended.code}")
            said = "was deleted" in ended.output and "Traceback" not in ended.output
            measure.require(
                ended.code == 0 and said, f"{name}: {ended.code}: {ended.output[-500:]}"
            )
            if ended.code == 0:
                result = runs.result(chain.log_dir)
                same = runs.same_weights(result.weights, chain.reference.weights)
                measure.require(same, f"{name}: the final weights differ")
                kept = chain.reference.rows[-len(result.rows) :] if result.rows else []
                measure.require(result.rows == kept, f"{name}: rows after the deletion differ")
    return measure


def starving_leg(config: Config, resume: bool, begin: int, end: int) -> int:
    """A run that can open no file from one iteration to another."""
    usual = resource.getrlimit(resource.RLIMIT_NOFILE)

    def starve(trainer: Trainer, _: Any) -> None:
        if trainer.counters.iteration == begin:
            resource.setrlimit(resource.RLIMIT_NOFILE, (0, usual[1]))
        if trainer.counters.iteration == end:
            resource.setrlimit(resource.RLIMIT_NOFILE, usual)

    return runs.run(config, "latest" if resume else None, [starve])


def no_descriptors(subject: str, folder: Path, stride: int = 1) -> Measure:
    """No file can be opened for one or several iterations."""
    measure = Measure(f"no file descriptors for a while ({subject})", _SAME)
    last = runs.ITERATIONS
    work = [{"begin": a, "end": b} for a in range(1, last - 1) for b in range(a + 1, last)]
    return _through(measure, subject, folder, starving_leg, work[::stride])


class _FailingWriter(SummaryWriter):
    """Raises at every second row."""

    calls = 0

    def add_scalar(self, *arguments: Any, **named: Any) -> None:
        type(self).calls += 1
        if type(self).calls % 2:
            raise RuntimeError("gone")
        super().add_scalar(*arguments, **named)


class _HangingWriter(SummaryWriter):
    """Never comes back."""

    def add_scalar(self, *_: Any, **__: Any) -> None:
        time.sleep(10**6)


_WRITERS = {"raises": _FailingWriter, "hangs": _HangingWriter}


def dashboard_leg(config: Config, resume: bool, kind: str) -> int:
    """A run whose TensorBoard fails or hangs."""
    original = Dashboard.__init__

    def impatient(self: Dashboard, *arguments: Any, **named: Any) -> None:
        original(self, *arguments, **{**named, "patience_s": 0.5})

    Dashboard.__init__ = impatient  # type: ignore[method-assign]
    event_files.SummaryWriter = _WRITERS[kind]  # type: ignore[misc, attr-defined]
    return runs.run(config, "latest" if resume else None)


def dashboards(subject: str, folder: Path) -> Measure:
    """A writer of TensorBoard that raises, and one that never comes back."""
    measure = Measure(f"a TensorBoard writer that raises or hangs ({subject})", f"said; {_SAME}")
    work = [{"kind": kind} for kind in _WRITERS]
    return _through(measure, subject, folder, dashboard_leg, work, ("failed:", "answer"))


def _through(
    measure: Measure,
    subject: str,
    folder: Path,
    work: Callable[..., int],
    trials: list[dict[str, Any]],
    said: tuple[str, ...] = (),
) -> Measure:
    """Each trial must go through to the end of the run, without a traceback, and print one of `said`."""
    chain = Chain(subject, folder)
    for arguments in trials:
        name = f"{measure.fault}, {arguments}"
        shutil.rmtree(chain.log_dir, ignore_errors=True)
        ended = run_child(Job(work, {"config": chain.config, "resume": False, **arguments}))
        measure.count("went on to the end" if ended.code == 0 else f"exit {ended.code}")
        sound = ended.code == 0 and "Traceback" not in ended.output
        measure.require(sound, f"{name}: {ended.code}: {ended.output[-500:]}")
        heard = not said or any(word in ended.output for word in said)
        measure.require(heard, f"{name}: not a word: {ended.output[-300:]}")
        if ended.code == 0:
            for line in chain.reference.differences(runs.result(chain.log_dir), False):
                measure.require(False, f"{name}: {line}")
    return measure

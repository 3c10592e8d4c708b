"""A sweep: trials of a recipe's keys, chosen by Optuna, each trained by processes of its own."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import operator
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from legged_ppo.config.loading import load_config
from legged_ppo.config.sweep import Parameter, Sweep, override
from legged_ppo.errors import UsageError
from legged_ppo.reports.plots import read_metrics
from legged_ppo.reports.sweep_report import write_sweep_report

_log = logging.getLogger(__name__)

_POLL_S = 0.5
_MOST_FAILURES = 5
"""Failed runs in a row after which a sweep gives up."""
_DEFAULTS = {"training.report": "false", "training.log_interval": "1_000_000"}
"""Overrides of every run that the sweep's own may replace."""


class RunFailedError(Exception):
    """A run of a trial ended without a score."""


class _Job:
    """A trial, whose runs follow each other: one for each seed."""

    def __init__(self, trial: Any, sweep: Sweep, folder: Path, device: str) -> None:
        self.trial, self._sweep, self._folder, self._device = trial, sweep, folder, device
        self._values = {p.key: _suggest(trial, p) for p in sweep.parameters}
        self._seeds = list(sweep.seeds)
        self._scores: list[float] = []
        self._reported = 0
        self._start()

    def _start(self) -> None:
        seed = self._seeds.pop(0)
        name = f"trial{self.trial.number:04d}_s{seed}"
        self._run = self._folder / "runs" / name
        self._output = self._folder / "output" / f"{name}.txt"
        own = [override(key, value) for key, value in self._values.items()]
        places = [f"training.log_dir={self._folder / 'runs'}", f"training.run_name={name}"]
        given = {each.partition("=")[0] for each in self._sweep.overrides}
        defaults = [f"{key}={value}" for key, value in _DEFAULTS.items() if key not in given]
        command = [sys.executable, "-m", "legged_ppo.cli.main", "train"]
        command += ["--config", self._sweep.recipe, "--device", self._device, *defaults]
        command += [*self._sweep.overrides, *own, *places, f"training.seed={seed}"]
        with self._output.open("w") as output:
            self._process = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_environment(self._sweep.processes),
                start_new_session=True,  # Ctrl-C is for `stop` to pass on
            )

    def poll(self) -> float | None:
        """The trial's score once all of its runs have ended; else None.

        Raises:
            RunFailedError: a run failed, or has no value of the metric.
            optuna.TrialPruned: this one is not worth going on with.
        """
        code = self._process.poll()
        if code is None:
            if self._sweep.prune and len(self._seeds) == len(self._sweep.seeds) - 1:
                self._prune_if_behind()
            return None
        values = self._metric()
        if code != 0:
            lines = self._output.read_text(errors="replace").split("\n")
            last = next((line for line in reversed(lines) if line.strip()), "no output")
            raise RunFailedError(f"{last}; all of it: {self._output}")
        if not values:
            raise RunFailedError(f"{self._run / 'metrics.jsonl'} has no {self._sweep.metric}")
        self._scores.append(values[-1][1])
        if self._seeds:
            self._start()
            return None
        self.trial.set_user_attr("scores", self._scores)
        return statistics.fmean(self._scores)

    def stop(self) -> None:
        """End the run that is under way, which saves its state."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait()

    def _prune_if_behind(self) -> None:
        from optuna import TrialPruned

        values = self._metric()
        for steps, value in values[self._reported :]:
            self.trial.report(value, steps)
        fresh, self._reported = len(values) > self._reported, len(values)
        if fresh and self.trial.should_prune():
            self.stop()
            raise TrialPruned

    def _metric(self) -> list[tuple[int, float]]:
        """Steps and values of the metric in the run so far."""
        metrics = self._run / "metrics.jsonl"
        rows = read_metrics(metrics) if metrics.is_file() else []
        name = self._sweep.metric
        return [(int(row["env_steps"]), row[name]) for row in rows if row.get(name) is not None]


def run_sweep(sweep: Sweep, folder: Path, device: str = "auto") -> Path:
    """Run a sweep to its number of trials, or go on with the one in `folder`; returns the report's path.

    Args:
        folder: gets study.db (Optuna's), runs/, output/ and the report.

    Raises:
        UsageError: optuna is not installed, or runs fail one after the other.
        KeyboardInterrupt: Ctrl-C, after the running trials were stopped; they count as failed.
    """
    if importlib.util.find_spec("optuna") is None:
        raise UsageError(
            "a sweep needs optuna", "install it: pip install -c constraints.txt -e '.[sweep]'"
        )
    for name in ("runs", "output"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    study = _study(sweep, folder)
    running: list[_Job] = []
    failures = 0
    try:
        while (left := sweep.trials - _done(study)) > 0:
            while len(running) < min(sweep.processes, left):
                running.append(_Job(study.ask(), sweep, folder, device))
            time.sleep(_POLL_S)
            for job in list(running):
                if (ended := _tell(study, job)) is not None:
                    running.remove(job)
                    failures = 0 if ended else failures + 1
            if failures >= _MOST_FAILURES:
                raise UsageError(
                    f"{failures} runs failed one after the other", f"see {folder}/output"
                )
    finally:
        for job in running:
            job.stop()
            study.tell(job.trial, state=_state("FAIL"))
    return write_sweep_report(study, sweep, folder)


def _tell(study: Any, job: _Job) -> bool | None:
    """Hand the outcome of a trial that has ended to the study: whether it succeeded; None before its end."""
    from optuna import TrialPruned

    number = job.trial.number
    try:
        score = job.poll()
    except TrialPruned:
        study.tell(job.trial, state=_state("PRUNED"))
        _log.info("trial %d: pruned", number)
        return True
    except RunFailedError as error:
        study.tell(job.trial, state=_state("FAIL"))
        _log.warning("trial %d failed: %s", number, error)
        return False
    if score is None:
        return None
    study.tell(job.trial, score)
    shown = " ".join(f"{key}={_shown(value)}" for key, value in job.trial.params.items())
    _log.info("trial %d: %.4g  %s  (best %.4g)", number, score, shown, study.best_value)
    return True


def _study(sweep: Sweep, folder: Path) -> Any:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = f"sqlite:///{(folder / 'study.db').resolve()}"
    study = optuna.create_study(
        study_name=folder.name,
        storage=storage,
        direction=sweep.direction,
        pruner=optuna.pruners.MedianPruner() if sweep.prune else optuna.pruners.NopPruner(),
        load_if_exists=True,
    )
    begun = len(study.trials)
    for trial in study.get_trials(states=(_state("RUNNING"),)):  # of a sweep that was killed
        study.tell(trial.number, state=_state("FAIL"))
    if begun == 0 and sweep.sampler != "grid":
        own = load_config(sweep.recipe, sweep.overrides)
        with contextlib.suppress(AttributeError):  # a key below a dictionary
            values = {p.key: operator.attrgetter(p.key)(own) for p in sweep.parameters}
            if all(p.contains(values[p.key]) for p in sweep.parameters):
                study.enqueue_trial(values)
    study.sampler = _sampler(sweep, begun)
    return study


def _sampler(sweep: Sweep, begun: int) -> Any:
    """Seeded anew where a sweep goes on, so that it does not draw the same values again."""
    from optuna import samplers

    if sweep.sampler == "grid":
        return samplers.GridSampler({p.key: list(p.choices) for p in sweep.parameters})
    if sweep.sampler == "random":
        return samplers.RandomSampler(seed=begun)
    return samplers.TPESampler(seed=begun, constant_liar=sweep.processes > 1)


def _suggest(trial: Any, parameter: Parameter) -> Any:
    if parameter.choices:
        return trial.suggest_categorical(parameter.key, parameter.choices)
    suggest = trial.suggest_int if parameter.integer else trial.suggest_float
    return suggest(parameter.key, parameter.low, parameter.high, log=parameter.log)


def _done(study: Any) -> int:
    return len(study.get_trials(deepcopy=False, states=(_state("COMPLETE"), _state("PRUNED"))))


def _state(name: str) -> Any:
    from optuna.trial import TrialState

    return TrialState[name]


def _environment(processes: int) -> dict[str, str]:
    """An equal share of the cores for each process, unless OMP_NUM_THREADS says otherwise."""
    share = max(1, len(os.sched_getaffinity(0)) // processes)
    return {"OMP_NUM_THREADS": str(share), **os.environ}


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)

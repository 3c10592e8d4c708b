"""SIGKILL at random moments, inside writes and before every file operation, and the resume after it."""

from __future__ import annotations

import random
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from legged_ppo.config.loading import config_to_yaml
from legged_ppo.config.schema import Config
from tests.faults import runs
from tests.faults.children import Ended, Job, run_child
from tests.faults.measure import Measure
from tests.faults.operations import Fault, Operations

_DEMAND = (
    "every file readable, at most one interval lost, the resumed run ends bit for bit like one in one go, "
    "nothing left over"
)
_MOST_LEGS = 200
"""Starts of one run before it counts as one that makes no progress."""


def leg(config: Config, resume: bool, fault: Fault | None = None, count_to: str = "") -> int:
    """One start of a run in a child; `count_to` is a file that gets the number of its operations."""
    folder = Path(config.training.log_dir)
    operations = Operations(folder, fault)
    operations.install()
    code = runs.run(config, "latest" if resume else None)
    if count_to:
        Path(count_to).write_text(str(operations.number))
    return code


class Chain:
    """A run that is killed and resumed until it is complete."""

    def __init__(self, subject: str, folder: Path) -> None:
        self.folder = folder
        self.config = runs.recipe(subject, folder / "logs")
        self._config_text = config_to_yaml(self.config)
        reference = runs.recipe(subject, folder / "reference")
        ended = run_child(Job(leg, {"config": reference, "resume": False}))
        assert ended.code == 0, ended.output
        self.seconds = ended.seconds
        self.reference = runs.result(folder / "reference")
        self.log_dir = folder / "logs"

    def operations(self, inside: bool = False) -> int:
        """The number of file operations (or writes) of a run in one go."""
        shutil.rmtree(self.log_dir, ignore_errors=True)
        count = self.folder / "count"
        fault = Fault(at=10**9, inside=inside)
        job = Job(
            leg, {"config": self.config, "resume": False, "fault": fault, "count_to": str(count)}
        )
        assert run_child(job).code == 0
        return int(count.read_text())

    def start(self, job: Job, measure: Measure, name: str, most_lost: int = runs.INTERVAL) -> Ended:
        """One leg, and what must hold after it."""
        resume = bool(runs.checkpoints(self.log_dir))
        if not resume:
            shutil.rmtree(self.log_dir, ignore_errors=True)
        arguments = {"config": self.config, "resume": resume, **job.arguments}
        ended = run_child(replace(job, arguments=arguments))
        for line in runs.damages(self.log_dir, self._config_text, most_lost):
            measure.require(False, f"{name}: {line}")
        return ended

    def run(self, faults: Iterator[Job], measure: Measure, name: str) -> None:
        """Legs under the next faults until the run is complete; each kill is a trial."""
        shutil.rmtree(self.log_dir, ignore_errors=True)
        for _ in range(_MOST_LEGS):
            ended = self.start(next(faults, Job(leg)), measure, name)
            if ended.code == 0:
                break
            measure.require(ended.code == -signal.SIGKILL, f"{name}: {ended.code}: {ended.output}")
            measure.count("killed and resumed")
        for line in self.reference.differences(runs.result(self.log_dir)):
            measure.require(False, f"{name}: {line}")


def random_moments(subject: str, folder: Path, trials: int, seed: int) -> Measure:
    """A third of the kills are inside a write, the others whenever a timer fires."""
    measure = Measure(f"kill -9 at random moments ({subject})", _DEMAND)
    chain, source = Chain(subject, folder), random.Random(seed)
    writes = chain.operations(inside=True)

    def faults() -> Iterator[Job]:
        while measure.trials < trials:
            if measure.trials % 3 == 2:
                yield Job(leg, {"fault": Fault(source.randint(1, writes), inside=True)})
            else:
                yield Job(leg, after_s=source.uniform(0.0, chain.seconds))

    while measure.trials < trials:
        chain.run(faults(), measure, f"{subject}, kill {measure.trials}")
    return measure


def every_operation(subject: str, folder: Path, stride: int = 1, inside: bool = False) -> Measure:
    """Killed before (or inside) each file operation in turn, or each `stride`-th, then resumed to the end."""
    what = "inside every write" if inside else "before every file operation"
    measure = Measure(f"kill -9 {what} ({subject})", _DEMAND)
    chain = Chain(subject, folder)
    for at in range(1, chain.operations(inside) + 1, stride):
        job = Job(leg, {"fault": Fault(at, inside=inside)})
        chain.run(iter([job, job]), measure, f"{subject}, {what}: {at}")
    return measure

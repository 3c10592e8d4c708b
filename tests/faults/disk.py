"""A full and a read-only disk at every file operation in turn, and on a real file system of a few MB."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from legged_ppo.training.trainer import Trainer
from tests.faults import runs
from tests.faults.children import Ended, Job
from tests.faults.kills import Chain, leg
from tests.faults.measure import Measure
from tests.faults.operations import Fault

_DEMAND = (
    "the run says so and goes on, older files stay whole, and with room again, or after a resume, it ends "
    "bit for bit like one without the fault"
)
_OUTCOMES = {
    0: "went on to the end",
    1: "ended with one line and were resumed",
    2: "refused at the start",
}
_FOREVER = 10**9
SPANS = (1, 20, _FOREVER)
"""Operations that fail in a row."""


def every_operation(subject: str, folder: Path, error: int, stride: int = 1) -> Measure:
    """The `at`-th operation fails, and some or all that follow."""
    name = "full disk" if error == errno.ENOSPC else "read-only disk"
    measure = Measure(f"{name} from every file operation on ({subject})", _DEMAND)
    chain = Chain(subject, folder)
    for turn, at in enumerate(range(1, chain.operations() + 1, stride)):
        for span in SPANS if stride == 1 else (SPANS[turn % len(SPANS)],):
            job = Job(leg, {"fault": Fault(at, error=error, count=span)})
            _trial(chain, measure, job, f"{name}, {subject}, operation {at}, {span} in a row")
    return measure


def _trial(chain: Chain, measure: Measure, job: Job, name: str) -> None:
    shutil.rmtree(chain.log_dir, ignore_errors=True)
    ended = chain.start(job, measure, name, most_lost=runs.ITERATIONS)
    _check_output(ended, measure, name)
    if ended.code == 2 and "full" in measure.fault:  # on a read-only disk nothing can be removed
        left = list(chain.log_dir.rglob("*"))
        measure.require(not left, f"{name}: refused, but left {left}")
    measure.count(_OUTCOMES.get(-99 if ended.code is None else ended.code, f"exit {ended.code}"))
    if ended.code != 0:
        ended = chain.start(Job(leg), measure, f"{name}, resumed")
        measure.require(ended.code == 0, f"{name}, resumed: {ended.code}: {ended.output}")
    if ended.code == 0:
        for line in chain.reference.differences(runs.result(chain.log_dir), False):
            measure.require(False, f"{name}: {line}")


def _check_output(ended: Ended, measure: Measure, name: str) -> None:
    """No traceback, and a line for what failed."""
    words = ("cannot write", "failed:", "left out", "error:")
    measure.require("Traceback" not in ended.output, f"{name}: {ended.output[-400:]}")
    measure.require(ended.code in (0, 1, 2), f"{name}: exit {ended.code}: {ended.output[-300:]}")
    said = any(word in ended.output for word in words)
    measure.require(said or ended.code == 0, f"{name}: exit {ended.code} without a word")


class Filler:
    """A callback that fills the disk after one iteration and frees it after another."""

    def __init__(self, folder: Path, begin: int, end: int) -> None:
        self._file, self._begin, self._end = folder / "filler", begin, end

    def __call__(self, trainer: Trainer, _: Any) -> None:
        """Called after every iteration."""
        if trainer.counters.iteration == self._begin:
            _fill(self._file)
        if trainer.counters.iteration == self._end:
            self._file.unlink(missing_ok=True)


def _fill(file: Path) -> None:
    """Write zeros until the disk is full."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT)
    try:
        while os.write(descriptor, bytes(4096)):
            pass
    except OSError as error:
        assert error.errno == errno.ENOSPC
    finally:
        os.close(descriptor)


def filled_leg(config: Any, resume: bool, begin: int, end: int) -> int:
    """A run whose disk is full after some of its iterations."""
    folder = Path(config.training.log_dir).parent
    return runs.run(config, "latest" if resume else None, [Filler(folder, begin, end)])


def real_disk(subject: str, folder: Path) -> Measure:
    """A tmpfs of some MB that is full from one iteration to another, or to the end. Needs root."""
    measure = Measure(f"a real disk (tmpfs) that is full for a while ({subject})", _DEMAND)
    if os.geteuid() != 0:
        measure.count("left out, which need root")
        return measure
    with _tmpfs(folder / "disk", "16m") as disk:
        chain = Chain(subject, disk)
        for begin in range(1, runs.ITERATIONS + 1):
            for end in range(begin + 1, runs.ITERATIONS + 2):
                arguments = {"begin": begin, "end": end}
                _trial(chain, measure, Job(filled_leg, arguments), f"tmpfs full {begin} to {end}")
                (disk / "filler").unlink(missing_ok=True)
    return measure


@contextmanager
def _tmpfs(folder: Path, size: str) -> Iterator[Path]:
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    subprocess.run(["mount", *options], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)

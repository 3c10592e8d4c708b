"""Many short trials in one child: what a trial does to its process costs that trial alone."""

from __future__ import annotations

import contextlib
import io
import json
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType

from legged_ppo.cli import train as train_cli
from tests.faults.children import Job, run_child
from tests.faults.measure import Measure

LIMIT_S = 60
"""For one trial; longer is a hang."""
_BATCH = 20
"""Trials of one child."""


class _Hang(BaseException):
    pass


def _alarm(number: int, frame: FrameType | None) -> None:
    raise _Hang


def write_outcomes(trial: Callable[[int], str], seeds: Sequence[int], out: str) -> None:
    """Do one trial per seed; two lines of JSON for each go to `out`, one before and one after it."""
    signal.signal(signal.SIGALRM, _alarm)
    with open(out, "a", buffering=1) as lines:
        for seed in seeds:
            lines.write(json.dumps({"begun": seed}) + "\n")
            signal.alarm(LIMIT_S)
            try:
                outcome = trial(seed)
            except _Hang:
                outcome = f"still at work after {LIMIT_S} s"
            finally:
                signal.alarm(0)
            lines.write(json.dumps({"seed": seed, "outcome": outcome}) + "\n")


def in_batches(
    job: Job,
    seeds: Sequence[int],
    out: Path,
    measure: Measure,
    good: Sequence[str],
) -> None:
    """Let children work on the seeds; one that dies is a failure of the seed that it had begun.

    Args:
        job: takes `seeds` and `out` and calls `write_outcomes`.
        good: outcomes that are none.
    """
    left = list(seeds)
    while left:
        out.unlink(missing_ok=True)
        batch = left[:_BATCH]
        arguments = {**job.arguments, "seeds": batch, "out": str(out)}
        ended = run_child(replace(job, arguments=arguments))
        lines = [json.loads(line) for line in out.read_text().splitlines()] if out.is_file() else []
        outcomes = {line["seed"]: line["outcome"] for line in lines if "seed" in line}
        if ended.code != 0 or len(outcomes) < len(batch):
            begun = [line["begun"] for line in lines if "begun" in line] or batch[:1]
            outcomes[begun[-1]] = f"the process ended: {ended.code}: {ended.output[-300:]}"
        for seed, outcome in outcomes.items():
            measure.count(outcome if outcome in good else "otherwise")
            measure.require(outcome in good, f"seed {seed}: {outcome}")
        left = [seed for seed in left if seed not in outcomes]


def printed(arguments: Sequence[str]) -> tuple[int, str, str]:
    """Exit code of the training command, and what it prints on the standard error and output."""
    error, output = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(error), contextlib.redirect_stdout(output):
        try:
            code = train_cli.main(list(arguments))
        except SystemExit as end:  # of the parser
            code = end.code if isinstance(end.code, int) else 1
    return code, error.getvalue(), output.getvalue()

"""The outcome of one kind of fault, and the table of all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field


@dataclass
class Measure:
    """What was tried and what was found."""

    fault: str
    demand: str
    """What must hold after each trial."""
    trials: int = 0
    seen: dict[str, int] = field(default_factory=dict)
    """How trials ended, and how often."""
    failures: list[str] = field(default_factory=list)
    """Trials after which the demand did not hold, each in one line."""
    seconds: float = 0.0

    def count(self, outcome: str) -> None:
        """One more trial with this outcome."""
        self.trials += 1
        self.seen[outcome] = self.seen.get(outcome, 0) + 1

    def require(self, sound: object, line: str) -> None:
        """Note a failure unless `sound`."""
        if not sound:
            self.failures.append(" ".join(line.split())[:400])


HEADER = "| fault | trials | what must hold | how they ended | failures |\n| --- | --: | --- | --- | --: |"


def as_row(measure: Measure) -> str:
    """One row of the table, as Markdown."""
    seen = ", ".join(f"{count:,} {outcome}" for outcome, count in measure.seen.items())
    cells = (measure.fault, f"{measure.trials:,}", measure.demand, seen, len(measure.failures))
    return f"| {' | '.join(map(str, cells))} |"


def print_table(works: Iterable[Callable[[], Measure]]) -> list[Measure]:
    """Do the work of every row, and print each as soon as it is complete."""
    print(HEADER, flush=True)
    measures = []
    for work in works:
        begin = time.monotonic()
        measure = work()
        measure.seconds = time.monotonic() - begin
        print(as_row(measure), flush=True)
        measures.append(measure)
    return measures

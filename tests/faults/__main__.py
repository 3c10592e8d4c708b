"""Break runs on purpose and print the table of docs/reliability.md.

python -m tests.faults                    a minute
python -m tests.faults --long             an hour or two
python -m tests.faults --only kills       the rows whose short name begins so
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.faults.children import prepare
from tests.faults.measure import print_table
from tests.faults.rows import rows

_MEMORY = Path("/dev/shm")
"""Where fsync costs nothing."""


@contextmanager
def _folders(names: list[str]) -> Iterator[dict[str, Path]]:
    """An empty folder for each name."""
    where = str(_MEMORY) if _MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=where, prefix="faults_") as folder:
        found = {name: Path(folder) / name for name in names}
        for path in found.values():
            path.mkdir()
        yield found


def main() -> int:
    """Print the table; exit code 1 where a demand did not hold."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--long", action="store_true", help="all trials")
    parser.add_argument(
        "--trials", type=int, default=2000, help="of the long form, where their number is free"
    )
    parser.add_argument("--only", default="", metavar="NAME", help="rows that begin with this")
    arguments = parser.parse_args()
    found = rows(arguments.long, arguments.trials)
    chosen = {name: row for name, row in found.items() if name.startswith(arguments.only)}
    prepare()
    with _folders(list(chosen)) as folders:
        measures = print_table(partial(row, folder=folders[name]) for name, row in chosen.items())
    for name, measure in zip(chosen, measures, strict=True):
        print(f"{name}: {measure.seconds:.0f} s", file=sys.stderr)
        for line in measure.failures[:20]:
            print(f"{measure.fault}: {line}", file=sys.stderr)
    print(
        f"\n{sum(m.trials for m in measures):,} trials in {sum(m.seconds for m in measures):.0f} s"
    )
    return int(any(measure.failures for measure in measures))


if __name__ == "__main__":
    sys.exit(main())

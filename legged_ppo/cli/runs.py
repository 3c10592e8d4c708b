"""The command line that lists runs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from legged_ppo.cli.parser import OneLineParser, run_command
from legged_ppo.errors import ConfigError
from legged_ppo.runs.listing import STATES, list_runs


def make_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="legged-ppo runs",
        description="List the runs of a folder: state, steps, best evaluation, size, last figures or error.",
        epilog="examples:\n  legged-ppo runs\n  legged-ppo runs --log-dir logs --state failed killed",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--log-dir",
        type=Path,
        default=Path("logs"),
        metavar="DIR",
        help="folder of the runs (default: %(default)s)",
    )
    parser.add_argument(
        "--state",
        nargs="+",
        choices=STATES,
        metavar="STATE",
        help=f"only these: {', '.join(STATES)}",
    )
    return parser


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Parse, list; returns the exit code."""
    return run_command(make_parser(), _run, argv, prog)


def _run(arguments: argparse.Namespace) -> int:
    from legged_ppo.reports.runs_table import print_runs

    folder = arguments.log_dir
    if not folder.is_dir():
        raise ConfigError("--log-dir", str(folder), "a folder with runs")
    runs = list_runs(folder)
    wanted = arguments.state or {run.state for run in runs}
    runs = [run for run in runs if run.state in wanted]
    if not runs:
        print(
            f"{folder}: no runs" + (f" ({', '.join(arguments.state)})" if arguments.state else "")
        )
        return 0
    print_runs(runs)
    return 0

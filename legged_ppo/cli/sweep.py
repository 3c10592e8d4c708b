"""The command line of sweeps: many short trainings that find values for a recipe's keys."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from legged_ppo.cli.parser import OneLineParser, run_command


def make_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="legged-ppo sweep",
        description="Try values of a recipe's keys, chosen by Optuna, and tell which did best.",
        epilog="example:\n"
        "  legged-ppo sweep examples/sweep_documented_ranges.yaml --folder logs/sweeps/first",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="YAML: recipe, metric, parameters (docs/sweeps.md)"
    )
    parser.add_argument(
        "--folder",
        type=Path,
        metavar="DIR",
        help="of the sweep's runs and report; one that exists is gone on with "
        "(default: logs/sweeps/ and the file's name)",
    )
    parser.add_argument(
        "--device", default="auto", help="auto, cpu or cuda:N, of every run (default: %(default)s)"
    )
    return parser


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Parse, run the trials, report; returns the exit code."""
    return run_command(make_parser(), _run, argv, prog)


def _run(arguments: argparse.Namespace) -> int:
    from legged_ppo.config.sweep import read_sweep
    from legged_ppo.training.sweep import run_sweep

    sweep = read_sweep(arguments.file)
    folder = arguments.folder or Path("logs") / "sweeps" / arguments.file.stem
    print(run_sweep(sweep, folder, arguments.device).read_text())
    print(f"report: {folder / 'sweep.md'}, {folder / 'sweep.png'}, {folder / 'trials.csv'}")
    return 0

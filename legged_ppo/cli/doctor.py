"""The command line that examines the machine and the installation."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from legged_ppo.cli.parser import EXIT_FAILURE, OneLineParser, run_command


def make_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="legged-ppo doctor",
        description="Say what works on this machine and what to install: packages, CPU, engine, GPU, rendering, "
        "disk, wandb. The exit code is 1 where training does not work.",
        epilog="examples:\n  legged-ppo doctor\n  legged-ppo doctor --log-dir logs",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--log-dir",
        type=Path,
        default=Path("logs"),
        metavar="DIR",
        help="folder of the runs, whose disk is examined (default: %(default)s)",
    )
    return parser


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Parse, examine, print; returns the exit code."""
    return run_command(make_parser(), _run, argv, prog)


def _run(arguments: argparse.Namespace) -> int:
    from concurrent.futures import ThreadPoolExecutor

    from legged_ppo.cli import machine, software
    from legged_ppo.cli.findings import ABSENT, BROKEN, print_findings

    with ThreadPoolExecutor() as pool:  # most of the time other processes are waited for
        parts = [
            pool.submit(machine.check_rendering),
            pool.submit(machine.check_gpu),
            pool.submit(software.check_packages),
            pool.submit(machine.check_cpu),
            pool.submit(machine.check_storage, arguments.log_dir),
            pool.submit(software.check_wandb),
        ]
        rendering, gpu, packages, cpu, storage, wandb = (part.result() for part in parts)
    findings = [*packages, *cpu, *gpu, *rendering, *storage, *wandb]
    print_findings(findings)
    broken, absent = (
        [each.part for each in findings if each.state == state] for state in (BROKEN, ABSENT)
    )
    if broken:
        print(f"training does not work here: {', '.join(broken)}")
        return EXIT_FAILURE
    print("training works" + (f"; without {', '.join(absent)}" if absent else ""))
    return 0

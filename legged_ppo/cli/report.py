"""The command line that writes a page about runs."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from legged_ppo.cli.parser import OneLineParser, check_output, positive, run_command
from legged_ppo.errors import ConfigError

_IMPORTS = ("extensions=", "gym.id=")
"""Overrides that name what a checkpoint imports; others would change what is evaluated."""


def make_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="legged-ppo report",
        description="Write one HTML file about a run or several: curves, solve rates, terrain, gait, joints, "
        "advice, differences of the recipes. Seeds of one recipe are shown as mean and spread.",
        epilog="examples:\n"
        "  legged-ppo report latest\n"
        "  legged-ppo report latest --evaluate --png report.png",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN|latest",
        help="folders of runs, finished or not; latest is the newest run; extensions=[...] for --evaluate",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="HTML file (default: report.html in the run's folder, of several runs beside them)",
    )
    parser.add_argument(
        "--png", type=Path, metavar="FILE", help="write the pictures as one PNG too"
    )
    parser.add_argument(
        "--evaluate",
        action="store_true",
        help="first evaluate runs that have no evaluation, or an older one than their best checkpoint",
    )
    parser.add_argument(
        "--episodes",
        type=positive,
        default=256,
        metavar="N",
        help="of such an evaluation (default: %(default)s)",
    )
    parser.add_argument(
        "--log-dir", metavar="DIR", default="logs", help="folder of `latest` (default: %(default)s)"
    )
    return parser


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Parse, read, write; returns the exit code."""
    return run_command(make_parser(), _run, argv, prog)


def _run(arguments: argparse.Namespace) -> int:
    overrides = [each for each in arguments.runs if each.startswith(_IMPORTS)]
    names = [each for each in arguments.runs if each not in overrides]
    folders = list(dict.fromkeys(folder_of(name, arguments.log_dir) for name in names))
    if not folders:
        raise ConfigError("RUN", None, "the folder of a run")
    output = arguments.output or _default_output(folders)
    check_output("--output", output, ".html")
    if arguments.png:
        check_output("--png", arguments.png, ".png")

    from legged_ppo.reports.run_page import write_page
    from legged_ppo.reports.run_record import read_run

    if arguments.evaluate:
        for folder in folders:
            _evaluate(folder, overrides, arguments.episodes)
    write_page([read_run(folder) for folder in folders], output, arguments.png)
    print(f"report: {output}")
    if arguments.png:
        print(f"pictures: {arguments.png}")
    return 0


def folder_of(name: str, log_dir: str) -> Path:
    """The run that a user names."""
    if name == "latest":
        newest = Path(log_dir) / "checkpoints"
        if not newest.is_dir():
            raise ConfigError("RUN", name, f"the folder of a run, or a run under {log_dir}/")
        return Path(os.path.relpath(newest.resolve().parent))
    folder = Path(name)
    if not folder.is_dir():
        raise ConfigError("RUN", name, "the folder of a run")
    return folder.parent if folder.name == "checkpoints" else folder


def _default_output(folders: Sequence[Path]) -> Path:
    if len(folders) == 1:
        return folders[0] / "report.html"
    common = os.path.commonpath([folder.absolute().parent for folder in folders])
    return Path(os.path.relpath(common)) / "report.html"


def _evaluate(folder: Path, overrides: Sequence[str], episodes: int) -> None:
    """Write evaluation.json of the best checkpoint unless there is one; without a checkpoint nothing is done."""
    from legged_ppo.evaluation.trained_policy import load_policy
    from legged_ppo.reports.run_report import evaluate_run
    from legged_ppo.runs.run_directory import TO_ACT, find_checkpoint
    from legged_ppo.sim.mujoco_warnings import counted_warnings

    if not any((folder / "checkpoints").glob("*.pth")):
        print(f"{folder}: no checkpoint to evaluate yet")
        return
    checkpoint = find_checkpoint(folder, "", "RUN", TO_ACT)
    written = folder / "evaluation.json"
    if written.is_file() and written.stat().st_mtime >= checkpoint.stat().st_mtime:
        return
    policy = load_policy(checkpoint, overrides)
    with counted_warnings():
        evaluate_run(folder, policy, episodes, policy.config.training.seed)

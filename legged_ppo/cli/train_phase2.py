"""The command line of Phase 2: distil a teacher into a student, then fine-tune it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from legged_ppo.cli.parser import OneLineParser, run_command
from legged_ppo.cli.train import add_run_options, run_training

if TYPE_CHECKING:
    from legged_ppo.config.schema import Config


def make_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="train_phase2.py",
        description="Distil a trained policy into a student that sees by a depth camera, by DAgger, and "
        "fine-tune the student with PPO. Keys that the recipe leaves out are the teacher's.",
        epilog="examples:\n"
        "  python train_phase2.py --config configs/phase2_monolithic.yaml "
        "--teacher logs/checkpoints/phase1_best.pth\n"
        "  python train_phase2.py --resume latest",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_run_options(parser)
    parser.add_argument(
        "--teacher",
        metavar="PATH|latest",
        help="the policy to distil: a checkpoint or a run of train_phase1.py; of a resumed run its own copy",
    )
    return parser


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Parse, train, report; returns the exit code."""
    return run_command(make_parser(), _run, argv, prog)


def _run(arguments: argparse.Namespace) -> int:
    from legged_ppo.errors import ConfigError

    if not arguments.resume and not arguments.teacher:
        raise ConfigError("--teacher", None, "a checkpoint or a run of train_phase1.py")
    return run_training(arguments, lambda: _foundation(arguments), teacher=arguments.teacher)


def _foundation(arguments: argparse.Namespace) -> Config:
    """What the recipe need not say, from the teacher, or of a resumed run from its own copy of it. Groups among
    the overrides, such as terrain=full, replace sections of it, as in an evaluation; the recipe lies above.
    """
    from legged_ppo.config.keys import override_values
    from legged_ppo.config.overrides import apply_overrides, is_group
    from legged_ppo.config.schema import TrainingConfig
    from legged_ppo.runs.run_directory import TO_RESUME, RunDirectory, find_checkpoint
    from legged_ppo.training.teacher import foundation_of

    log_dir = str(
        override_values(arguments.overrides).get("training.log_dir", TrainingConfig().log_dir)
    )
    if arguments.teacher:
        # The full path: `latest` is this run itself as soon as it has begun.
        path = find_checkpoint(arguments.teacher, log_dir, "--teacher").resolve()
        arguments.teacher = str(path)
    else:
        path = find_checkpoint(arguments.resume, log_dir, "--resume", TO_RESUME)
        run = RunDirectory.of_checkpoint(path)
        path = run.teacher if run else path
    found = foundation_of(path, arguments.overrides)
    groups = [each for each in arguments.overrides if is_group(each) and "preset=" not in each]
    arguments.overrides = [each for each in arguments.overrides if each not in groups]
    return apply_overrides(found, groups)

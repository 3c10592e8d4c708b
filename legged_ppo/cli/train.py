"""The command line of training. Heavy imports follow after the arguments are parsed."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from legged_ppo.cli.parser import OneLineParser, run_command
from legged_ppo.runtime.cpu import busy_cores, sleep_soon_when_waiting

if TYPE_CHECKING:
    from legged_ppo.config.schema import Config


def make_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="train_phase1.py",
        description="Train a recurrent locomotion policy by massively parallel PPO.",
        epilog="examples:\n"
        "  python train_phase1.py --config configs/phase1_quickstart.yaml\n"
        "  python train_phase1.py --config configs/phase1_quickstart.yaml robot=a1 ppo.learning_rate=1e-4\n"
        "  python train_phase1.py --resume latest\n"
        "  python train_phase1.py --config configs/phase1_quickstart.yaml terrain=course "
        "--init-from logs/checkpoints/phase1_best.pth",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_run_options(parser)
    parser.add_argument(
        "--init-from", metavar="PATH|latest", help="start a new run from a checkpoint or a run"
    )
    return parser


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """--config, --device, --resume, --print-config and the overrides."""
    parser.add_argument(
        "--config", metavar="PATH", help="recipe, a YAML file; of a resumed run its own by default"
    )
    parser.add_argument(
        "--device", default="auto", help="auto, cpu or cuda:N (default: %(default)s)"
    )
    parser.add_argument(
        "--resume",
        metavar="PATH|latest",
        help="continue a run: its folder, a checkpoint, or the newest run",
    )
    parser.add_argument(
        "--print-config", action="store_true", help="print the resolved config and exit"
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="change the recipe: ppo.gamma=0.98, robot=a1 (a group), +preset=debug (add a group)",
    )


_NEIGHBOUR = 0.5
"""Cores that other processes keep busy, from which on spinning threads would lose more than they gain."""


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Parse, train, report; returns the exit code."""
    return run_command(make_parser(), _run, argv, prog)


def _run(arguments: argparse.Namespace) -> int:
    from legged_ppo.errors import UsageError

    if arguments.resume and arguments.init_from:
        raise UsageError("--init-from cannot be combined with --resume")
    return run_training(arguments, None, init_from=arguments.init_from)


def run_training(
    arguments: argparse.Namespace, foundation: Callable[[], Config] | None, **start: Any
) -> int:
    """Print the config, or train; returns the exit code.

    Args:
        foundation: gives what a recipe need not say (`load_config`).
        start: arguments of `train` that say what a run begins from.
    """
    if not arguments.print_config and busy_cores() > _NEIGHBOUR:
        sleep_soon_when_waiting()  # before torch is imported
    from legged_ppo.config.loading import config_to_yaml

    config = _config_of(arguments, foundation)
    if arguments.print_config:
        print(config_to_yaml(config), end="")
        return 0
    from legged_ppo.cli.output import surviving_output
    from legged_ppo.training.run import train

    with surviving_output():
        train(
            config,
            device=arguments.device,
            resume=arguments.resume,
            name=Path(arguments.config).stem if arguments.config else "run",
            **start,
        )
    return 0


def _config_of(
    arguments: argparse.Namespace, foundation: Callable[[], Config] | None = None
) -> Config:
    """The recipe with the overrides, on its foundation; of a resumed run without a recipe the checkpoint's
    config.

    Raises:
        ConfigError: there is no recipe, or it or an override is wrong.
    """
    from legged_ppo.config.keys import errors_from
    from legged_ppo.config.loading import load_config
    from legged_ppo.config.overrides import apply_overrides
    from legged_ppo.config.schema import TrainingConfig
    from legged_ppo.errors import ConfigError
    from legged_ppo.evaluation.trained_policy import check_import
    from legged_ppo.runs import checkpoint as checkpoints
    from legged_ppo.runs.run_directory import TO_RESUME, RunDirectory, find_checkpoint
    from legged_ppo.terrain.checks import check_ground

    if arguments.config:
        below = foundation() if foundation else None
        config = load_config(arguments.config, arguments.overrides, below)
        with errors_from(arguments.config, arguments.overrides):
            check_ground(config)
        return config
    if not arguments.resume:
        raise ConfigError("--config", None, "a recipe such as configs/phase1_quickstart.yaml")
    given = dict(override.partition("=")[::2] for override in arguments.overrides)
    log_dir = given.get("training.log_dir", TrainingConfig().log_dir)
    path = find_checkpoint(arguments.resume, log_dir, "--resume", TO_RESUME)
    saved = checkpoints.checkpoint_config(checkpoints.load_checkpoint(path), path)
    check_import(saved, arguments.overrides, path)
    arguments.resume = str(path)
    if RunDirectory.of_checkpoint(path) is None:  # moved: the stored folder may be another run's
        saved.training.log_dir = log_dir
    config = apply_overrides(saved, arguments.overrides)
    with errors_from(str(path), arguments.overrides):
        check_ground(config)
    return config

"""The options that play.py and evaluate.py share."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from legged_ppo.cli.parser import not_negative
from legged_ppo.errors import ConfigError

if TYPE_CHECKING:
    from legged_ppo.config.schema import Config
    from legged_ppo.evaluation.trained_policy import TrainedPolicy

_OF_ROBOTS = (
    *("command", "terrain", "level", "seconds", "size", "camera", "viewer", "show_depth"),
    *("episodes_per_cell", "report", "protocol", "compare"),
)
"""Options that only robots have."""


def add_checkpoint_options(parser: argparse.ArgumentParser, level_help: str) -> None:
    """--checkpoint, --log-dir, --seed, --stochastic, --terrain, --level and the overrides."""
    add_source_options(parser, level_help)
    parser.add_argument(
        "--seed",
        type=not_negative,
        default=0,
        help="seed of commands, noise and robots (default: 0)",
    )
    parser.add_argument(
        "--stochastic", action="store_true", help="sample the actions instead of taking their mode"
    )


def add_source_options(parser: argparse.ArgumentParser, level_help: str) -> None:
    """--checkpoint, --log-dir, --terrain, --level and the overrides."""
    parser.add_argument(
        "--checkpoint",
        metavar="PATH|latest",
        default="latest",
        help="a .pth file or a run's folder, in which phase1_best.pth comes before phase1_latest.pth; "
        "latest is the newest run, pretrained:NAME comes with the package, wandb:entity/project/run and "
        "trackio:project/run are fetched from there (default: %(default)s)",
    )
    parser.add_argument(
        "--log-dir", metavar="DIR", default="logs", help="folder of the runs (default: %(default)s)"
    )
    parser.add_argument(
        "--terrain",
        metavar="TYPE",
        help="only this terrain type of the checkpoint's grid; terrain=full beside it has all types",
    )
    parser.add_argument("--level", type=not_negative, metavar="L", help=level_help)
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="change the checkpoint's robot, terrain, sim or task: terrain=flat, "
        "task.commands.lin_vel_x=[0,1]; of a Gymnasium environment its gym: gym.success_return=200",
    )


def place_of(arguments: argparse.Namespace) -> tuple[str, int] | None:
    """Terrain type and level of --terrain and --level; None where neither was given.

    Raises:
        ConfigError: a level without a type.
    """
    if arguments.terrain is None:
        if arguments.level is not None:
            raise ConfigError("--level", arguments.level, "--terrain TYPE beside it")
        return None
    return arguments.terrain, arguments.level or 0


def refuse(arguments: argparse.Namespace, why: str, *names: str) -> None:
    """Refuse options that would be ignored.

    Raises:
        ConfigError: one of `names` was given.
    """
    for name in names:
        value = getattr(arguments, name, None)
        if value is not None:
            option = f"--{name.replace('_', '-')}"
            raise ConfigError(option, str(value), f"left out {why}")


def load(arguments: argparse.Namespace, conditions: Config | None = None) -> TrainedPolicy:
    """The policy of --checkpoint under its recipe with the overrides, or under `conditions` (`load_policy`).

    Raises:
        ConfigError: what `load_policy` raises; an option for robots where there are none.
    """
    from legged_ppo.evaluation.task import RobotTask, task_of
    from legged_ppo.evaluation.trained_policy import load_policy

    loaded = load_policy(
        arguments.checkpoint,
        arguments.overrides,
        device=getattr(arguments, "device", "cpu"),
        log_dir=arguments.log_dir,
        conditions=conditions,
    )
    if not isinstance(task_of(loaded.config), RobotTask):
        refuse(arguments, f"for {loaded.config.subject}: it is for robots", *_OF_ROBOTS)
    return loaded

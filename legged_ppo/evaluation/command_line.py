"""What play.py and evaluate.py share: their common options, 'latest', and the fate of bad input.

Nothing heavy is imported before the arguments are known, so that --help answers at once.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from legged_ppo.config.errors import ConfigError

EXIT_BAD_INPUT, EXIT_FAILURE, EXIT_INTERRUPTED = 2, 1, 130


def add_checkpoint_options(parser: argparse.ArgumentParser) -> None:
    """--checkpoint, --log-dir, --seed, --stochastic and the overrides."""
    parser.add_argument(
        "--checkpoint",
        metavar="PATH|latest",
        default="latest",
        help="a .pth file; latest is the newest run's phase1_best.pth, or phase1_latest.pth while "
        "there is no best (default: %(default)s)",
    )
    parser.add_argument(
        "--log-dir", metavar="DIR", default="logs", help="folder of the runs (default: %(default)s)"
    )
    parser.add_argument(
        "--seed",
        type=_not_negative,
        default=0,
        help="seed of commands, noise and robots (default: 0)",
    )
    parser.add_argument(
        "--stochastic", action="store_true", help="sample the actions instead of taking their mode"
    )
    parser.add_argument(
        "--terrain", metavar="TYPE", help="only this terrain type of the checkpoint's grid"
    )
    parser.add_argument("--level", type=_not_negative, metavar="L", help="its level (default: 0)")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="change the checkpoint's robot, terrain, sim or task: terrain=flat, "
        "task.commands.lin_vel_x=[0,1]",
    )


def place_of(arguments: argparse.Namespace) -> tuple[str, int] | None:
    """Terrain type and level of --terrain and --level; None where neither was given.

    Raises:
        ConfigError: a level without a type.
    """
    if arguments.terrain is None:
        if arguments.level is not None:
            raise ConfigError("--level", arguments.level, "used together with --terrain TYPE")
        return None
    return arguments.terrain, arguments.level or 0


def positive(text: str) -> int:
    """An argument that must be an integer above 0."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def run_command(
    parser: argparse.ArgumentParser,
    body: Callable[[argparse.Namespace], int],
    argv: Sequence[str] | None,
) -> int:
    """Parse and run; returns the exit code. Bad input gets one line and code 2."""
    arguments = parser.parse_intermixed_args(argv)
    try:
        return body(arguments)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_FAILURE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except Exception:
        traceback.print_exc()
        return EXIT_FAILURE


def find_checkpoint(name: str, log_dir: str) -> Path:
    """The file that `--checkpoint PATH|latest` means.

    Raises:
        ConfigError: there is no such checkpoint.
    """
    if name != "latest":
        return Path(name)  # load_checkpoint tells what is wrong with it
    from legged_ppo.training.run_directory import BEST, LATEST

    folder = Path(log_dir) / "checkpoints"
    for candidate in (folder / BEST, folder / LATEST):
        if candidate.is_file():
            return candidate.resolve()
    raise ConfigError(
        "--checkpoint",
        name,
        f"a .pth file, or 'latest' with a run under {log_dir}/ (there is none)",
    )


def check_output(option: str, path: Path, *suffixes: str) -> None:
    """Refuse an output that cannot be written, before minutes of work for it.

    Raises:
        ConfigError: another suffix, or a folder that does not exist.
    """
    if path.suffix not in suffixes:
        expected = f"a file whose name ends in {' or '.join(suffixes)}"
        raise ConfigError(option, str(path), expected)
    if not path.parent.is_dir():
        expected = f"a file in a folder that exists ({path.parent} does not)"
        raise ConfigError(option, str(path), expected)


def _not_negative(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return value

"""What all commands share: exit codes, the fate of bad input, checked arguments.

Nothing heavy is imported before the arguments are known, so that --help answers at once.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from legged_ppo.errors import (
    ConfigError,
    UsageError,
    WorkerError,
    WriteError,
    is_out_of_memory,
)
from legged_ppo.runtime.cpu import keep_freed_memory
from legged_ppo.training.divergence import TrainingDiverged

EXIT_BAD_INPUT, EXIT_FAILURE, EXIT_INTERRUPTED = 2, 1, 130


class OneLineParser(argparse.ArgumentParser):
    """Reports bad arguments in one line, like all other bad input."""

    def error(self, message: str) -> NoReturn:
        if found := re.search(r"unrecognized arguments: (--[\w-]+)", message):
            from legged_ppo.config.keys import meant_key

            if key := meant_key(found.group(1)):
                message += f"; did you mean {key}=...?"
        self.exit(EXIT_BAD_INPUT, f"error: {' '.join(message.split())}\n")


class _Lines(logging.Handler):
    """Prints the package's log records as plain lines: warnings to stderr, the others to stdout."""

    def emit(self, record: logging.LogRecord) -> None:
        stream = sys.stderr if record.levelno >= logging.WARNING else sys.stdout
        print(self.format(record), file=stream, flush=True)


def show_log_lines() -> None:
    """Let a user of the command line see what the library logs; a second call changes nothing."""
    log = logging.getLogger("legged_ppo")
    log.setLevel(logging.INFO)
    if not any(isinstance(handler, _Lines) for handler in log.handlers):
        log.addHandler(_Lines())


def run_command(
    parser: argparse.ArgumentParser,
    body: Callable[[argparse.Namespace], int],
    argv: Sequence[str] | None,
    prog: str | None = None,
) -> int:
    """Parse and run; returns the exit code. Bad input gets one line and code 2.

    A second Ctrl-C, which may come while the first one is handled, ends the process at once.

    Args:
        prog: the name that the help shows in place of the parser's own, in the examples too.
    """
    if prog:
        examples = (parser.epilog or "").replace(f"python {parser.prog}", prog)
        parser.epilog, parser.prog = examples.replace(parser.prog, prog), prog
    arguments = parser.parse_intermixed_args(argv)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _interrupt)
    keep_freed_memory()
    show_log_lines()
    try:
        return body(arguments)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except Exception as error:
        if _was_interrupted(error):
            return EXIT_INTERRUPTED
        return _report(error, arguments)


def _was_interrupted(error: BaseException) -> bool:
    """Whether cleaning up after Ctrl-C raised the error, as OmegaConf's does half-way in a merge."""
    cause = error.__context__
    return cause is not None and (isinstance(cause, KeyboardInterrupt) or _was_interrupted(cause))


def _report(error: Exception, arguments: argparse.Namespace) -> int:
    """Print an error, in one line where the user can mend its cause; returns the exit code."""
    if isinstance(error, OSError):
        error = _of_argument(error, arguments) or error
    if isinstance(error, (ConfigError, UsageError)):
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    if isinstance(error, (BrokenPipeError, TrainingDiverged, WorkerError, WriteError)):
        print(f"error: {error}", file=sys.stderr)
    elif is_out_of_memory(error):
        print(f"error: out of memory: {str(error).splitlines()[0]}", file=sys.stderr)
        for note in getattr(error, "__notes__", []):
            print(note, file=sys.stderr)
        print(
            "lower training.num_envs, ppo.rollout_length or the sizes that the physics printed "
            "(sim.contacts, sim.constraints, sim.convex_pairs), or raise ppo.gradient_accumulation; "
            "checkpoints are as they were",
            file=sys.stderr,
        )
    else:
        traceback.print_exception(error)
    return EXIT_FAILURE


def _of_argument(error: OSError, arguments: argparse.Namespace) -> ConfigError | None:
    """The error as one of user input, where its path is what an option was given; else None."""
    for name, value in vars(arguments).items():
        if isinstance(value, (str, Path)) and str(value) == str(error.filename):
            option = f"--{name.replace('_', '-')}"
            return ConfigError(option, str(value), f"a path that can be used ({error.strerror})")
    return None


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """Raise KeyboardInterrupt, and exit at the next SIGINT."""
    signal.signal(signal.SIGINT, lambda *_: os._exit(EXIT_INTERRUPTED))
    raise KeyboardInterrupt


def positive(text: str) -> int:
    """An argument that must be an integer above 0."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def not_negative(text: str) -> int:
    """An argument that must be an integer, 0 or above."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return value


def check_output(option: str, path: Path, *suffixes: str) -> None:
    """Refuse an output that cannot be written, before minutes of work for it.

    Raises:
        ConfigError: another suffix, or a folder that does not exist or cannot be written.
    """
    if path.suffix not in suffixes:
        expected = f"a file whose name ends in {' or '.join(suffixes)}"
        raise ConfigError(option, str(path), expected)
    if not path.parent.is_dir():
        expected = f"a file in a folder that exists ({path.parent} does not)"
        raise ConfigError(option, str(path), expected)
    if path.is_dir():
        raise ConfigError(option, str(path), "a file (this is a folder)")
    try:
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        expected = f"a file in a folder that can be written ({error.strerror})"
        raise ConfigError(option, str(path), expected) from None

"""`legged-ppo <command>`: every command under one name, for an installed package."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import legged_ppo
from legged_ppo.cli.parser import EXIT_BAD_INPUT
from legged_ppo.errors import ConfigError

COMMANDS = {
    "train": "train a policy, or resume a run",
    "train_phase2": "distil a policy into a student that sees by a camera",
    "play": "watch a trained policy, or record it",
    "evaluate": "measure a trained policy",
    "export": "write a policy for a robot: ONNX or TorchScript",
    "report": "write a page about one run or several",
    "runs": "list the runs of a folder and their states",
    "doctor": "say what works on this machine and what to install",
    "sweep": "try values of a recipe's keys",
    "robot": "check a robot file, or draft one from an MJCF",
    "terrain": "draw the terrain types",
}
"""Each is the module of that name in legged_ppo.cli, imported when it is called."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the first argument names; returns its exit code."""
    name, *rest = (sys.argv[1:] if argv is None else argv) or [""]
    if name in COMMANDS:
        module = importlib.import_module(f"legged_ppo.cli.{name}")
        return int(module.main(rest, prog=f"legged-ppo {name}"))
    if name in ("-h", "--help"):
        print(_help())
        return 0
    if name == "--version":
        print(f"legged_ppo {legged_ppo.__version__}")
        return 0
    expected = f"one of {', '.join(COMMANDS)}"
    print(f"error: {ConfigError('command', name, expected, choices=COMMANDS)}", file=sys.stderr)
    return EXIT_BAD_INPUT


def _help() -> str:
    lines = [f"  {name:14}{purpose}" for name, purpose in COMMANDS.items()]
    usage = "usage: legged-ppo [--version] <command> [--help] ..."
    return "\n".join([usage, "", "commands:", *lines])


if __name__ == "__main__":
    sys.exit(main())

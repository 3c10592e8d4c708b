"""The command line of export: a trained policy as a file that a robot takes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from legged_ppo.cli import options
from legged_ppo.cli import parser as command_line
from legged_ppo.errors import UsageError

_SUFFIXES = {"onnx": (".onnx",), "torchscript": (".pt", ".jit")}


def make_parser() -> argparse.ArgumentParser:
    parser = command_line.OneLineParser(
        prog="export.py",
        description="Export a trained policy for a robot: sensors in, joint targets out. Beside the graph lie "
        "its golden trace (.npz) and a scene (.xml) for the runner; docs/deploy.md explains them.",
        epilog="examples:\n"
        "  python export.py --checkpoint latest --output policy.onnx\n"
        "  python export.py --output policy.pt --format torchscript\n"
        "  python export.py --output stairs.onnx terrain=full --terrain stairs_up --level 2",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_source_options(parser, "level of the scene's endless tile (default: 0)")
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="FILE",
        help="file to write: .onnx, .pt or .jit",
    )
    parser.add_argument(
        "--format", choices=_SUFFIXES, default="onnx", help="of the file (default: %(default)s)"
    )
    return parser


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Parse, export; returns the exit code."""
    return command_line.run_command(make_parser(), _run, argv, prog)


def _run(arguments: argparse.Namespace) -> int:
    command_line.check_output("--output", arguments.output, *_SUFFIXES[arguments.format])
    place = options.place_of(arguments)

    from legged_ppo.deploy.export import export_policy
    from legged_ppo.evaluation.task import RobotTask, task_of

    loaded = options.load(arguments)
    if not isinstance(task_of(loaded.config), RobotTask):
        raise UsageError(f"{loaded.config.subject} is not a robot of LocomotionEnv")
    files = export_policy(
        loaded.network,
        loaded.config,
        arguments.output,
        form=arguments.format,
        place=place,
        checkpoint={"checkpoint": loaded.path.name, "env_steps": loaded.env_steps},
    )
    print(f"exported: {', '.join(map(str, files))}")
    return 0

"""python -m legged_ppo.deploy.run policy.onnx: an exported policy in plain MuJoCo, without torch.

Needs onnxruntime, mujoco and numpy; the loop is the one that docs/deploy.md asks of a program on a robot.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from legged_ppo.errors import ConfigError, UsageError

_BAD_INPUT, _INTERRUPTED = 2, 130


class _Parser(argparse.ArgumentParser):
    """Reports bad arguments in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(_BAD_INPUT, f"error: {' '.join(message.split())}\n")


def make_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m legged_ppo.deploy.run",
        description="Run an exported policy in plain MuJoCo, with onnxruntime instead of torch.",
        epilog="examples:\n"
        "  python -m legged_ppo.deploy.run policy.onnx\n"
        "  python -m legged_ppo.deploy.run policy.onnx --command 0.5,0,0 --seconds 5 --fast\n"
        "  python -m legged_ppo.deploy.run policy.onnx --video walk.mp4 --command 0.8,0,0 --seconds 8\n"
        "  python -m legged_ppo.deploy.run policy.onnx --episodes 64",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "policy", type=Path, metavar="POLICY.onnx", help="file of legged-ppo export"
    )
    parser.add_argument(
        "--scene",
        type=Path,
        metavar="FILE.xml",
        help="MJCF of robot and ground (default: the .xml beside the policy)",
    )
    parser.add_argument(
        "--command",
        type=_command,
        metavar="VX,VY,YAW",
        help="forward, lateral velocity [m/s] and yaw rate [rad/s]; write --command=-0.5,0,0 when it "
        "begins with a minus (default: keys of the terminal, and drawn commands with --episodes)",
    )
    parser.add_argument(
        "--episodes",
        type=_positive(int),
        metavar="N",
        help="measure N episodes as evaluate.py does, as fast as possible",
    )
    parser.add_argument("--seconds", type=_positive(float), metavar="S", help="length of the run")
    parser.add_argument(
        "--video", type=Path, metavar="FILE.mp4", help="record, as fast as possible"
    )
    parser.add_argument("--fast", action="store_true", help="as fast as possible, not in real time")
    parser.add_argument(
        "--view", action="store_true", help="show MuJoCo's viewer (needs a display)"
    )
    parser.add_argument(
        "--gamepad", action="store_true", help="drive by the sticks of a gamepad (needs pygame)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of --episodes (default: 0)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Parse and run; returns the exit code."""
    arguments = make_parser().parse_args(argv)
    try:
        return _run(arguments)
    except (ConfigError, UsageError) as error:
        print(f"error: {error}", file=sys.stderr)
        return _BAD_INPUT
    except KeyboardInterrupt:
        return _INTERRUPTED


def _run(arguments: argparse.Namespace) -> int:
    if importlib.util.find_spec("onnxruntime") is None:
        raise UsageError("the runner needs onnxruntime", "pip install onnxruntime")
    check(arguments)
    from legged_ppo.deploy.pictures import choose_backend

    choose_backend()
    import numpy as np

    from legged_ppo.deploy.policy_file import OnnxPolicy
    from legged_ppo.deploy.simulation import Simulation
    from legged_ppo.deploy.walker import Walker

    policy = OnnxPolicy(arguments.policy)
    scene = arguments.scene or arguments.policy.with_suffix(".xml")
    if not scene.is_file():
        raise ConfigError("--scene", str(scene), "an MJCF of robot and ground")
    noise = np.random.default_rng([arguments.seed, 1]) if arguments.episodes else None
    simulation = Simulation(policy.metadata, scene, str(arguments.policy), noise)
    walker = Walker(policy, simulation, str(arguments.policy), noise)
    origin = policy.metadata.origin
    print(f"{arguments.policy}: {policy.metadata.robot.name}, {origin.get('env_steps', 0):,} steps")
    command = None if arguments.command is None else np.array(arguments.command)
    if arguments.episodes:
        from legged_ppo.deploy.episodes import run_episodes, table

        print("\n".join(table(run_episodes(walker, arguments.episodes, arguments.seed, command))))
        return 0
    from legged_ppo.deploy.drive import drive

    drive(
        walker,
        command=command,
        seconds=arguments.seconds,
        seed=arguments.seed,
        real_time=not (arguments.fast or arguments.video),
        video=arguments.video,
        view=arguments.view,
        gamepad=arguments.gamepad,
    )
    return 0


def check(arguments: argparse.Namespace) -> None:
    """Refuse options that would be ignored, before any work.

    Raises:
        ConfigError: options exclude each other, or the video cannot be written there.
    """
    if arguments.episodes:
        for name in ("seconds", "video", "view", "gamepad"):
            if getattr(arguments, name):
                raise ConfigError(f"--{name}", getattr(arguments, name), "left out with --episodes")
    if arguments.gamepad and arguments.command:
        raise ConfigError("--command", list(arguments.command), "left out with --gamepad")
    if arguments.video:
        if arguments.video.suffix != ".mp4" or not arguments.video.parent.is_dir():
            expected = "a file whose name ends in .mp4, in a folder that exists"
            raise ConfigError("--video", str(arguments.video), expected)
        if arguments.view:
            raise ConfigError("--view", True, "left out with --video")
        if arguments.seconds is None:
            raise ConfigError("--seconds", None, "a number beside --video")


def _command(text: str) -> tuple[float, float, float]:
    try:
        forward, lateral, yaw_rate = (float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not three numbers such as 0.5,0,0") from None
    return forward, lateral, yaw_rate


def _positive(kind: Callable[[str], float]) -> Callable[[str], float]:
    def read(text: str) -> float:
        value = kind(text)
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        return value

    read.__name__ = kind.__name__
    return read


if __name__ == "__main__":
    sys.exit(main())

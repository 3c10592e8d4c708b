"""The command line of play: a policy in a viewer, in a video, or in figures by episode."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from legged_ppo.cli import options
from legged_ppo.cli import parser as command_line
from legged_ppo.errors import UsageError
from legged_ppo.viewer.cameras import CAMERAS
from legged_ppo.viewer.gl_backend import has_display
from legged_ppo.viewer.web_address import LOCAL, PORT

if TYPE_CHECKING:
    from legged_ppo.evaluation.trained_policy import TrainedPolicy

_SIZE = "800x450"
_WITHOUT_DISPLAY = "--viewer web shows the robots in a browser, --video FILE.mp4 records them"


def make_parser() -> argparse.ArgumentParser:
    parser = command_line.OneLineParser(
        prog="play.py",
        description="Watch a trained policy and drive it: in MuJoCo's window where there is a display, "
        "in a browser with --viewer web, else as figures; or record it.",
        epilog="examples:\n"
        "  python play.py --checkpoint latest --command 0.8,0,0\n"
        "  python play.py --viewer web --envs 16 --terrain rough --level 1\n"
        "  python play.py --video walk.mp4 --gif walk.gif terrain=mild\n"
        "  python play.py --video walk.mp4 --seconds 8 --size 1280x720 --camera side\n"
        "  python play.py --share page --terrain rough --level 1",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_checkpoint_options(parser, "its level (default: 0)")
    parser.add_argument(
        "--episodes",
        type=command_line.positive,
        metavar="N",
        help="episodes to play (default: 5, in a recording 1, in a viewer until it is closed)",
    )
    parser.add_argument(
        "--viewer",
        choices=("native", "web"),
        help="native: MuJoCo's window, where there is a display (default there); "
        "web: served to browsers until Ctrl-C, needs the extra 'web'",
    )
    parser.add_argument(
        "--envs",
        type=command_line.positive,
        metavar="N",
        help="robots of --viewer web (default: 1)",
    )
    parser.add_argument(
        "--host",
        metavar="ADDRESS",
        help=f"address that --viewer web is served at (default: {LOCAL}, this machine alone; "
        "0.0.0.0 lets everyone drive who can reach this machine)",
    )
    parser.add_argument(
        "--port", type=_port, metavar="N", help=f"port of --viewer web (default: {PORT})"
    )
    parser.add_argument(
        "--command",
        type=_command,
        metavar="VX,VY,YAW",
        help="one velocity command [m/s, m/s, rad/s] instead of drawn ones; write "
        "--command=-0.5,0,0 when it begins with a minus",
    )
    parser.add_argument("--video", type=Path, metavar="FILE", help="record to this MP4 file")
    parser.add_argument("--gif", type=Path, metavar="FILE", help="record to this GIF file")
    parser.add_argument(
        "--share",
        type=Path,
        metavar="DIR",
        help="write a static web page into this folder, in which anyone drives the policy by keys or touch",
    )
    parser.add_argument(
        "--gif-fps",
        type=command_line.positive,
        default=20,
        metavar="N",
        help="frames per second of the GIF (default: %(default)s)",
    )
    parser.add_argument(
        "--seconds",
        type=_seconds,
        metavar="S",
        help="length of a recording or of a viewer, in place of --episodes",
    )
    parser.add_argument(
        "--size",
        type=_size,
        metavar="WxH",
        help=f"pixels of a recording (default: {_SIZE}); a GIF is at most 480 wide",
    )
    parser.add_argument(
        "--camera",
        choices=CAMERAS,
        help="view of a recording or of a viewer (default: follow, from behind and beside)",
    )
    parser.add_argument(
        "--show-depth",
        action="store_const",
        const=True,
        help="put the image of the robot's depth camera into a recording; a policy without one "
        "gets a camera for the picture alone",
    )
    return parser


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Parse, play; returns the exit code."""
    return command_line.run_command(make_parser(), _run, argv, prog)


def _run(arguments: argparse.Namespace) -> int:
    for option, path, suffix in (
        ("--video", arguments.video, ".mp4"),
        ("--gif", arguments.gif, ".gif"),
    ):
        if path:
            command_line.check_output(option, path, suffix)
    if arguments.share:
        return _share(arguments)
    recording = arguments.video or arguments.gif
    if recording:
        options.refuse(arguments, "with --video or --gif", "viewer")
    if arguments.episodes is not None:
        options.refuse(arguments, "with --episodes", "seconds")
    if not recording:
        options.refuse(arguments, "without --video or --gif", "size", "show_depth")
    if arguments.viewer != "web":
        options.refuse(arguments, "without --viewer web", "envs", "host", "port")
    if arguments.viewer == "native" and not has_display(os.environ):
        raise UsageError("--viewer native needs a display, and there is none", _WITHOUT_DISPLAY)
    if not (recording or arguments.viewer or has_display(os.environ)):
        options.refuse(
            arguments, "without --video, --gif, --viewer web or a display", "seconds", "camera"
        )

    from legged_ppo.sim.mujoco_warnings import counted_warnings
    from legged_ppo.viewer.video_writer import VideoError

    policy = options.load(arguments)
    print(f"{policy.path}: {policy.env_steps:,} environment steps")
    try:
        with counted_warnings():
            return _play(policy, arguments)
    except VideoError as error:
        print(f"error: {error}", file=sys.stderr)
        return command_line.EXIT_FAILURE


def _play(policy: TrainedPolicy, arguments: argparse.Namespace) -> int:
    from legged_ppo.evaluation.task import RobotTask, task_of
    from legged_ppo.reports.tables import figures_table, print_tables

    task = task_of(policy.config)
    robots = isinstance(task, RobotTask)
    if arguments.video or arguments.gif:
        if _record(policy, arguments):
            return 0
    elif robots and arguments.viewer == "web":
        return _serve(policy, arguments)
    elif robots and has_display(os.environ):
        return _view(policy, arguments)
    elif robots:
        print(f"no window, for want of a display: {_WITHOUT_DISPLAY}; here, figures alone")
    if robots:
        return _print_episodes(policy, arguments)
    episodes, seed = arguments.episodes or 5, arguments.seed
    result = task.evaluate(policy.network, episodes, seed, stochastic=arguments.stochastic)
    print_tables(figures_table(result))
    return 0


def _share(arguments: argparse.Namespace) -> int:
    """Write the page of --share."""
    ignored = ("video", "gif", "episodes", "command", "seconds", "size", "camera")
    options.refuse(arguments, "with --share", *ignored)
    place = options.place_of(arguments)

    from legged_ppo.deploy.web_page import write_page
    from legged_ppo.evaluation.task import RobotTask, task_of

    policy = options.load(arguments)
    if not isinstance(task_of(policy.config), RobotTask):
        options.refuse(arguments, f"for {policy.config.subject}: it is for robots", "share")
    origin = {"checkpoint": policy.path.name, "env_steps": policy.env_steps}
    write_page(policy.network, policy.config, arguments.share, place, origin)
    print(f"page: {arguments.share / 'index.html'}; look at it with")
    print(f"  python -m http.server --directory {shlex.quote(str(arguments.share))}")
    return 0


def _record(policy: TrainedPolicy, arguments: argparse.Namespace) -> bool:
    """True when the recording was made; else one line names what is missing."""
    from legged_ppo.viewer.gl_backend import RenderingUnavailable
    from legged_ppo.viewer.recording import record

    paths = [path for path in (arguments.video, arguments.gif) if path]
    width, height = (arguments.size or _SIZE).split("x")
    try:
        recorded = record(
            policy,
            paths,
            episodes=arguments.episodes or 1,
            seed=arguments.seed,
            stochastic=arguments.stochastic,
            gif_fps=arguments.gif_fps,
            command=arguments.command,
            place=options.place_of(arguments),
            seconds=arguments.seconds,
            size=(int(width), int(height)),
            camera=arguments.camera or "follow",
            show_depth=bool(arguments.show_depth),
        )
    except RenderingUnavailable as error:
        print(error)
        return False
    print(f"recorded {recorded}: {', '.join(map(str, paths))}")
    return True


def _print_episodes(policy: TrainedPolicy, arguments: argparse.Namespace) -> int:
    from legged_ppo.evaluation.evaluator import collect_episodes
    from legged_ppo.reports.tables import episodes_table, print_tables

    episodes, terrain = collect_episodes(
        policy.network,
        policy.config,
        arguments.episodes or 5,
        arguments.seed,
        stochastic=arguments.stochastic,
        command=arguments.command,
        place=options.place_of(arguments),
    )
    print_tables(episodes_table(episodes, terrain.types))
    return 0


def _serve(policy: TrainedPolicy, arguments: argparse.Namespace) -> int:
    from legged_ppo.evaluation.trained_policy import load_policy
    from legged_ppo.viewer.web import serve

    def read(path: Path) -> TrainedPolicy:
        return load_policy(path, arguments.overrides, conditions=policy.config)

    serve(
        policy,
        read,
        robots=arguments.envs or 1,
        host=arguments.host or LOCAL,
        port=PORT if arguments.port is None else arguments.port,
        episodes=arguments.episodes,
        seconds=arguments.seconds,
        camera=arguments.camera,
        command=arguments.command,
        place=options.place_of(arguments),
        seed=arguments.seed,
        stochastic=arguments.stochastic,
    )
    return 0


def _view(policy: TrainedPolicy, arguments: argparse.Namespace) -> int:
    from legged_ppo.viewer.native import KEYS_HELP, view

    print(KEYS_HELP)
    view(
        policy.network,
        policy.config,
        episodes=arguments.episodes,
        seconds=arguments.seconds,
        camera=arguments.camera,
        command=arguments.command,
        place=options.place_of(arguments),
        seed=arguments.seed,
        stochastic=arguments.stochastic,
    )
    return 0


def _port(text: str) -> int:
    """A TCP port; 0: any that is free."""
    value = int(text)
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 65535")
    return value


def _seconds(text: str) -> float:
    """A length of at most an hour."""
    value = float(text)
    if not 0.1 <= value <= 3600.0:
        raise argparse.ArgumentTypeError(f"{text} is not from 0.1 to 3600")
    return value


def _size(text: str) -> str:
    """Width and height: even numbers of pixels, as the encoder demands, into which the captions fit."""
    found = re.fullmatch(r"(\d{3,4})x(\d{3,4})", text)
    width, height = map(int, found.groups()) if found else (0, 0)
    if not (480 <= width <= 3840 and 180 <= height <= 2160) or width % 2 or height % 2:
        expected = "two even numbers such as 1280x720, from 480x180 to 3840x2160"
        raise argparse.ArgumentTypeError(f"{text!r} is not {expected}")
    return text


def _command(text: str) -> tuple[float, float, float]:
    try:
        vx, vy, yaw_rate = (float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not three numbers such as 0.8,0,0.2"
        ) from None
    return vx, vy, yaw_rate

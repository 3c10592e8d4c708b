"""Check a robot file before training on it, or draft one from an MJCF."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from legged_ppo.cli.parser import EXIT_BAD_INPUT, OneLineParser, check_output, run_command
from legged_ppo.errors import ConfigError

if TYPE_CHECKING:
    from legged_ppo.config.schema import Config
    from legged_ppo.robots.spec import RobotSpec
    from legged_ppo.sim.standing import Standing

_PROG = "python -m legged_ppo.cli.robot"


def make_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog=_PROG,
        description="Check a robot: names, limits, gains, pose, feet, and whether it stands.",
        epilog=f"example:\n  {_PROG} configs/robot/go2.yaml --picture go2.png",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", nargs="?", metavar="FILE.yaml", help="a robot file or a recipe")
    parser.add_argument("--picture", type=Path, metavar="FILE.png", help="draw the default pose")
    parser.add_argument("--draft", type=Path, metavar="FILE.xml", help="print a draft robot file")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="such as robot.kp=30")
    return parser


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Check; returns 0 for a robot that can be trained, 2 after one line per error."""
    return run_command(make_parser(), _run, argv, prog)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.draft:
        from legged_ppo.robots.draft import draft

        print(draft(arguments.draft))
        return 0
    if arguments.file is None:
        raise ConfigError("FILE.yaml", "nothing", "a robot file or a recipe")
    if arguments.picture:
        check_output("--picture", arguments.picture, ".png")
    return _check(read_config(arguments.file, arguments.overrides), arguments.picture)


def read_config(file: str, overrides: Sequence[str] = ()) -> Config:
    """The config of a recipe, or the defaults with the robot of a robot file (keys of `robot`).

    Raises:
        ConfigError: the file is missing or not YAML, or a key or value is not allowed.
    """
    import yaml

    from legged_ppo.config.loading import find_recipe, load_config

    path = find_recipe(file)
    try:
        content = yaml.safe_load(path.read_text()) if path.is_file() else None
    except (yaml.YAMLError, UnicodeDecodeError):
        content = None  # load_config reports it
    if isinstance(content, dict) and "mjcf" in content:
        return _robot_file(path, content, overrides)
    return load_config(path, overrides)


def _robot_file(path: Path, content: dict[str, object], overrides: Sequence[str]) -> Config:
    from omegaconf.errors import OmegaConfBaseException

    from legged_ppo.config.keys import known_keys
    from legged_ppo.config.loading import beside, to_config
    from legged_ppo.config.overrides import apply_overrides

    known = known_keys()
    for key in content:
        if f"robot.{key}" not in known:
            names = [name.removeprefix("robot.") for name in known if name.startswith("robot.")]
            raise ConfigError("unknown key", key, "a key of robot", choices=names, source=str(path))
    try:
        config = to_config({"robot": content})
    except OmegaConfBaseException as error:
        key = str(getattr(error, "full_key", "") or "robot")
        expected = f"a value of type {known.get(key, 'the schema')}"
        value = content.get(key.removeprefix("robot."))
        raise ConfigError(key, value, expected, source=str(path)) from None
    config.robot.mjcf = beside(config.robot.mjcf, path.parent)
    return apply_overrides(config, overrides, ("robot", "sim", "task"))


def _check(config: Config, picture: Path | None) -> int:
    from legged_ppo.robots import checks
    from legged_ppo.robots.spec import load_model, load_robot
    from legged_ppo.sim.standing import stand

    errors = checks.missing_names(config.robot, load_model(config.robot))
    if errors:
        return _verdict(errors)
    robot = load_robot(config.robot)
    feet, warnings = checks.feet_findings(robot)
    errors = [*checks.pose_errors(robot), *feet]
    warnings = [*checks.limit_warnings(robot), *warnings, *checks.collider_warnings(robot)]
    print("\n".join(_table(robot)))
    result = stand(robot, config.sim, config.task.max_tilt)
    print("\n".join(_standing_lines(robot, result)))
    if result.fall:
        errors.append(f"it falls after {result.seconds:.1f} s: {result.fall}")
    elif not all(result.feet_down):
        up = [n for n, d in zip(robot.config.foot_geoms, result.feet_down, strict=True) if not d]
        errors.append(
            f"robot.foot_geoms: {', '.join(up)} off the ground after {result.seconds:.0f} s"
        )
    for line in warnings:
        print(f"warning: {line}")
    if picture:
        _draw(robot, picture, result.height)
    return _verdict(errors)


def _verdict(errors: list[str]) -> int:
    for line in errors:
        print(f"error: {line}", file=sys.stderr)
    if errors:
        return EXIT_BAD_INPUT
    print("this robot can be trained")
    return 0


def _table(robot: RobotSpec) -> list[str]:
    config = robot.config
    width = max(16, *(min(len(name), 30) for name in config.joints))
    lines = [
        f"{config.name}: {robot.path}"[-80:],
        f"mass {robot.total_mass:.2f} kg, {robot.num_joints} joints, {robot.num_feet} feet; "
        f"all names of the file are in the MJCF",
        f"{'joints in order':{width}} {'range [rad]':>14} {'pose':>6} {'N m':>6} {'kp':>6} {'kd':>5}",
    ]
    for i, name in enumerate(config.joints):
        low, high = robot.joint_range[i]
        limits = "none" if math.isinf(low) else f"{low:.2f}..{high:.2f}"
        torque = "none" if math.isinf(robot.torque_limit[i]) else f"{robot.torque_limit[i]:.4g}"
        lines.append(
            f"{name[:width]:{width}} {limits:>14} {robot.default_joint_pos[i]:6.2f} {torque:>6} "
            f"{robot.kp[i]:6.4g} {robot.kd[i]:5.3g}"
        )
    lines.append(f"feet: {', '.join(config.foot_geoms)}"[:80])
    return lines


def _standing_lines(robot: RobotSpec, result: Standing) -> list[str]:
    verb = "stands for" if not result.fall else "falls after"
    height = robot.config.spawn_height
    return [
        f"{verb} {result.seconds:.1f} s under PD on flat ground: height {result.height:.3f} m "
        f"(spawned",
        f"  at {height:g}), largest tilt {math.degrees(result.tilt):.1f} deg, feet down "
        f"{sum(result.feet_down)} of {len(result.feet_down)}",
    ]


def _draw(robot: RobotSpec, path: Path, height: float) -> None:
    from legged_ppo.viewer.gl_backend import RenderingUnavailable
    from legged_ppo.viewer.portrait import render_portrait

    try:
        render_portrait(robot, path, max(height, 0.1))
        print(f"picture: {path}")
    except RenderingUnavailable as error:
        print(f"no picture: {error}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())

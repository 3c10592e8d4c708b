"""The command line of evaluation: figures of a checkpoint as a table and as JSON."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from legged_ppo.cli import options
from legged_ppo.cli import parser as command_line

if TYPE_CHECKING:
    from legged_ppo.evaluation.trained_policy import TrainedPolicy

_ENVS = 256


def make_parser() -> argparse.ArgumentParser:
    parser = command_line.OneLineParser(
        prog="evaluate.py",
        description="Measure a trained policy: success, tracking, cost of transport, per terrain.",
        epilog="examples:\n"
        "  python evaluate.py --checkpoint latest --envs 256 --json evaluation.json\n"
        "  python evaluate.py --episodes-per-cell 20 --report evaluation.html\n"
        "  python evaluate.py terrain=full --terrain stairs_up --level 2 --report stairs.html\n"
        "  python evaluate.py --compare logs/checkpoints/phase1_best.pth logs/checkpoints/phase1_latest.pth\n"
        "  python evaluate.py terrain=flat task.commands.lin_vel_x=[0.5,1.5]\n"
        "  python evaluate.py --checkpoint pretrained:go2_rough --protocol agarwal --json protocol.json\n"
        "  python evaluate.py --phase2 latest --envs 512 --json students.json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_checkpoint_options(parser, "its level (default: all of them)")
    parser.add_argument(
        "--envs",
        type=command_line.positive,
        metavar="N",
        help=f"robots, each walking one episode; with --protocol on each kind of terrain (default: {_ENVS})",
    )
    parser.add_argument(
        "--episodes-per-cell",
        type=command_line.positive,
        metavar="N",
        help="episodes on each terrain type and level, instead of --envs",
    )
    parser.add_argument(
        "--device",
        default="cpu",
        help="auto, cpu or cuda:N, for physics too (default: %(default)s)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file")
    parser.add_argument(
        "--report", type=Path, metavar="FILE", help="write a page with a heat map: .html or .md"
    )
    parser.add_argument(
        "--compare",
        nargs=2,
        metavar=("A", "B"),
        help="two checkpoints or runs on the same robots, ground and commands, under the conditions of A",
    )
    parser.add_argument(
        "--phase2",
        nargs="+",
        metavar=("RUN", "PATH"),
        help="a run of train_phase2.py: teacher, student before and after fine-tuning, and the student with its "
        "camera blanked, exchanged or late; and further policies, on the same robots, ground and commands",
    )
    parser.add_argument(
        "--protocol",
        choices=["agarwal"],
        help="displacement and time to fall under the conditions of Agarwal et al. 2022, beside their figures",
    )
    return parser


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Parse, evaluate, print; returns the exit code."""
    return command_line.run_command(make_parser(), _run, argv, prog)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.json:
        command_line.check_output("--json", arguments.json, ".json")
    if arguments.report:
        command_line.check_output("--report", arguments.report, ".html", ".md")
    if arguments.envs is not None:
        options.refuse(arguments, "with --envs", "episodes_per_cell")
    options.place_of(arguments)  # refuses a level without a type
    if arguments.compare:
        return _compare(arguments)
    if arguments.phase2:
        return _students(arguments)

    from legged_ppo.evaluation.trained_policy import evaluate
    from legged_ppo.reports.run_report import write_evaluation
    from legged_ppo.reports.tables import figures_table, gait_tables, print_tables
    from legged_ppo.reports.terrain_report import write_terrain_report
    from legged_ppo.sim.mujoco_warnings import counted_warnings

    policy = options.load(arguments)
    print(f"{policy.path}: {policy.env_steps:,} environment steps")
    if arguments.protocol:
        return _run_protocol(arguments, policy)
    place = {"terrain": arguments.terrain, "level": arguments.level}
    with counted_warnings():
        result = evaluate(policy, **_sampling(arguments), **place, gait=True)
    print_tables(figures_table(result), *gait_tables(result))
    _warn_of_thin_cells(arguments, result)
    if arguments.json:
        write_evaluation(arguments.json, policy.path, policy.env_steps, result)
        print(f"figures: {arguments.json}")
    if arguments.report:
        write_terrain_report(arguments.report, policy.path, result)
        print(f"report: {arguments.report}")
    return 0


def _sampling(arguments: argparse.Namespace) -> dict[str, Any]:
    """How many episodes, from which seed, with which actions."""
    return {
        "episodes": arguments.episodes_per_cell or arguments.envs or _ENVS,
        "by_cell": arguments.episodes_per_cell is not None,
        "seed": arguments.seed,
        "stochastic": arguments.stochastic,
    }


def _warn_of_thin_cells(arguments: argparse.Namespace, result: dict[str, Any]) -> None:
    from legged_ppo.evaluation.tiles import thin_cells_line

    if "terrain" in result and arguments.level is None and (line := thin_cells_line(result)):
        print(line)


def _run_protocol(arguments: argparse.Namespace, policy: TrainedPolicy) -> int:
    from legged_ppo.evaluation.protocol import protocol_config, run_protocol
    from legged_ppo.reports.protocol_table import protocol_tables
    from legged_ppo.reports.tables import print_tables

    options.refuse(arguments, "with --protocol", "report", "terrain", "level", "episodes_per_cell")
    config = protocol_config(policy.config, arguments.overrides)
    episodes = arguments.envs or _ENVS
    result = run_protocol(
        policy.network, config, episodes, arguments.seed, stochastic=arguments.stochastic
    )
    print_tables(*protocol_tables(result))
    named = {"checkpoint": str(policy.path), "env_steps": policy.env_steps}
    _write_json(arguments.json, named | result)
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    from legged_ppo.evaluation.comparison import compare
    from legged_ppo.evaluation.evaluator import collect_episodes
    from legged_ppo.evaluation.tiles import restricted
    from legged_ppo.reports.tables import comparison_table, difference_matrix, print_tables

    options.refuse(arguments, "with --compare", "report", "protocol")
    found = []
    conditions = None
    for name in arguments.compare:
        arguments.checkpoint = name
        policy = options.load(arguments, conditions)
        conditions = conditions or policy.config
        config, place = restricted(policy.config, arguments.terrain, arguments.level)
        episodes, terrain = collect_episodes(
            policy.network, config, **_sampling(arguments), place=place
        )
        found.append((policy.path, episodes))
    (first_path, first), (second_path, second) = found
    result = compare(first, second, terrain)
    names = str(first_path), str(second_path)
    print_tables(comparison_table(result, names), difference_matrix(result))
    _warn_of_thin_cells(arguments, result)
    _write_json(arguments.json, result)
    return 0


def _students(arguments: argparse.Namespace) -> int:
    from legged_ppo.evaluation.students import contestants_of, measure
    from legged_ppo.reports.tables import print_tables, students_tables

    options.refuse(arguments, "with --phase2", "report", "protocol", "compare")
    run, *others = arguments.phase2
    found = contestants_of(
        run, others, arguments.overrides, device=arguments.device, log_dir=arguments.log_dir
    )
    place = {"terrain": arguments.terrain, "level": arguments.level}
    result = measure(found, **_sampling(arguments), **place)
    print_tables(*students_tables(result))
    _write_json(arguments.json, result)
    return 0


def _write_json(path: Path | None, content: dict[str, Any]) -> None:
    if path:
        path.write_text(json.dumps(content, indent=2) + "\n")
        print(f"figures: {path}")

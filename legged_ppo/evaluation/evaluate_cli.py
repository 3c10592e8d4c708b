"""The command line of evaluation: figures of a checkpoint as a table and as JSON."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from legged_ppo.evaluation import command_line


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="evaluate.py",
        description="Measure a trained policy: success, tracking, cost of transport, per terrain.",
        epilog="examples:\n"
        "  python evaluate.py --checkpoint latest --envs 256 --json evaluation.json\n"
        "  python evaluate.py terrain=flat task.commands.lin_vel_x=[0.5,1.5]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command_line.add_checkpoint_options(parser)
    parser.add_argument(
        "--envs",
        type=command_line.positive,
        default=256,
        metavar="N",
        help="robots, each walking one episode (default: %(default)s)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, evaluate, print; returns the exit code."""
    return command_line.run_command(make_parser(), _run, argv)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.json:
        command_line.check_output("--json", arguments.json, ".json")

    from legged_ppo.evaluation.evaluator import evaluate_policy
    from legged_ppo.evaluation.loading import load_for_evaluation
    from legged_ppo.evaluation.report import write_evaluation
    from legged_ppo.evaluation.tables import figures_table, print_tables

    policy, config, counters, path = load_for_evaluation(arguments)
    result = evaluate_policy(
        policy, config, arguments.envs, arguments.seed, stochastic=arguments.stochastic
    )
    print(f"{path}: {counters['env_steps']:,} environment steps")
    print_tables(figures_table(result))
    if arguments.json:
        write_evaluation(arguments.json, path, counters, result)
        print(f"figures: {arguments.json}")
    return 0

"""One policy on both CPU engines, the same robots, ground and commands: does it make a difference to it?

    python benchmarks/engine_agreement.py CHECKPOINT [--episodes-per-cell 32] [--json FILE] [key=value ...]

The tables of `evaluate.py --compare`, MuJoCo C first; the last lines count the cells (terrain type and level)
whose 95 % interval of the paired difference excludes 0. One in twenty does by chance.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from machine import machine

from legged_ppo.evaluation.comparison import compare
from legged_ppo.evaluation.evaluator import collect_episodes
from legged_ppo.evaluation.trained_policy import load_policy
from legged_ppo.reports.tables import comparison_table, difference_matrix, print_tables

ENGINES = ("mujoco_c", "simd")


def agreement(
    checkpoint: str, episodes_per_cell: int, seed: int, overrides: list[str]
) -> dict[str, Any]:
    """`comparison.compare` of MuJoCo C (first) and `simd` (second)."""
    policy = load_policy(checkpoint, overrides)
    found = []
    for engine in ENGINES:
        config = replace(policy.config, sim=replace(policy.config.sim, engine=engine))
        found.append(
            collect_episodes(policy.network, config, episodes_per_cell, seed, by_cell=True)
        )
    (first, terrain), (second, _) = found
    return compare(first, second, terrain)


def rows_of(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The row of each terrain type and level."""
    return [row for group in result["terrain"].values() for row in group["levels"].values()]


def differs(row: dict[str, Any], figure: str) -> bool:
    """Whether the 95 % interval of the paired difference excludes 0."""
    _, low, high = row["difference"][figure]
    return low is not None and not low <= 0.0 <= high


def show(result: dict[str, Any]) -> None:
    print_tables(comparison_table(result, ENGINES), difference_matrix(result))
    rows = rows_of(result)
    for figure in ("success_rate", "lin_vel_error", "yaw_rate_error"):
        apart = sum(differs(row, figure) for row in rows)
        print(f"{figure}: {apart} of {len(rows)} cells differ at 95 %")


def main() -> None:
    parser = argparse.ArgumentParser(description="One policy on MuJoCo C and on simd.")
    parser.add_argument("checkpoint")
    parser.add_argument("--episodes-per-cell", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    arguments = parser.parse_intermixed_args()
    result = agreement(
        arguments.checkpoint, arguments.episodes_per_cell, arguments.seed, arguments.overrides
    )
    show(result)
    if arguments.json:
        content = {"result": result, "machine": machine(torch.device("cpu"))}
        arguments.json.write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()

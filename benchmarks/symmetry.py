"""Samples until a Go2 walks, with and without the use of its left-right symmetry, over seeds.

    python benchmarks/symmetry.py [key=value ...] [--seeds 1 2 3] [--json FILE]

Each variant trains `configs/phase1_quickstart.yaml` for 2 M steps and evaluates 64 episodes every 100,000; the
robot walks from the first evaluation on with a success rate of at least 0.5. One thread each.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from legged_ppo.config.loading import CONFIG_DIR, load_config
from legged_ppo.env.factory import make_locomotion_env
from legged_ppo.runs.run_directory import RunDirectory
from legged_ppo.runtime.cpu import keep_freed_memory
from legged_ppo.training.trainer import Trainer

VARIANTS = ("none", "augmentation", "loss")
_WALKS = 0.5
_SETTINGS = [
    "training.total_timesteps=2_000_000",
    "training.evaluation_freq=100_000",
    "training.evaluation_episodes=64",
    "training.checkpoint_freq=1_000_000_000",
    "training.wandb=disabled",
    "training.log_interval=1_000_000",
    "sim.threads=1",
]


def train(variant: str, seed: int, overrides: list[str]) -> dict[str, Any]:
    """One run: its evaluations and the steps after which it walks (None: it never did)."""
    with tempfile.TemporaryDirectory() as folder:
        own = [f"ppo.symmetry={variant}", f"training.seed={seed}", f"training.log_dir={folder}"]
        recipe = CONFIG_DIR / "phase1_quickstart.yaml"
        config = load_config(recipe, [*_SETTINGS, *own, *overrides])
        env = make_locomotion_env(config, config.training.num_envs, seed, training=True)
        run = RunDirectory.create(config, "symmetry")
        trainer = Trainer(config, env, run)
        begin = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - begin
        rows = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    key = "Eval/success_rate"
    curve = [(row["env_steps"], row[key]) for row in rows if key in row]
    walks = next((steps for steps, success in curve if success >= _WALKS), None)
    return {
        "variant": variant,
        "seed": seed,
        "steps_to_walk": walks,
        "success": curve,
        "seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--json", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    arguments = parser.parse_intermixed_args()
    keep_freed_memory()  # as the command lines do
    torch.set_num_threads(1)
    rows = []
    for seed in arguments.seeds:
        for variant in VARIANTS:
            row = train(variant, seed, arguments.overrides)
            rows.append(row)
            print(
                f"seed {seed} {variant:>12}: walks after {row['steps_to_walk']} steps, "
                f"{row['seconds']:.0f} s, last success {row['success'][-1][1]:.3f}",
                flush=True,
            )
    for variant in VARIANTS:
        steps = [row["steps_to_walk"] or float("inf") for row in rows if row["variant"] == variant]
        final = [row["success"][-1][1] for row in rows if row["variant"] == variant]
        print(
            f"{variant:>12}: walks after {statistics.median(steps):,.0f} steps (median), "
            f"{max(steps):,.0f} (worst); success at the end {statistics.median(final):.3f}, {min(final):.3f}"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()

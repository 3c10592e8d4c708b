"""What memory, sight, symmetry and the curriculum are worth: a recipe without each of them, on paired seeds.

    python benchmarks/ablations.py --seeds 1 2 3 --steps 10_000_000
    python benchmarks/ablations.py --seeds 1 2 3 --steps 10_000_000 --no-training    # the table alone

Every variant is trained for as many steps with each seed, and the average of its last weights is evaluated on the
same robots, ground and commands as the whole recipe's: every terrain type and level, on MuJoCo C. Differences are
paired by seed. Their 95 % intervals are Student's over seeds; those of a single seed are over episodes and leave
out the variation between trainings. Finished runs under --log-dir are not repeated, interrupted ones go on.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from legged_ppo.config.loading import load_config
from legged_ppo.config.schema import Config
from legged_ppo.errors import ConfigError
from legged_ppo.evaluation.evaluator import collect_episodes
from legged_ppo.evaluation.statistics import Episodes
from legged_ppo.evaluation.trained_policy import load_policy
from legged_ppo.runs.run_directory import RunDirectory
from legged_ppo.runtime.cpu import keep_freed_memory
from legged_ppo.runtime.intervals import Z95
from legged_ppo.training.run import train

FULL = "full"
VARIANTS: dict[str, list[str]] = {
    FULL: [],
    "memoryless": ["policy.gru_layers=0"],
    "blind": ["policy.scandots_latent=0"],
    "no_symmetry": ["ppo.symmetry=none"],
    "no_curriculum": ["terrain.curriculum.rule=none", "terrain.max_initial_level=null"],
}
_T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""97.5 % quantiles of Student's distribution with 1 to 9 degrees of freedom."""
_EVALUATION_SEED = 0


@dataclass(frozen=True)
class Plan:
    """Which runs there are, and how they are measured."""

    recipe: str
    overrides: list[str]
    variants: list[str]
    seeds: list[int]
    steps: int
    log_dir: Path
    per_cell: int
    device: str

    def config(self, variant: str, seed: int) -> Config:
        """The recipe of one run; its only evaluation is at the end, of the averaged weights."""
        own = [
            f"training.total_timesteps={self.steps}",
            f"training.evaluation_freq={self.steps}",
            f"training.checkpoint_freq={min(self.steps, 1_000_000)}",
            f"training.seed={seed}",
            f"training.log_dir={self.log_dir}",
            f"training.run_name={variant}_s{seed}",
            "training.report=false",
            "training.wandb=disabled",
        ]
        return load_config(self.recipe, [*self.overrides, *VARIANTS[variant], *own])

    def run(self, variant: str, seed: int) -> RunDirectory:
        return RunDirectory(self.log_dir / f"{variant}_s{seed}")


def train_all(plan: Plan) -> None:
    """Train what has not finished, seed by seed, so that the first seeds are compared first."""
    for seed in plan.seeds:
        for variant in plan.variants:
            run, config = plan.run(variant, seed), plan.config(variant, seed)
            if finished(run, config):
                continue
            resume = run.root if run.latest.is_file() else None
            print(f"{'resuming' if resume else 'training'} {run.root}", flush=True)
            train(config, device=plan.device, resume=resume)


def finished(run: RunDirectory, config: Config) -> bool:
    """Whether the run has been trained to its end.

    Raises:
        ConfigError: its folder holds another recipe, or no checkpoint to go on from.
    """
    if not run.root.is_dir():
        return False
    if load_config(run.root / "config.yaml") != config:
        expected = "another folder: it holds this run of another recipe, length or overrides"
        raise ConfigError("--log-dir", str(run.root), expected)
    if not run.latest.is_file():
        expected = "deleted: this run ended before its first checkpoint"
        raise ConfigError("--log-dir", str(run.root), expected)
    return run.final.is_file()


def episodes_of(plan: Plan, variant: str, seed: int) -> tuple[Episodes, list[str]]:
    """The episodes of a finished run under the whole recipe's conditions, and the terrain types. They are kept
    beside the run."""
    run = plan.run(variant, seed)
    file = run.root / f"ablation_{plan.per_cell}_per_cell.npz"
    types = types_of(plan.config(FULL, seed))
    if not file.is_file() or file.stat().st_mtime < run.best.stat().st_mtime:
        policy = load_policy(run.best, conditions=plan.config(FULL, seed))
        found, terrain = collect_episodes(
            policy.network, policy.config, plan.per_cell, _EVALUATION_SEED, by_cell=True
        )
        assert terrain.types == types
        np.savez(file, **{f.name: getattr(found, f.name) for f in fields(Episodes)})
    with np.load(file) as stored:
        return Episodes(**{name: stored[name] for name in stored.files}), types


def types_of(config: Config) -> list[str]:
    """Terrain types in the order of the grid's columns."""
    return [name for name, share in config.terrain.proportions.items() if share > 0]


def figures(episodes: Episodes, types: Sequence[str]) -> dict[str, np.ndarray]:
    """{row of the table: its value for each episode [E]}; NaN for robots that fell in their first step."""
    steps = np.where(episodes.steps > 0, episodes.steps, np.nan)
    success = episodes.success.astype(np.float64)
    rows = {
        name: success[episodes.terrain_type == i]
        for i, name in enumerate(types)
        if (episodes.terrain_type == i).any()
    }
    errors = {
        "velocity error [m/s]": episodes.lin_vel_error / steps,
        "yaw rate error [rad/s]": episodes.yaw_rate_error / steps,
    }
    return {"all": success, **rows, **errors}


def difference(full: list[np.ndarray], other: list[np.ndarray]) -> tuple[float, float]:
    """Mean over seeds of other - full, and half of its 95 % interval.

    Args:
        full, other: of each seed the values of the same episodes [E].
    """
    pairs = [np.asarray(b) - np.asarray(a) for a, b in zip(full, other, strict=True)]
    means = [float(np.nanmean(pair)) for pair in pairs]
    if len(means) == 1:
        known = pairs[0][~np.isnan(pairs[0])]
        return means[0], Z95 * float(known.std(ddof=1)) / len(known) ** 0.5
    quantile = _T95[len(means) - 2]
    return float(np.mean(means)), quantile * float(np.std(means, ddof=1)) / len(means) ** 0.5


def table(plan: Plan) -> tuple[list[str], dict[str, Any]]:
    """Lines of a Markdown table over the seeds that every shown variant has finished, and its figures.

    Raises:
        ConfigError: no seed of the whole recipe and of another variant has finished.
    """
    shown, seeds = comparable(plan)
    values = {
        variant: [figures(*episodes_of(plan, variant, seed)) for seed in seeds]
        for variant in [FULL, *shown]
    }
    result: dict[str, Any] = {"seeds": seeds, "steps": plan.steps, "rows": {}}
    lines = [
        f"| success | {FULL} | {' | '.join(shown)} |",
        f"| --- |{' --- |' * (1 + len(shown))}",
    ]
    for row in values[FULL][0]:
        compared = _row({variant: [each[row] for each in values[variant]] for variant in values})
        result["rows"][row] = compared
        cells = [f"{np.mean(compared[FULL]['values']):.3f}"]
        for variant in shown:
            rate, mean, half = np.mean(compared[variant]["values"]), *compared[variant]["change"]
            mark = "*" if abs(mean) > half else ""
            cells.append(f"{rate:.3f} ({mean:+.3f} ± {half:.3f}){mark}")
        lines.append(f"| {row} | {' | '.join(cells)} |")
    unit = "seeds" if len(seeds) > 1 else "episodes of the one seed"
    note = f"of the paired difference from {FULL} over {unit}; * excludes 0."
    numbers = ", ".join(map(str, seeds))
    lines += [
        "",
        f"Seeds {numbers}; {plan.steps:,} steps each. ± is half of the 95 % interval {note}",
    ]
    return lines, result


def comparable(plan: Plan) -> tuple[list[str], list[int]]:
    """The variants to compare with the whole recipe, and the seeds that all of them and it have finished."""
    done = {
        variant: {s for s in plan.seeds if finished(plan.run(variant, s), plan.config(variant, s))}
        for variant in plan.variants
    }
    shown = [variant for variant in plan.variants if variant != FULL and done[variant]]
    seeds = sorted(set.intersection(done[FULL], *(done[variant] for variant in shown)))
    if not shown or not seeds:
        expected = f"a finished run of {FULL} and of another variant with the same seed"
        raise ConfigError("--log-dir", str(plan.log_dir), expected)
    return shown, seeds


def _row(values: dict[str, list[np.ndarray]]) -> dict[str, dict[str, list[float]]]:
    """{variant: {"values": mean of each seed, "change": `difference` from the whole recipe}}"""
    row = {}
    for variant, seeds in values.items():
        means = [float(np.nanmean(each)) for each in seeds]
        change = {} if variant == FULL else {"change": [*difference(values[FULL], seeds)]}
        row[variant] = {"values": means, **change}
    return row


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default="configs/phase1_fast.yaml")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--steps", type=lambda text: int(float(text)), default=10_000_000)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--log-dir", type=Path, default=Path("logs/ablations"))
    parser.add_argument("--per-cell", type=int, default=8, help="episodes on each type and level")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--no-training", action="store_true", help="only the table")
    parser.add_argument("--json", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    arguments = parser.parse_intermixed_args(argv)
    if len(arguments.seeds) > len(_T95) + 1:
        parser.error(f"--seeds: at most {len(_T95) + 1}")
    keep_freed_memory()  # as the command lines do
    variants = [FULL, *(each for each in arguments.variants if each != FULL)]
    plan = Plan(
        arguments.config,
        arguments.overrides,
        variants,
        arguments.seeds,
        arguments.steps,
        arguments.log_dir,
        arguments.per_cell,
        arguments.device,
    )
    try:
        if not arguments.no_training:
            train_all(plan)
        with torch.no_grad():
            lines, result = table(plan)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(lines))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

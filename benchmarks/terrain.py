"""What terrain costs: training throughput on each type and on the whole grid, against flat ground.

    python benchmarks/terrain.py --config configs/phase1_fast.yaml --json FILE

All are measured in turn within one run, because a shared machine's speed drifts; a ratio is the median of
the rounds' ratios to flat ground. Robots stand on all levels alike.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import mujoco
from throughput import physics_fps

from legged_ppo.config.loading import load_config
from legged_ppo.config.schema import Config, TerrainConfig
from legged_ppo.env.factory import make_locomotion_env
from legged_ppo.runs.run_directory import RunDirectory
from legged_ppo.runtime.cpu import keep_freed_memory
from legged_ppo.terrain.grid import build_terrain
from legged_ppo.terrain.types import make_tile_types
from legged_ppo.training.trainer import Trainer

_FULL = "full grid"


def grounds(levels: int) -> dict[str, TerrainConfig]:
    """Flat ground, every type alone, and all of them."""
    types = list(make_tile_types(TerrainConfig()))
    shape = {"num_levels": levels, "height_map_cell": 0.05, "roughness": [0.02, 0.12]}
    found = {"flat": TerrainConfig(**{**shape, "num_levels": 1})}  # type: ignore[arg-type]
    for name in types:
        if name != "flat":
            found[name] = TerrainConfig(proportions={name: 1.0}, **shape)  # type: ignore[arg-type]
    found[_FULL] = TerrainConfig(proportions=dict.fromkeys(types, 1.0), **shape)  # type: ignore[arg-type]
    return found


def make_trainer(config: Config, terrain: TerrainConfig, folder: str, warmup: int) -> Trainer:
    config.terrain, config.training.log_dir = terrain, folder
    env = make_locomotion_env(config, config.training.num_envs, config.training.seed, training=True)
    trainer = Trainer(config, env, RunDirectory.create(config, "terrain"))
    for _ in range(warmup):
        trainer.iterate()
    return trainer


def measure(trainers: dict[str, Trainer], rounds: int) -> dict[str, dict[str, float]]:
    figures: dict[str, list[tuple[float, float]]] = {name: [] for name in trainers}
    for _ in range(rounds):
        for name, trainer in trainers.items():
            begin = time.perf_counter()
            trainer.iterate()
            end_to_end = trainer.steps_per_iteration / (time.perf_counter() - begin)
            figures[name].append((end_to_end, physics_fps(trainer, 1)))
    flat = figures["flat"]
    return {
        name: {
            "end_to_end_fps": statistics.median(e for e, _ in rows),
            "physics_fps": statistics.median(p for _, p in rows),
            "end_to_end_ratio": statistics.median(
                r[0] / f[0] for r, f in zip(rows, flat, strict=True)
            ),
            "physics_ratio": statistics.median(
                r[1] / f[1] for r, f in zip(rows, flat, strict=True)
            ),
        }
        for name, rows in figures.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--config", required=True)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--levels", type=int, default=10)
    parser.add_argument("--warmup", type=int, default=8, help="training iterations beforehand")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    args = parser.parse_intermixed_args()
    keep_freed_memory()  # as the command lines do
    trainers, result = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name, terrain in grounds(args.levels).items():
            config = load_config(args.config, args.overrides)
            trainers[name] = make_trainer(config, terrain, folder, args.warmup)
        result = measure(trainers, args.rounds)
    for name, trainer in trainers.items():
        terrain = trainer.config.terrain
        begin = time.perf_counter()
        build_terrain(terrain)
        result[name]["build_s"] = time.perf_counter() - begin
        result[name]["geoms"] = _static_geoms(trainer)
    print(
        f"{'terrain':16} {'geoms':>6} {'build s':>8} {'env steps/s':>12} {'of flat':>8} {'physics':>8}"
    )
    for name, row in result.items():
        print(
            f"{name:16} {row['geoms']:6.0f} {row['build_s']:8.2f} {row['end_to_end_fps']:12,.0f} "
            f"{row['end_to_end_ratio']:8.2f} {row['physics_ratio']:8.2f}"
        )
    if args.json:
        args.json.write_text(json.dumps(_plain(result), indent=2) + "\n")


def _static_geoms(trainer: Trainer) -> int:
    """Geoms of the whole ground; no engine steps those of several types in one model."""
    spec = mujoco.MjSpec()
    trainer.env.terrain.add_to(spec)  # type: ignore[attr-defined]
    return len(spec.geoms)


def _plain(result: dict[str, Any]) -> dict[str, Any]:
    return {name: {key: float(value) for key, value in row.items()} for name, row in result.items()}


if __name__ == "__main__":
    main()

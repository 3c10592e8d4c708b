"""Throughput of a recipe, end to end and of its physics alone, in turn within one run.

    python benchmarks/throughput.py --config configs/phase1_quickstart.yaml --device cpu --json FILE

`physics_fps` is `Batch.step` on the same model, robots and substeps, driven with the actions that the
policy took, and nothing else. The two are measured in alternation, because a shared machine's speed
drifts; the ratio is the median of the rounds' ratios.
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

from legged_ppo.config.loading import load_config
from legged_ppo.device import find_device
from legged_ppo.env.factory import make_env
from legged_ppo.training.run_directory import RunDirectory
from legged_ppo.training.trainer import Trainer


def measure(trainer: Trainer, rounds: int, iterations: int) -> dict[str, Any]:
    samples = trainer.steps_per_iteration * iterations
    rows = []
    for _ in range(rounds):
        begin = time.perf_counter()
        metrics = [trainer._iterate() for _ in range(iterations)]
        end_to_end = samples / (time.perf_counter() - begin)
        rows.append(
            {
                "end_to_end_fps": end_to_end,
                "physics_fps": physics_fps(trainer, iterations),
                "collection_s": sum(m["Perf/collection_time"] for m in metrics) / iterations,
                "learning_s": sum(m["Perf/learning_time"] for m in metrics) / iterations,
            }
        )
    medians = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    medians["ratio"] = statistics.median(r["end_to_end_fps"] / r["physics_fps"] for r in rows)
    return medians


def physics_fps(trainer: Trainer, iterations: int) -> float:
    """Environment steps per second of `Batch.step` alone, from where the robots stand."""
    simulator, config = trainer.env.simulator, trainer.config
    batch = simulator._batch  # type: ignore[attr-defined]
    state = batch.state.copy()
    targets = trainer.env._default + config.robot.action_scale * trainer.buffer.actions
    controls = targets.double().numpy()
    begin = time.perf_counter()
    for _ in range(iterations):
        for control in controls:
            batch.bind("ctrl")[:] = control
            batch.step(nstep=config.sim.decimation)
    elapsed = time.perf_counter() - begin
    batch.state[:] = state
    return iterations * trainer.steps_per_iteration / elapsed


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--config", required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--iterations", type=int, default=4, help="training iterations a round")
    parser.add_argument(
        "--warmup", type=int, default=20, help="training iterations before the first round"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    args = parser.parse_intermixed_args()
    device = find_device(args.device)
    with tempfile.TemporaryDirectory() as folder:
        config = load_config(args.config, [*args.overrides, f"training.log_dir={folder}"])
        env = make_env(config, config.training.num_envs, config.training.seed, device)
        trainer = Trainer(config, env, RunDirectory.create(config, "throughput"))
        for _ in range(args.warmup):
            trainer._iterate()
        result = measure(trainer, args.rounds, args.iterations)
    result |= {
        "num_envs": trainer.env.num_envs,
        "rollout_length": config.ppo.rollout_length,
        "torch": str(torch.__version__),
        "threads": torch.get_num_threads(),
    }
    for name, value in result.items():
        print(f"{name:16} {value:,.3f}" if isinstance(value, float) else f"{name:16} {value}")
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""Steps per second of a training on a CPU: a thread for each core, a process for each core, and their limit.

    python benchmarks/processes.py --config configs/phase1_fast.yaml --processes 2 --steps 1000000 --rounds 2

In every round three forms train from the start, one after the other: one process with K threads; K processes
of `torchrun`; and K trainings at once that share nothing, each of 1/K of the robots, which is what K processes
would reach if sums over them and waiting cost nothing. Figures are medians over the iterations after the first
ten.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from machine import machine

from legged_ppo.config.loading import load_config

ROOT = Path(__file__).resolve().parents[1]
_SKIPPED = 10
"""First iterations, in which caches fill and robots fall."""
_PARTS = ("collection", "learning")


def command(config: Path, folder: Path, ranks: int, robots: int, steps: int) -> list[str]:
    """A training by so many processes of torchrun, in `folder`."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}"]
    return [
        *(sys.executable, *(torchrun if ranks > 1 else []), str(ROOT / "train_phase1.py")),
        *(f"--config={config}", "--device=cpu", f"training.log_dir={folder}"),
        *("training.run_name=run", "training.report=false", "training.evaluation_freq=0"),
        *(f"training.num_envs={robots}", f"training.total_timesteps={steps}"),
    ]


def train(commands: list[list[str]], threads: int) -> None:
    """Run trainings at the same time, with so many threads in each process."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    if len(commands) > 1:
        commands = [[*each, "sim.threads=1"] for each in commands]
    running = [
        subprocess.Popen(each, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
        for each in commands
    ]
    if any([process.wait() for process in running]):
        raise SystemExit("error: a training failed")


def figures(folder: Path, trainings: int) -> dict[str, float]:
    """Seconds of an iteration by its parts, and steps per second of so many trainings like this one."""
    rows = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").open()][_SKIPPED:]
    found = {
        f"{part}_s": statistics.median(row[f"Perf/{part}_time"] for row in rows) for part in _PARTS
    }
    steps = trainings * (rows[1]["env_steps"] - rows[0]["env_steps"])
    return {**found, "fps": steps / sum(found.values())}


def measure(config: Path, ranks: int, steps: int) -> dict[str, dict[str, float]]:
    """The figures of each form in one round."""
    robots = load_config(config).training.num_envs
    with tempfile.TemporaryDirectory() as name:
        threads, processes, *apart = (Path(name, str(i)) for i in range(2 + ranks))
        train([command(config, threads, 1, robots, steps)], ranks)
        train([command(config, processes, ranks, robots, steps)], 1)
        alone = robots // ranks, steps // ranks
        train([command(config, folder, 1, *alone) for folder in apart], 1)
        return {
            "threads": figures(threads, 1),
            "processes": figures(processes, 1),
            "apart": figures(apart[0], ranks),
        }


def main() -> None:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=Path("configs/phase1_fast.yaml"))
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--steps", type=int, default=1_000_000, help="of each form in a round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    rounds = []
    for _ in range(arguments.rounds):
        rounds.append(measure(arguments.config, arguments.processes, arguments.steps))
        for form, row in rounds[-1].items():
            parts = ", ".join(f"{part} {row[f'{part}_s']:.3f} s" for part in _PARTS)
            print(f"{form:10} {row['fps']:8,.0f} steps/s ({parts})", flush=True)
    for form in ("processes", "apart"):
        ratio = statistics.median(row[form]["fps"] / row["threads"]["fps"] for row in rounds)
        print(f"{form} / threads: {ratio:.2f}")
    if arguments.json:
        found = {"machine": machine(torch.device("cpu")), "rounds": rounds}
        arguments.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()

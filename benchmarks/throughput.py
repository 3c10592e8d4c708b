"""Throughput of a recipe, end to end and of its parts, in turn within one run.

    python benchmarks/throughput.py --config configs/phase1_quickstart.yaml --device cpu --json FILE
    python benchmarks/throughput.py --config configs/phase1_fast.yaml --device cuda:0 --envs 1024,4096,8192

`physics_fps` is the engine's step alone on the same models, robots and substeps, driven with the actions
that the policy took; `env_fps` adds observations, rewards and resets. They are measured in alternation,
because a shared machine's speed drifts; a ratio is the median of the rounds' ratios. Device memory is all
that the process holds. With several numbers of robots each is measured by itself.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from legged_ppo.config.loading import load_config
from legged_ppo.device import find_device
from legged_ppo.env.factory import make_env
from legged_ppo.sim.mujoco_c import MujocoC
from legged_ppo.training.run_directory import RunDirectory
from legged_ppo.training.trainer import Trainer


def measure(trainer: Trainer, rounds: int, iterations: int) -> dict[str, Any]:
    """Medians over the rounds."""
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
                "env_fps": env_fps(trainer, iterations),
                "collection_s": sum(m["Perf/collection_time"] for m in metrics) / iterations,
                "learning_s": sum(m["Perf/learning_time"] for m in metrics) / iterations,
            }
        )
    medians = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    medians["ratio"] = statistics.median(r["end_to_end_fps"] / r["physics_fps"] for r in rows)
    return medians


def physics_fps(trainer: Trainer, iterations: int) -> float:
    """Environment steps per second of the engine alone, from where the robots stand."""
    simulator, config = trainer.env.simulator, trainer.config
    state = simulator.state_dict()
    targets = trainer.env._default + config.robot.action_scale * trainer.buffer.actions
    step = _engine_step(simulator, config.sim.decimation)
    seconds = _timed(trainer, lambda: [step(t) for t in targets.unbind()], iterations)
    simulator.load_state_dict(state)
    return iterations * trainer.steps_per_iteration / seconds


def env_fps(trainer: Trainer, iterations: int) -> float:
    """Environment steps per second of `env.step`."""
    actions = trainer.buffer.actions.unbind()
    seconds = _timed(trainer, lambda: [trainer.env.step(a) for a in actions], iterations)
    trainer.collector.restart()
    return iterations * trainer.steps_per_iteration / seconds


def _engine_step(simulator: Any, decimation: int) -> Callable[[torch.Tensor], None]:
    """A control step without reading the state back."""
    if isinstance(simulator, MujocoC):

        def step(targets: torch.Tensor) -> None:
            for group in simulator.groups:
                group.batch.bind("ctrl")[:] = targets[group.rows].numpy()
                group.batch.step(nstep=decimation)

        return step

    def launch(targets: torch.Tensor) -> None:
        simulator._targets.copy_(targets)
        simulator._substeps()

    return launch


def _timed(trainer: Trainer, work: Callable[[], Any], times: int) -> float:
    """Seconds that `times` calls take."""
    _synchronize(trainer)
    begin = time.perf_counter()
    for _ in range(times):
        work()
    _synchronize(trainer)
    return time.perf_counter() - begin


def _synchronize(trainer: Trainer) -> None:
    if trainer.env.device.type == "cuda":
        torch.cuda.synchronize()


def _device_memory(device: torch.device) -> dict[str, float]:
    """What this process holds, torch's and Warp's, where it is alone on the device."""
    if device.type != "cuda":
        return {}
    free, total = torch.cuda.mem_get_info(device)
    return {"device_memory_gb": (total - free) / 2**30}


def run(arguments: argparse.Namespace, num_envs: int | None, folder: str) -> dict[str, Any]:
    """The figures of one number of robots; None takes the recipe's."""
    device = find_device(arguments.device)
    more = [f"training.log_dir={folder}"] + ([f"training.num_envs={num_envs}"] if num_envs else [])
    config = load_config(arguments.config, [*arguments.overrides, *more])
    begin = time.perf_counter()
    env = make_env(config, config.training.num_envs, config.training.seed, device)
    trainer = Trainer(config, env, RunDirectory.create(config, "throughput"))
    trainer._iterate()
    startup = time.perf_counter() - begin
    for _ in range(arguments.warmup):
        trainer._iterate()
    return {
        **measure(trainer, arguments.rounds, arguments.iterations),
        "startup_s": startup,
        **_device_memory(device),
        "num_envs": trainer.env.num_envs,
        "rollout_length": config.ppo.rollout_length,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "torch": str(torch.__version__),
        "threads": torch.get_num_threads(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--config", required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--envs", metavar="N,N,...", help="numbers of robots (the recipe's)")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--iterations", type=int, default=4, help="training iterations a round")
    parser.add_argument(
        "--warmup", type=int, default=20, help="training iterations before the first round"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    arguments = parser.parse_intermixed_args()
    sizes = [int(n) for n in arguments.envs.split(",")] if arguments.envs else [None]
    rows = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(run(arguments, size, folder))
        for name, value in rows[-1].items():
            print(f"{name:16} {value:,.3f}" if isinstance(value, float) else f"{name:16} {value}")
        print(flush=True)
    if arguments.json:
        content = rows[0] if len(rows) == 1 else rows
        arguments.json.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""Throughput of a recipe, end to end and of its parts, in turn within one run.

    python benchmarks/throughput.py --config configs/phase1_quickstart.yaml --device cpu --json FILE
    python benchmarks/throughput.py --config configs/phase1_fast.yaml --device cuda:0 --envs 1024,4096,8192

`physics_fps` is the engine's step alone on the same models, robots and substeps, driven with the actions
that the policy took; `env_fps` adds observations, rewards and resets, launched one by one also where the rollouts
of `end_to_end_fps` are CUDA graphs (`cuda_graphs`). They are measured in alternation,
because a shared machine's speed drifts; a ratio is the median of the rounds' ratios. `device_memory_gb` is
all that was taken on the device since `idle_memory_gb`, which others held and this process's CUDA context;
`torch_peak_gb` is the part of torch's tensors. `compile_s` builds two robots, which compiles the kernels or
loads them from their cache, `plan_s` measures the physics' buffers, `build_s` is the rest.

Several numbers of robots are each measured in a process of their own. The file is written after each; a row
whose size did not fit, failed or took too long has an `error` instead of figures.

    python benchmarks/throughput.py --config configs/phase1_fast.yaml --engines mujoco_c,simd --threads 1
    python benchmarks/throughput.py --config configs/phase1_quickstart.yaml --engines simd --neighbour

With `--engines` (CPU only) the engines are measured in turn in every round, and the file has `rows` and
`machine`; with `--neighbour` once more while another process keeps a core busy.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from engines_in_turn import report, rows_beside_a_neighbour, rows_in_turn
from machine import machine

from legged_ppo.config.loading import load_config
from legged_ppo.config.schema import Config
from legged_ppo.env.factory import make_locomotion_env
from legged_ppo.env.locomotion import LocomotionEnv
from legged_ppo.errors import is_out_of_memory
from legged_ppo.interface import Environment
from legged_ppo.runs.run_directory import RunDirectory
from legged_ppo.runtime.cpu import keep_freed_memory
from legged_ppo.runtime.cuda_graphs import Captured
from legged_ppo.runtime.device import find_device
from legged_ppo.sim.mujoco_c import MujocoC
from legged_ppo.sim.simulator import Simulator
from legged_ppo.training.trainer import Trainer


def measure(trainer: Trainer, rounds: int, iterations: int) -> dict[str, Any]:
    """Medians over the rounds."""
    samples = trainer.steps_per_iteration * iterations
    rows = []
    for _ in range(rounds):
        begin = time.perf_counter()
        metrics = [trainer.iterate() for _ in range(iterations)]
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
    env, config = trainer.env, trainer.config
    assert isinstance(env, LocomotionEnv)
    simulator = env.simulator
    state = simulator.state_dict()
    default = torch.as_tensor(env.robot.default_joint_pos, dtype=torch.float32, device=env.device)
    targets = default + config.robot.action_scale * _actions(trainer)
    step = _engine_step(simulator, config.sim.decimation)
    seconds = _timed(trainer, lambda: [step(t) for t in targets.unbind()], iterations)
    simulator.load_state_dict(state)
    return iterations * trainer.steps_per_iteration / seconds


def env_fps(trainer: Trainer, iterations: int) -> float:
    """Environment steps per second of `env.step`."""
    actions = _actions(trainer).unbind()
    seconds = _timed(trainer, lambda: [trainer.env.step(a) for a in actions], iterations)
    trainer.collector.restart()
    return iterations * trainer.steps_per_iteration / seconds


def _actions(trainer: Trainer) -> torch.Tensor:
    """[T, N, A] of the last rollout's robots, without their mirrored copies."""
    return trainer.buffer.actions[:, : trainer.env.num_envs]


def _engine_step(simulator: Simulator, decimation: int) -> Callable[[torch.Tensor], None]:
    """A control step, without reading the state back where the engine has such a step."""
    if isinstance(simulator, MujocoC):

        def step(targets: torch.Tensor) -> None:
            for group in simulator.groups:
                group.batch.bind("ctrl")[:] = targets[group.rows].numpy()
                group.batch.step(nstep=decimation)

        return step

    return getattr(simulator, "advance", simulator.step)


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


class Memory:
    """Device memory that is taken from here on; nothing on a CPU."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._idle = device, 0.0
        if device.type == "cuda":
            self._idle = self._used()

    def figures(self) -> dict[str, float]:
        if self._device.type != "cuda":
            return {}
        return {
            "device_memory_gb": self._used() - self._idle,
            "idle_memory_gb": self._idle,
            "torch_peak_gb": torch.cuda.max_memory_allocated(self._device) / 2**30,
        }

    def _used(self) -> float:
        free, total = torch.cuda.mem_get_info(self._device)
        return (total - free) / 2**30


def build(config: Config, device: torch.device) -> tuple[Environment, dict[str, float]]:
    """The environment, and the seconds that it took to make."""
    times: dict[str, float] = {}
    robots, seed = config.training.num_envs, config.training.seed
    if device.type == "cuda":
        few = copy.deepcopy(config)
        if not few.sim.contacts:
            few.sim.contacts, few.sim.constraints, few.sim.convex_pairs = 128, 400, 128
        with _timed_as("compile_s", times):
            make_locomotion_env(few, 2, seed, device, training=True)
    with _timed_as("build_s", times), _plan_timed(device, times):
        env = make_locomotion_env(config, robots, seed, device, training=True)
    times["build_s"] -= times.get("plan_s", 0.0)
    return env, times


@contextlib.contextmanager
def _timed_as(name: str, times: dict[str, float]) -> Iterator[None]:
    begin = time.perf_counter()
    yield
    times[name] = time.perf_counter() - begin


@contextlib.contextmanager
def _plan_timed(device: torch.device, times: dict[str, float]) -> Iterator[None]:
    if device.type != "cuda":
        yield
        return
    from legged_ppo.sim.warp import planning

    plan_capacity = planning.plan_capacity

    def timed(*args: Any) -> Any:
        with _timed_as("plan_s", times):
            return plan_capacity(*args)

    with mock.patch.object(planning, "plan_capacity", timed):
        yield


def run(arguments: argparse.Namespace, num_envs: int | None, folder: str) -> dict[str, Any]:
    """The figures of one number of robots; None takes the recipe's."""
    device = find_device(arguments.device)
    memory = Memory(device)
    more = [f"training.log_dir={folder}"] + ([f"training.num_envs={num_envs}"] if num_envs else [])
    config = load_config(arguments.config, [*arguments.overrides, *more])
    begin = time.perf_counter()
    env, times = build(config, device)
    trainer = Trainer(config, env, RunDirectory.create(config, "throughput"))
    trainer.iterate()
    startup = time.perf_counter() - begin
    for _ in range(arguments.warmup):
        trainer.iterate()
    return {
        **measure(trainer, arguments.rounds, arguments.iterations),
        "startup_s": startup,
        **times,
        **memory.figures(),
        "cuda_graphs": isinstance(trainer.collect, Captured) and trainer.collect.replays,
        "num_envs": trainer.env.num_envs,
        "rollout_length": config.ppo.rollout_length,
        "threads": torch.get_num_threads(),
        **machine(device),
    }


def run_here(arguments: argparse.Namespace, num_envs: int | None) -> dict[str, Any]:
    """`run`, or where memory runs out a row that says so."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            return run(arguments, num_envs, folder)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            reason = f"out of memory: {str(error).splitlines()[0]}"
            return {"num_envs": num_envs, "error": reason}


def run_apart(arguments: argparse.Namespace, num_envs: int) -> dict[str, Any]:
    """`run_here` in a process of its own, whose memory is this size's alone; it prints its row itself."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "row.json"
        options = ("config", "device", "rounds", "iterations", "warmup")
        command = [sys.executable, __file__, "--envs", str(num_envs), "--json", str(result)]
        for name in options:
            command += [f"--{name}", str(getattr(arguments, name))]
        try:
            end = subprocess.run([*command, *arguments.overrides], timeout=arguments.timeout)
            reason = f"exit code {end.returncode}"
        except subprocess.TimeoutExpired:
            reason = f"no result within {arguments.timeout} s"
        if result.is_file():
            return json.loads(result.read_text())
    row = {"num_envs": num_envs, "error": reason}
    show(row)
    return row


def compare(arguments: argparse.Namespace) -> None:
    """Measure and print the engines in turn, and write the file."""
    engines = arguments.engines.split(",")
    threads = arguments.threads or torch.get_num_threads()
    counts = (threads, arguments.rounds, arguments.iterations, arguments.warmup)
    rows = rows_in_turn(arguments.config, arguments.overrides, engines, *counts, measure)
    rows = [row | {"neighbour": False} for row in rows]
    if arguments.neighbour:
        options = ("config", "engines", "rounds", "iterations", "warmup")
        again = [sys.executable, __file__, "--threads", str(threads)]
        again += [f"--{name}={getattr(arguments, name)}" for name in options]
        rows += rows_beside_a_neighbour([*again, *arguments.overrides])
    found = report(rows)
    for row in found["rows"]:
        show(row)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


def show(row: dict[str, Any]) -> None:
    for name, value in row.items():
        print(f"{name:16} {value:,.3f}" if isinstance(value, float) else f"{name:16} {value}")
    print(flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; 1 if there is a size without figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--config", required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--envs", metavar="N,N,...", help="numbers of robots (the recipe's)")
    parser.add_argument("--engines", metavar="E,E,...", help="compare these in turn, on the CPU")
    parser.add_argument("--threads", type=int, help="with --engines: of torch and physics")
    parser.add_argument("--neighbour", action="store_true", help="with --engines: a busy one too")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--iterations", type=int, default=4, help="training iterations a round")
    parser.add_argument(
        "--warmup", type=int, default=20, help="training iterations before the first round"
    )
    parser.add_argument("--timeout", type=float, help="seconds that each of several sizes may take")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    arguments = parser.parse_intermixed_args(argv)
    if not arguments.engines and (arguments.threads or arguments.neighbour):
        parser.error("--threads and --neighbour need --engines")
    if arguments.engines and (arguments.envs or arguments.device != "cpu"):
        parser.error("--engines compares on the CPU, with the recipe's number of robots")
    keep_freed_memory()  # as the command lines do
    if arguments.engines:
        compare(arguments)
        return 0
    sizes = [int(n) for n in arguments.envs.split(",")] if arguments.envs else [None]
    rows = []
    for size in sizes:
        if size is None or len(sizes) == 1:
            rows.append(run_here(arguments, size))
            show(rows[-1])
        else:
            rows.append(run_apart(arguments, size))
        if arguments.json:
            content = rows[0] if len(sizes) == 1 else rows
            arguments.json.write_text(json.dumps(content, indent=2) + "\n")
    return int(any("error" in row for row in rows))


if __name__ == "__main__":
    sys.exit(main())

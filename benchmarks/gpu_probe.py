"""Where the time of a training goes on one GPU, in one run of some five minutes.

    python benchmarks/gpu_probe.py [--device cuda:0] [--envs 4096,8192] [--terrains full,flat] [key=value ...]
    python benchmarks/gpu_probe.py --device cpu --envs 13,26 --terrains flat        # that it works, without a GPU

It prints, in this order: the machine; floors (time of a small operator, of a copy and of matrix products of the
network's sizes); for each terrain and number of robots the parts of a control step and what the contact buffers
hold; training iterations of the recipe with `+preset=gpu`, with and without tf32 and CUDA graphs; and the
device's time by kernel in a control step, a rollout and an update. Kernels of Warp that are not in its cache are
compiled first (`compile_kernels.py` does that on all cores).

A time is that of the device, and in brackets that until Python has launched the work: where both are equal, the
device waits for Python. A part that fails prints its error and FAILED, and the others go on; the exit code is
then 1.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import kernel_shares
import torch
import warp as wp
from device_times import Timing, copy_rate, operator_time, product_time, timed
from machine import machine

from legged_ppo.config.loading import load_config
from legged_ppo.env.factory import make_locomotion_env
from legged_ppo.env.locomotion import LocomotionEnv
from legged_ppo.runs.run_directory import RunDirectory
from legged_ppo.runtime.cuda_graphs import Captured
from legged_ppo.runtime.device import find_device
from legged_ppo.sim.warp.engine import MujocoWarp
from legged_ppo.training.trainer import Trainer

SIZES = ("sim.contacts=56", "sim.constraints=224", "sim.convex_pairs=24")
"""Given, so that no time goes into measuring them."""
TRAININGS: dict[str, tuple[str, ...]] = {
    "tf32, graphs": ("training.cuda_graphs=true",),
    "float32, graphs": ("training.cuda_graphs=true", "ppo.precision=float32"),
    "tf32, launched": ("training.cuda_graphs=false",),
}
PRODUCTS = ((4096, 256, 768), (1024, 256, 768), (1024, 768, 256), (24576, 256, 128))
"""Rows, inner and outer size of matrix products of rollouts and updates of `+preset=gpu`."""
SETTLING = 3
"""Iterations until what can be a graph is one."""


@dataclass
class Probe:
    """What is probed, and which parts have failed."""

    config: str
    device: torch.device
    overrides: Sequence[str]
    folder: str
    steps: int
    """Control steps before a part is timed"""
    rows: int
    """Kernels that a table shows"""
    failed: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def part(self, name: str, title: str = "") -> Iterator[None]:
        """What runs in it, below the title, may fail."""
        if title:
            print(f"\n{title}", flush=True)
        try:
            yield
        except Exception:
            traceback.print_exc(limit=6, file=sys.stdout)
            print(f"FAILED: {name}", flush=True)
            self.failed.append(name)

    def trainer(self, robots: int, terrain: str, *more: str) -> Trainer:
        fixed = [f"training.num_envs={robots}", f"terrain={terrain}", "sim.engine=mujoco_warp"]
        fixed += ["training.wandb=disabled", f"training.log_dir={self.folder}"]
        config = load_config(self.config, ["+preset=gpu", *SIZES, *fixed, *self.overrides, *more])
        env = make_locomotion_env(config, robots, 0, self.device, training=True)
        return Trainer(config, env, RunDirectory.create(config, "probe"), scorer=None)


def show_machine(probe: Probe) -> None:
    for name, value in machine(probe.device).items():
        print(f"    {name:12} {value}")
    device = wp.device_from_torch(probe.device)
    print(f"    {'kernels':12} in {wp.config.kernel_cache_dir}")
    if device.is_cuda:
        driver, toolkit = wp.get_cuda_driver_version(), wp.get_cuda_toolkit_version()
        print(f"    {'warp':12} sm_{device.arch}, driver {driver}, compiler {toolkit}")
        print(f"    {'':12} memory pool {wp.is_mempool_enabled(device)}")
        print(f"    {'':12} loops in graphs {wp.is_conditional_graph_supported()}")


def show_floors(probe: Probe) -> None:
    """What no program on this machine goes below."""
    for kind, seconds in operator_time(probe.device).items():
        print(f"    small operator, {kind:9} {1e6 * seconds:8.2f} us")
    print(f"    copy {copy_rate(probe.device) / 1e12:.3f} TB/s, reads and writes together")
    for m, k, n in PRODUCTS:
        row = [
            f"{name} {1e6 * product_time((m, k, n), name, probe.device):.1f} us"
            for name in ("float32", "tf32")
        ]
        print(f"    product [{m}, {k}] x [{k}, {n}]: {', '.join(row)}", flush=True)


def physics_of(trainer: Trainer) -> tuple[LocomotionEnv, MujocoWarp]:
    env = trainer.env
    assert isinstance(env, LocomotionEnv) and isinstance(env.simulator, MujocoWarp)
    return env, env.simulator


def control_step(trainer: Trainer) -> Callable[[], None]:
    """The engine's part of a control step, with targets that change."""
    env, engine = physics_of(trainer)
    shape, device = (8, env.num_envs, env.num_actions), env.device
    default = torch.as_tensor(env.robot.default_joint_pos, dtype=torch.float32, device=device)
    targets = default + 0.125 * torch.randn(shape, device=device)
    turn = 0

    def step() -> None:
        nonlocal turn
        turn += 1
        engine.advance(targets[turn % len(targets)])

    return step


def parts_of_step(trainer: Trainer) -> dict[str, Callable[[], Any]]:
    """By name; what each changes is what time changes."""
    env, engine = physics_of(trainer)
    device, nobody = env.device, torch.zeros(env.num_envs, dtype=torch.bool, device=env.device)
    actions = 0.5 * torch.randn(env.num_envs, env.num_actions, device=device)
    qpos, qvel = engine._new_qpos.clone(), engine._new_qvel.clone()
    return {
        "physics": control_step(trainer),
        "restart": lambda: engine.reset(nobody, qpos, qvel),
        "constants": lambda: engine._constants.write(engine._fields, engine._derived),
        "env.step": lambda: env.step(actions),
        "env.measure": env._measure,
        "env.observe": env._observe,
        "env.reset": lambda: env._reset(nobody),
    }


def show_step(probe: Probe, robots: int, terrain: str) -> None:
    """The parts of a control step of robots that have moved for a while, and the buffers' use."""
    begin = time.perf_counter()
    trainer = probe.trainer(robots, terrain)
    env, engine = physics_of(trainer)
    env.reset()
    print(f"    built in {time.perf_counter() - begin:.1f} s", memory(probe.device))
    for _ in range(probe.steps):
        env.step(0.5 * torch.randn(robots, env.num_actions, device=env.device))
    for name, work in parts_of_step(trainer).items():
        with probe.part(f"{terrain} {robots} {name}"):
            print(f"    {name:12} {format_time(timed(work, probe.device))}", flush=True)
    with probe.part(f"{terrain} {robots} buffers"):
        for name, used in zip(("contacts", "constraints"), engine.usage().float(), strict=True):
            size = getattr(engine.capacity, name)
            print(f"    {name}: mean {used.mean():.1f}, most {used.max():.0f}, room for {size}")
        iterations = wp.to_torch(engine._d.solver_niter).float()
        print(f"    solver iterations: mean {iterations.mean():.1f}, most {iterations.max():.0f}")
        failed = env.simulator.state.failed.float().mean()
        print(f"    overflows {int(engine.metrics()['Sim/overflows'])}, failed {failed:.4f}")


def show_training(
    probe: Probe, robots: int, terrain: str, overrides: Sequence[str], iterations: int
) -> None:
    """Iterations from the first on, which run as they are, record and replay."""
    trainer = probe.trainer(robots, terrain, *overrides)
    for i in range(iterations):
        m = trainer.iterate()
        print(
            f"    iteration {i}: {m['Perf/total_fps']:,.0f} steps/s, collect {m['Perf/collection_time']:.3f} s, "
            f"learn {m['Perf/learning_time']:.3f} s, overflows {m['Sim/overflows']:.0f}",
            flush=True,
        )
    replays = isinstance(trainer.collect, Captured) and trainer.collect.replays
    print(f"    the rollout is {'a graph' if replays else 'launched'}", memory(probe.device))


def show_kernels(probe: Probe, robots: int, terrain: str) -> None:
    """The device's time by kernel."""
    trainer = probe.trainer(robots, terrain, *next(iter(TRAININGS.values())))
    for _ in range(SETTLING):
        trainer.iterate()
    next_value, _ = trainer.collect()
    works: dict[str, Callable[[], Any]] = {
        "a control step": control_step(trainer),
        "a rollout": trainer.collect,
        "an update": lambda: trainer.ppo.update(trainer.buffer, next_value, 0.5),
    }
    for name, work in works.items():
        with probe.part(name, f"kernels of {name}, {terrain} {robots}"):
            work()
            found = kernel_shares.shares(kernel_shares.recorded(work, probe.device))
            kernel_shares.show(found, probe.rows)


def format_time(timing: Timing) -> str:
    device, host = 1e3 * timing.device, 1e3 * timing.host
    return f"{device:.3f} ms ({host:.3f})"


def memory(device: torch.device) -> str:
    """Of the device, in GB; nothing on a CPU."""
    if device.type != "cuda":
        return ""
    free, total = torch.cuda.mem_get_info(device)
    figures = (
        total - free,
        torch.cuda.memory_reserved(device),
        torch.cuda.max_memory_allocated(device),
    )
    used, reserved, peak = (figure / 2**30 for figure in figures)
    return f"(memory: {used:.2f} GB used, torch reserves {reserved:.2f}, its peak {peak:.2f})"


def main(argv: Sequence[str] | None = None) -> int:
    """Print everything; 1 if a part has failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--config", default="configs/phase1_fast.yaml")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--envs", default="4096,8192", help="numbers of robots")
    parser.add_argument("--terrains", default="full,flat")
    parser.add_argument("--steps", type=int, default=30, help="control steps before the timing")
    parser.add_argument("--iterations", type=int, default=8, help="of each training")
    parser.add_argument("--rows", type=int, default=30, help="kernels shown in a table")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    arguments = parser.parse_intermixed_args(argv)
    device = find_device(arguments.device)
    wp.init()
    terrains = arguments.terrains.split(",")
    sizes = [int(n) for n in arguments.envs.split(",")]
    largest, first = max(sizes), terrains[0]
    with tempfile.TemporaryDirectory() as folder:
        probe = Probe(
            arguments.config, device, arguments.overrides, folder, arguments.steps, arguments.rows
        )
        with probe.part("machine", "machine"):
            show_machine(probe)
        with probe.part("floors", "floors"):
            show_floors(probe)
        for terrain in terrains:
            for robots in sizes:
                title = f"control step, {terrain} {robots}"
                with probe.part(title, title):
                    show_step(probe, robots, terrain)
        for name, overrides in TRAININGS.items():
            title = f"training, {first} {largest}, {name}"
            with probe.part(title, title):
                show_training(probe, largest, first, overrides, arguments.iterations)
        # Last, because a profiler that fails may end the process.
        with probe.part("kernels"):
            show_kernels(probe, largest, first)
    print("\n" + (f"FAILED: {'; '.join(probe.failed)}" if probe.failed else "all parts have run"))
    return int(bool(probe.failed))


if __name__ == "__main__":
    sys.exit(main())

"""Compile the kernels of MuJoCo Warp and the GRU for a GPU ahead of the first run, on all cores; needs no GPU.

    python benchmarks/compile_kernels.py [--terrains full,flat] [--envs 4096,8192] [--constraints 224] [--arch 90]

A training compiles its kernels when it starts, one after the other: 64 modules, some 100 seconds of one core.
They depend on the number of robots, on the constraint rows (`sim.constraints`; measured ones are multiples of
32), on the terrain's kinds of geoms and on the versions of warp-lang and mujoco-warp. They go to Warp's cache
(WARP_CACHE_PATH, else ~/.cache/warp), where runs find them. Without `--arch` they are compiled for the GPU of
this machine, or for compute capability 9.0 (H100, H200) where there is none.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any
from unittest import mock

import torch
import warp as wp

from legged_ppo.config.loading import load_config
from legged_ppo.models.gru_plan import kernels_of as kernels_of_gru
from legged_ppo.models.gru_plan import suits
from legged_ppo.robots.spec import load_robot
from legged_ppo.runtime.fusion.warp_kernel import make_kernel
from legged_ppo.sim.model import build_model
from legged_ppo.sim.warp.engine import MujocoWarp
from legged_ppo.sim.warp.memory import Capacity
from legged_ppo.sim.warp.world_ground import WorldGround
from legged_ppo.terrain.grid import build_terrain

Modules = dict[tuple[str, int], Any]
"""By name and block size."""
_DEFAULT_ARCH = 90
_CONTACTS, _CONVEX_PAIRS = 48, 24
"""Buffer sizes that no kernel depends on."""


@contextlib.contextmanager
def recorded() -> Iterator[Modules]:
    """The modules of the kernels that are launched, instead of the launches."""
    found: Modules = {}

    def record(kernel: Any, *args: Any, block_dim: int = 256, **kwargs: Any) -> None:
        found[kernel.module.name, block_dim] = kernel.module

    def once(condition: Any, while_body: Any, **kwargs: Any) -> None:
        while_body(**kwargs)

    with (
        mock.patch.object(wp, "launch", record),
        mock.patch.object(wp, "launch_tiled", record),
        mock.patch.object(wp, "capture_while", once),
        wp.ScopedDevice("cpu"),
    ):
        yield found


def kernels_of(config_file: str, terrain: str, robots: int, constraints: int) -> Modules:
    """The modules that the engine's graphs need."""
    config = load_config(config_file, [f"terrain={terrain}"])
    robot, slots = load_robot(config.robot), WorldGround(build_terrain(config.terrain))
    model = build_model(robot, slots.add_to, config.sim)
    capacity = Capacity(_CONTACTS, constraints, _CONVEX_PAIRS)
    cpu = torch.device("cpu")
    with recorded() as found, mock.patch.object(MujocoWarp, "_run", lambda engine, launch: None):
        engine = MujocoWarp(model, slots, robot, config.sim, robots, cpu, capacity)
        engine.keep_bodies(nominal_body())
        for name in engine._graphs:
            getattr(engine, name)()
    return found


def gru_kernels(config_file: str) -> Modules:
    """The modules of the policy's GRU, where there are some."""
    config = load_config(config_file)
    hidden = config.policy.gru_hidden
    parts = 2 if config.ppo.symmetry == "equivariant" else 1
    found: Modules = {}
    for plan in kernels_of_gru(hidden, parts) if suits(hidden, parts) else ():
        threads = plan.geometry.threads
        kernel, _ = make_kernel(plan.source, plan.arguments, plan.name, threads)
        found[kernel.module.name, threads] = kernel.module
    return found


def nominal_body() -> Any:
    from legged_ppo.sim.simulator import PhysicalParameters

    one, none = torch.ones(1), torch.zeros(1)
    names = ("friction", "kp_scale", "kd_scale", "motor_strength", "armature_scale")
    return PhysicalParameters(
        **dict.fromkeys(names, one), added_mass=none, com_shift=torch.zeros(1, 3)
    )


def compile_all(modules: Modules, arch: int, workers: int) -> int:
    """Compile on this many threads, with progress; returns how many were not in the cache."""

    def compiled(item: tuple[tuple[str, int], Any]) -> bool:
        (_, block_dim), module = item
        options = module.resolve_options(wp.config, block_dim=block_dim)
        return bool(module._compile(None, None, output_arch=arch, use_ptx=False, options=options))

    begin, new = time.perf_counter(), 0
    with ThreadPoolExecutor(workers) as pool:
        jobs = [pool.submit(compiled, item) for item in modules.items()]
        for done, job in enumerate(as_completed(jobs), 1):
            new += job.result()
            seconds = time.perf_counter() - begin
            print(f"\r    {done} of {len(jobs)} modules, {new} new, {seconds:.0f} s", end="")
    print(flush=True)
    return new


def own_arch() -> int:
    """Compute capability of this machine's GPU times ten."""
    if wp.get_cuda_device_count() == 0:
        return _DEFAULT_ARCH
    return int(wp.get_device("cuda:0").arch)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--config", default="configs/phase1_fast.yaml")
    parser.add_argument("--terrains", default="full,flat")
    parser.add_argument("--envs", default="4096,8192", help="numbers of robots")
    parser.add_argument("--constraints", default="224", help="numbers of constraint rows")
    parser.add_argument("--arch", type=int, help="compute capability times ten")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="threads")
    arguments = parser.parse_args(argv)
    wp.config.log_level = wp.LOG_WARNING
    wp.init()
    arch = arguments.arch or own_arch()
    total = 0
    if modules := gru_kernels(arguments.config):
        print(f"the GRU, sm_{arch}", flush=True)
        total += compile_all(modules, arch, arguments.workers)
    for terrain in arguments.terrains.split(","):
        for robots in map(int, arguments.envs.split(",")):
            modules = {}
            for rows in map(int, arguments.constraints.split(",")):
                modules |= kernels_of(arguments.config, terrain, robots, rows)
                print(f"{terrain}, {robots} robots, {rows} rows, sm_{arch}", flush=True)
                total += compile_all(modules, arch, arguments.workers)
    print(f"{total} modules compiled into {wp.config.kernel_cache_dir}")


if __name__ == "__main__":
    main()

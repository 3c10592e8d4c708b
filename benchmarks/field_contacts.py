"""Height fields in front of MuJoCo Warp: this project's kernel beside the collider that it takes the place of.

    python benchmarks/field_contacts.py parity [--robots 256] [--terrain rough,slope_up]
    python benchmarks/field_contacts.py time [--robots 256]
    python benchmarks/field_contacts.py resources --cuobjdump FILE

On Warp's CPU device, without a GPU. Robots trot open loop on all levels of a terrain type, walked in by MuJoCo C.
`parity`: the largest difference of a velocity [m/s, rad/s] of each robot from MuJoCo C's, after 1 and 20 substeps
with the same targets, and constraint rows; of robots above level 0, where slopes are flat and a world also has
the plane. `time`: control steps, and their collision detection alone, of both in turn. `resources`: what the
compiler reports of both kernels for `--arch`; cuobjdump is in NVIDIA's package nvidia-cuda-cuobjdump.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import mujoco_warp as mjw
import numpy as np
import torch
import warp as wp
from compile_kernels import kernels_of
from physics_engines import WALK_IN, column, tiles, trot, walk_in

from legged_ppo.config.loading import load_config
from legged_ppo.config.schema import Config
from legged_ppo.robots.spec import RobotSpec, load_robot
from legged_ppo.sim.model import build_model
from legged_ppo.sim.mujoco_c import MujocoC
from legged_ppo.sim.warp import engine
from legged_ppo.sim.warp.engine import MujocoWarp
from legged_ppo.sim.warp.memory import Capacity
from legged_ppo.sim.warp.world_ground import WorldGround
from legged_ppo.terrain.grid import Terrain

FIELDS = "rough,slope_up,slope_down,rough_slope,wave,stepping_stones"
KINDS = ("this kernel", "MuJoCo Warp")
ROOM = Capacity(contacts=128, constraints=400, convex_pairs=48)
SUBSTEPS = (1, 20)
CLOSE = 1e-4
OWN = "legged_ppo.sim.warp.field_kernels"


def made_with(kind: str) -> contextlib.AbstractContextManager[Any]:
    """A scope in which engines are made with this collider."""
    if kind == KINDS[0]:
        return contextlib.nullcontext()
    return mock.patch.object(engine, "take_field_pairs", lambda model, device_model: None)


def engines(
    spec: RobotSpec, terrain: Terrain, config: Config, robots: int
) -> dict[str, MujocoWarp]:
    """One with each collider."""
    slots = WorldGround(terrain)
    model = build_model(spec, slots.add_to, config.sim)
    made = {}
    for kind in KINDS:
        with made_with(kind):
            made[kind] = MujocoWarp(
                model, slots, spec, config.sim, robots, torch.device("cpu"), ROOM
            )
        made[kind].assign(torch.from_numpy(tiles(terrain, robots)))
    return made


def walking(
    spec: RobotSpec, terrain: Terrain, config: Config, robots: int
) -> tuple[MujocoC, tuple[torch.Tensor, torch.Tensor], torch.Tensor]:
    """MuJoCo C, states (qpos, qvel) of robots that walk, and their next targets."""
    reference = MujocoC(spec, terrain, config.sim, robots, tiles(terrain, robots))
    targets = list(trot(spec, robots, WALK_IN + 1))
    return reference, walk_in(spec, terrain, reference, targets), targets[WALK_IN]


def differences(
    spec: RobotSpec, terrain: Terrain, config: Config, robots: int
) -> tuple[dict[str, list[np.ndarray]], dict[str, np.ndarray]]:
    """Of each collider: differences [substeps][N], and constraint rows [N] in the last substep."""
    _, start, target = walking(spec, terrain, config, robots)
    one = replace(config, sim=replace(config.sim, decimation=1))
    reference = MujocoC(spec, terrain, one.sim, robots, tiles(terrain, robots))
    simulators: dict[str, Any] = engines(spec, terrain, one, robots)
    apart: dict[str, list[np.ndarray]] = {kind: [] for kind in simulators}
    counted = tiles(terrain, robots) > 0
    for simulator in (reference, *simulators.values()):
        simulator.reset(torch.ones(robots, dtype=torch.bool), *start)
    for substep in range(1, max(SUBSTEPS) + 1):
        for simulator in (reference, *simulators.values()):
            simulator.step(target)
        if substep in SUBSTEPS:
            exact = reference._gather("qvel").numpy()
            for kind, simulator in simulators.items():
                apart[kind].append(np.abs(simulator._qvel.numpy() - exact).max(1)[counted])
    lost = {kind: int(each.metrics()["Sim/overflows"]) for kind, each in simulators.items()}
    assert not any(lost.values()), f"contacts did not fit: {lost}"
    rows = {kind: each.usage()[1].numpy()[counted] for kind, each in simulators.items()}
    return apart, rows


def parity(spec: RobotSpec, name: str, config: Config, robots: int) -> None:
    """Print the distributions on a terrain type."""
    apart, rows = differences(spec, column(config.terrain, name), config, robots)
    for kind, found in apart.items():
        print(f"{name:16} {kind:12} rows: mean {rows[kind].mean():.1f}  largest {rows[kind].max()}")
        for substeps, row in zip(SUBSTEPS, found, strict=True):
            median, most, largest = np.median(row), np.quantile(row, 0.9), row.max()
            print(
                f"{name:16} {kind:12} {substeps:3} substeps: median {median:.0e}  90 % {most:.0e}  "
                f"largest {largest:.0e}  within {CLOSE:.0e} {(row < CLOSE).mean():.2f}",
                flush=True,
            )


def compare_times(
    spec: RobotSpec, name: str, config: Config, robots: int, rounds: int, steps: int = 4
) -> None:
    """Print CPU times of a control step and of its collision detection, and their ratios."""
    terrain = column(config.terrain, name)
    _, start, target = walking(spec, terrain, config, robots)
    simulators = engines(spec, terrain, config, robots)
    kept: dict[str, list[list[float]]] = {kind: [] for kind in simulators}
    for _ in range(rounds + 1):
        for kind, simulator in simulators.items():
            simulator.reset(torch.ones(robots, dtype=torch.bool), *start)
            simulator.step(target)

            def collide(simulator: MujocoWarp = simulator) -> None:
                for _ in range(config.sim.decimation):
                    mjw.collision(simulator._m, simulator._d)

            def control_step(simulator: MujocoWarp = simulator) -> None:
                simulator.step(target)

            kept[kind].append([cpu_seconds(work, steps) for work in (control_step, collide)])
    ours, theirs = (np.array(kept[kind][1:]) for kind in KINDS)  # the first warms caches
    for what, k in (("control step", 0), ("collision", 1)):
        a, b = 1e3 * ours[:, k], 1e3 * theirs[:, k]
        print(
            f"{name:16} {what:13} {KINDS[0]} {np.median(a):.1f} ms, {KINDS[1]} {np.median(b):.1f} ms, "
            f"ratio {np.median(b / a):.1f} ({(b / a).min():.1f} to {(b / a).max():.1f})",
            flush=True,
        )


def cpu_seconds(work: Callable[[], None], times: int) -> float:
    """CPU time of each."""
    begin = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - begin) / times


def resources(config_file: str, cuobjdump: Path, arch: int) -> None:
    """Print registers and stack (local memory with spills) of the kernels of height fields."""
    for kind in KINDS:
        with made_with(kind):
            modules = kernels_of(config_file, "full", 2, ROOM.constraints)
        for (name, block), module in modules.items():
            if "hfield" not in name and name != OWN:
                continue
            options = module.resolve_options(wp.config, block_dim=block)
            with tempfile.TemporaryDirectory() as folder:
                module._compile(
                    None, Path(folder), output_arch=arch, use_ptx=False, options=options
                )
                (cubin,) = Path(folder).rglob("*.cubin")
                command = [str(cuobjdump), "--dump-resource-usage", str(cubin)]
                shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            print(kind, f"sm_{arch}", *(x for x in shown.split() if x.startswith(("REG", "STACK"))))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", choices=("parity", "time", "resources"))
    parser.add_argument("--config", default="configs/phase1_fast.yaml")
    parser.add_argument("--terrain", default=FIELDS, help="types, comma separated")
    parser.add_argument("--robots", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cuobjdump", type=Path, default=Path("cuobjdump"))
    parser.add_argument("--arch", type=int, default=90, help="compute capability times ten")
    args = parser.parse_args(argv)
    if args.what == "resources":
        wp.init()
        resources(args.config, args.cuobjdump, args.arch)
        return
    config = load_config(args.config)
    spec = load_robot(config.robot)
    for name in args.terrain.split(","):
        if args.what == "parity":
            parity(spec, name, config, args.robots)
        else:
            compare_times(spec, name, config, args.robots, args.rounds)


if __name__ == "__main__":
    main()

"""Physics alone: the CPU engines on the same robots, states and targets, in alternation within one run.

    python benchmarks/physics_engines.py --terrain flat --robots 512,4096 --threads 1
    python benchmarks/physics_engines.py --config configs/phase1_fast.yaml --terrain all --json FILE
    python benchmarks/physics_engines.py --terrain all --robots 1024 --scaling 2

Robots trot open loop, each at its own rate, spread over all levels of a terrain type. MuJoCo C walks them in;
every round then starts both engines from that state and times some control steps of each, everything that the
`Simulator` protocol does in a step included. A ratio is the median of the rounds' ratios, because a shared
machine's speed drifts: `ratio` of wall times, `core_ratio` of the process's CPU times. With --scaling the SIMD
engine is compared with itself instead: one thread and so many.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import machine

from legged_ppo.config.loading import load_config
from legged_ppo.config.schema import Config, TerrainConfig
from legged_ppo.robots.spec import RobotSpec, load_robot
from legged_ppo.sim.mujoco_c import MujocoC
from legged_ppo.sim.simd.engine import Simd
from legged_ppo.sim.simulator import Simulator
from legged_ppo.terrain.grid import Terrain, build_terrain

WALK_IN = 40
"""Control steps before the measurement."""
STEPS = 12
"""Control steps of one engine a round."""


def compare(
    spec: RobotSpec, terrain: Terrain, config: Config, robots: int, rounds: int
) -> dict[str, Any]:
    """Substeps per second and CPU time [us] a robot and substep of both engines, and the median ratio."""
    simulators: dict[str, Simulator] = {
        "mujoco_c": MujocoC(spec, terrain, config.sim, robots, tiles(terrain, robots)),
        "simd": Simd(spec, terrain, config.sim, robots),
    }
    kept = _times(simulators, spec, terrain, rounds)
    substeps = robots * STEPS * config.sim.decimation
    ratios = kept["mujoco_c"] / kept["simd"]
    return {
        **{f"{name}_substeps_per_s": substeps / np.median(t[:, 0]) for name, t in kept.items()},
        **{f"{name}_cpu_us": 1e6 * np.median(t[:, 1]) / substeps for name, t in kept.items()},
        "ratio": np.median(ratios[:, 0]),
        "core_ratio": np.median(ratios[:, 1]),
        "core_ratio_range": [ratios[:, 1].min(), ratios[:, 1].max()],
    }


def scaling(
    spec: RobotSpec, terrain: Terrain, config: Config, robots: int, threads: int, rounds: int
) -> dict[str, Any]:
    """How many times as fast the SIMD engine is with so many threads as with one: median and range of the
    rounds."""
    simulators: dict[str, Simulator] = {
        str(count): Simd(spec, terrain, replace(config.sim, threads=count), robots)
        for count in (1, threads)
    }
    kept = _times(simulators, spec, terrain, rounds)
    ratios = kept["1"][:, 0] / kept[str(threads)][:, 0]
    return {"times_one_thread": np.median(ratios), "range": [ratios.min(), ratios.max()]}


def _times(
    simulators: Mapping[str, Simulator], spec: RobotSpec, terrain: Terrain, rounds: int
) -> dict[str, np.ndarray]:
    """Wall and CPU seconds [rounds, 2] of some steps of each, in turn."""
    first = next(iter(simulators.values()))
    robots = first.num_envs
    targets = list(trot(spec, robots, WALK_IN + STEPS))
    start = walk_in(spec, terrain, first, targets)
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in simulators}
    for _ in range(rounds + 1):
        for name, simulator in simulators.items():
            simulator.reset(torch.ones(robots, dtype=torch.bool), *start)
            simulator.step(targets[WALK_IN - 1])  # fills the warm starts
            wall, cpu = time.perf_counter(), time.process_time()
            for target in targets[WALK_IN:]:
                simulator.step(target)
            seconds[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return {name: np.array(times[1:]) for name, times in seconds.items()}  # the first warms caches


def tiles(terrain: Terrain, robots: int) -> np.ndarray:
    """[robots], all levels of the only column."""
    return np.arange(robots) % terrain.num_levels


def walk_in(
    spec: RobotSpec, terrain: Terrain, simulator: Simulator, targets: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """States (qpos, qvel) of robots that walk."""
    robots = simulator.num_envs
    generator = torch.Generator().manual_seed(0)
    qpos = torch.zeros(robots, 7 + spec.num_joints)
    origin = torch.tensor(terrain.origins[0, tiles(terrain, robots)]).float()
    radius = float(terrain.spawn_radius.min())
    qpos[:, :3] = origin + torch.tensor([0.0, 0.0, spec.config.spawn_height])
    qpos[:, :2] += radius * (2 * torch.rand(robots, 2, generator=generator) - 1)
    heading = torch.pi * torch.rand(robots, generator=generator)
    qpos[:, 3], qpos[:, 6] = torch.cos(heading), torch.sin(heading)
    qpos[:, 7:] = torch.as_tensor(spec.default_joint_pos)
    simulator.reset(
        torch.ones(robots, dtype=torch.bool), qpos, torch.zeros(robots, 6 + spec.num_joints)
    )
    for target in targets[:WALK_IN]:
        simulator.step(target)
    state = simulator.state
    velocity = torch.bmm(state.base_rotation, state.base_lin_vel[:, :, None])[:, :, 0]
    return (
        torch.cat([state.base_pos, state.base_quat, state.joint_pos], dim=1),
        torch.cat([velocity, state.base_ang_vel, state.joint_vel], dim=1),
    )


def trot(spec: RobotSpec, robots: int, steps: int) -> Iterator[torch.Tensor]:
    """Joint targets [robots, J] of each step: diagonal legs swing together; hip, thigh, calf a leg."""
    rng = np.random.default_rng(2)
    rate, phase = rng.uniform(1.8, 2.6, robots), rng.uniform(0, 2 * np.pi, robots)
    stride, lift = rng.uniform(0.1, 0.3, robots), rng.uniform(0.3, 0.6, robots)
    for step in range(steps):
        target = np.tile(spec.default_joint_pos, (robots, 1))
        for leg, offset in enumerate((0.0, np.pi, np.pi, 0.0)):
            angle = 2 * np.pi * rate * 0.02 * step + phase + offset
            swing = np.maximum(np.sin(angle), 0.0)
            target[:, 3 * leg + 1] += stride * np.cos(angle) + 0.5 * lift * swing
            target[:, 3 * leg + 2] -= lift * swing
        target += 0.03 * rng.normal(size=target.shape)
        yield torch.from_numpy(target).float()


def column(config: TerrainConfig, name: str) -> Terrain:
    """One type of the recipe's terrain, as it is there."""
    alone = copy.deepcopy(config)
    alone.proportions = {name: 1.0}
    return build_terrain(alone)


def main(argv: Sequence[str] | None = None) -> None:
    """Print a line, and write a row, for each terrain type, number of robots and number of threads."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--config", type=Path, default=Path("configs/phase1_fast.yaml"))
    parser.add_argument(
        "--terrain", default="flat", help="types, comma separated; all: the recipe's"
    )
    parser.add_argument("--robots", default="512")
    parser.add_argument("--threads", default="1")
    parser.add_argument("--scaling", type=int, help="threads to compare with one")
    parser.add_argument("--width", type=int, default=0, help="sim.simd_width")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(argv)
    config = load_config(args.config)
    spec = load_robot(config.robot)
    names = list(config.terrain.proportions) if args.terrain == "all" else args.terrain.split(",")
    rows = []
    for name in names:
        terrain = column(config.terrain, name)
        for robots in map(int, args.robots.split(",")):
            for threads in [args.scaling] if args.scaling else map(int, args.threads.split(",")):
                sim = replace(config.sim, threads=threads, simd_width=args.width)
                one = spec, terrain, replace(config, sim=sim), robots
                rounds = args.rounds
                result = scaling(*one, threads, rounds) if args.scaling else compare(*one, rounds)
                rows.append({"terrain": name, "robots": robots, "threads": threads, **result})
                print(json.dumps(rows[-1]), flush=True)
    if args.json is not None:
        about = {**machine(torch.device("cpu")), "processor": platform.processor()}
        args.json.write_text(json.dumps({"rows": rows, "machine": about}, indent=1) + "\n")


if __name__ == "__main__":
    main()

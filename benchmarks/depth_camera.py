"""The depth camera: time of a frame, and agreement with MuJoCo's rays on every terrain type.

    OMP_NUM_THREADS=1 python benchmarks/depth_camera.py [--robots N] [--rows R] [--columns C] [--threads T]

Time: one frame of every robot, above all tiles of `terrain=full`, median of the rounds; processor time sums over
the threads, and neighbours disturb it less than the clock. Agreement: against `mj_multiRay` on the geoms that the
physics has, with cameras at random places 0.25 to 0.45 m above the ground. Pixels at edges are those whose own
or neighbouring rays of MuJoCo leave a plane by more than 5 cm. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import statistics
import time

import mujoco
import numpy as np
import torch
from machine import machine

from legged_ppo.config.loading import CONFIG_DIR, load_config
from legged_ppo.sensors.depth_rendering import DepthRenderer, pixel_directions
from legged_ppo.terrain.grid import Terrain, build_terrain

FAR, FOV = 2.0, 87.0
OFF = 0.05
"""m, from which a pixel counts as wrong."""
_NEVER = 1e3


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--robots", type=int, default=256)
    parser.add_argument("--rows", type=int, default=58)
    parser.add_argument("--columns", type=int, default=87)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--poses", type=int, default=4, help="cameras on each type and level")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    size = arguments.rows, arguments.columns
    config = load_config(CONFIG_DIR / "phase1_fast.yaml", ["terrain=full"])
    terrain = build_terrain(config.terrain)
    directions = pixel_directions(*size, FOV)
    cpu = torch.device("cpu")
    renderer = DepthRenderer(terrain, directions, FAR, cpu, arguments.threads)
    wall, processor = frame_times(renderer, terrain, arguments.robots, arguments.rounds)
    print(
        f"{arguments.robots} robots, {size[0]} x {size[1]} pixels; commit {machine(cpu)['commit']}\n"
    )
    print("| threads | ms a frame | ms of processor time |")
    print("| --- | --- | --- |")
    print(f"| {arguments.threads} | {wall:.0f} | {processor:.0f} |\n")
    print("| ground | median error [mm] | off by more than 5 cm | of them away from edges |")
    print("| --- | --- | --- | --- |")
    for name in terrain.types:
        median, off, inside = agreement(terrain, renderer, directions, size, name, arguments.poses)
        print(f"| {name} | {1e3 * median:.3f} | {off:.2%} | {inside:.2%} |", flush=True)


def frame_times(
    renderer: DepthRenderer, terrain: Terrain, robots: int, rounds: int
) -> tuple[float, float]:
    """Median wall and processor time [ms] of a frame of all robots, each round from other places."""
    rng = np.random.default_rng(0)
    origins = terrain.origins.reshape(-1, 3)
    tile = torch.arange(robots) * len(origins) // robots
    walls, processors = [], []
    for _ in range(rounds + 1):
        offset = rng.uniform([-4, -4, 0.3], [4, 4, 0.5], (robots, 3))
        position = torch.from_numpy(origins[tile] + offset).float()
        rotation = torch.from_numpy(np.stack([_drawn_rotation(rng) for _ in range(robots)])).float()
        begin = time.perf_counter(), time.process_time()
        renderer(position, rotation, tile)
        walls.append(1e3 * (time.perf_counter() - begin[0]))
        processors.append(1e3 * (time.process_time() - begin[1]))
    return statistics.median(walls[1:]), statistics.median(processors[1:])


def agreement(
    terrain: Terrain,
    renderer: DepthRenderer,
    directions: torch.Tensor,
    size: tuple[int, int],
    name: str,
    poses: int,
) -> tuple[float, float, float]:
    """On a terrain type: the median error [m] of the pixels that see something, and the shares of the pixels that
    are off by more than 5 cm, of all of them and of those away from edges."""
    column, rng = terrain.types.index(name), np.random.default_rng(0)
    errors, seen, edges = [], [], []
    for level in range(terrain.num_levels):
        spec = mujoco.MjSpec()
        terrain.add_endless(spec, column, level)
        model = spec.compile()
        data = mujoco.MjData(model)
        mujoco.mj_kinematics(model, data)
        tile = torch.tensor([column * terrain.num_levels + level])
        for _ in range(poses):
            position = _above_ground(model, data, terrain.origins[column, level], rng)
            rotation = _drawn_rotation(rng)
            pose = torch.from_numpy(position).float(), torch.from_numpy(rotation).float()
            depths = renderer(pose[0][None], pose[1][None], tile)[0].numpy()
            truth = ray_depths(model, data, position, rotation, directions)
            errors.append(np.abs(depths - np.minimum(truth, FAR)))
            seen.append(truth < FAR)
            edges.append(near_edges(truth.reshape(size)).ravel())
    error, inside, edge = np.stack(errors), np.stack(seen), np.stack(edges)
    off = error > OFF
    return float(np.median(error[inside])), float(off.mean()), float(off[~edge].mean())


def ray_depths(
    model: mujoco.MjModel,
    data: mujoco.MjData,
    position: np.ndarray,
    rotation: np.ndarray,
    directions: torch.Tensor,
) -> np.ndarray:
    """Depths [P] m along the optical axis by MuJoCo's rays, 1000 where they meet nothing."""
    rays = np.ascontiguousarray((rotation @ directions.double().numpy()).T)
    lengths = np.linalg.norm(rays, axis=1)
    rays /= lengths[:, None]
    count = len(rays)
    geoms, found = np.zeros(count, dtype=np.int32), np.zeros(count)
    mujoco.mj_multiRay(
        *(model, data, position, rays.ravel(), None, 1, -1, geoms, found, None),
        *(count, _NEVER),
    )
    return np.where(found < 0, _NEVER, found / lengths)


def near_edges(depths: np.ndarray) -> np.ndarray:
    """Pixels [rows, columns] bool whose 3 x 3 neighbourhood has a pixel that is off the plane through its
    neighbours by more than 5 cm. The reciprocal depth of a plane is linear in the pixels' coordinates."""
    inverse = 1.0 / np.maximum(depths, 1e-3)
    bends = np.zeros_like(depths, dtype=bool)
    for along in (0, 1):
        first, middle, last = (
            np.take(inverse, range(i, inverse.shape[along] - 2 + i), axis=along) for i in range(3)
        )
        depth = np.minimum(1.0 / middle, FAR)
        bent = np.abs(first - 2 * middle + last) * depth**2 > OFF
        core = [slice(None), slice(None)]
        core[along] = slice(1, -1)
        bends[tuple(core)] |= bent
    padded = np.pad(bends, 1)
    rows, columns = bends.shape
    shifts = [padded[i : i + rows, j : j + columns] for i in range(3) for j in range(3)]
    return np.any(shifts, axis=0)


def turned(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Rotation [3, 3] by angles [rad], pitch downwards."""
    quat, rotation = np.zeros(4), np.zeros(9)
    mujoco.mju_euler2Quat(quat, np.array([yaw, pitch, roll]), "zyx")
    mujoco.mju_quat2Mat(rotation, quat)
    return rotation.reshape(3, 3)


def _drawn_rotation(rng: np.random.Generator) -> np.ndarray:
    return turned(rng.uniform(-3, 3), rng.uniform(-0.1, 0.8), rng.uniform(-0.3, 0.3))


def _above_ground(
    model: mujoco.MjModel, data: mujoco.MjData, origin: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """[3] m, 0.25 to 0.45 m above the ground somewhere on a tile."""
    position = np.array([*(origin[:2] + rng.uniform(-4.0, 4.0, size=2)), 5.0])
    below = mujoco.mj_ray(
        *(model, data, position, np.array([0.0, 0.0, -1.0]), None, 1, -1),
        np.zeros(1, dtype=np.int32),
    )
    position[2] += rng.uniform(0.25, 0.45) - below
    return position


if __name__ == "__main__":
    main()

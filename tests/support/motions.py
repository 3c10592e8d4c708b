"""Robots in the middle of typical motions, as MuJoCo C has them, to compare another engine's next substeps."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
from mujoco.batch import Batch

from legged_ppo.terrain.grid import Terrain

MOTIONS = ("stand", "walk", "fall", "jam")
WARM_UP = {"stand": 30, "walk": 30, "fall": 15, "jam": 25}
"""Control steps of 4 substeps before the comparison."""


@dataclass
class Moment:
    """States of N robots in MuJoCo's order, and the targets [N, J] that apply next, in the task's order."""

    qpos: np.ndarray
    qvel: np.ndarray
    warmstart: np.ndarray
    targets: np.ndarray


def moment(
    model: mujoco.MjModel, default: np.ndarray, motion: str, starts: np.ndarray, seed: int = 1
) -> Moment:
    """Robots that stand, trot open loop, tumble with random targets, or fold up until joints hit their limits.

    Args:
        default: [J] rad, in MuJoCo's order, which must be the task's too unless the robot stands or falls.
        starts: [N, 3] m, base positions of robots that stand there.
    """
    rng = np.random.default_rng(seed)
    batch = Batch(model, len(starts), 1)
    batch.bind("ctrl")
    batch.qpos[:, :3], batch.qpos[:, 3:7] = starts, _yaw(rng, len(starts))
    batch.qpos[:, 7:] = default
    if motion == "fall":
        batch.qpos[:, 2] += rng.uniform(0.0, 0.3, len(starts))
        quat = rng.normal(size=(len(starts), 4))
        batch.qpos[:, 3:7] = quat / np.linalg.norm(quat, axis=1, keepdims=True)
        batch.qvel[:] = rng.normal(size=batch.qvel.shape)
    elif motion != "stand":
        batch.qvel[:, :2] = 0.3 * rng.normal(size=(len(starts), 2))
    gait = Gait(rng, default, motion, len(starts))
    for step in range(WARM_UP[motion]):
        batch.ctrl[:] = gait.targets(step)
        batch.step(nstep=4)
    state = batch.qpos.copy(), batch.qvel.copy(), batch.qacc_warmstart.copy()
    return Moment(*state, gait.targets(WARM_UP[motion]))


class Gait:
    """Joint targets of each robot and step."""

    def __init__(
        self, rng: np.random.Generator, default: np.ndarray, motion: str, count: int
    ) -> None:
        self._rng, self._default, self._motion, self._count = rng, default, motion, count
        self._rate, self._phase = rng.uniform(1.8, 2.6, count), rng.uniform(0, 2 * np.pi, count)
        self._stride, self._lift = rng.uniform(0.1, 0.3, count), rng.uniform(0.3, 0.6, count)

    def targets(self, step: int) -> np.ndarray:
        """[N, J] rad"""
        targets = np.tile(self._default, (self._count, 1))
        if self._motion == "walk":
            self._trot(targets, 0.02 * step)
        if self._motion == "fall":
            targets += 0.25 * self._rng.normal(size=targets.shape)
        if self._motion == "jam":
            targets += np.sign(self._rng.normal(size=targets.shape)) * 2.5
        return targets

    def _trot(self, targets: np.ndarray, seconds: float) -> None:
        for leg, offset in enumerate((0, np.pi, np.pi, 0)):
            phase = 2 * np.pi * self._rate * seconds + self._phase + offset
            swing = np.maximum(np.sin(phase), 0)
            targets[:, 3 * leg + 1] += self._stride * np.cos(phase) + 0.5 * self._lift * swing
            targets[:, 3 * leg + 2] -= self._lift * swing
        targets += 0.03 * self._rng.normal(size=targets.shape)


def _yaw(rng: np.random.Generator, count: int) -> np.ndarray:
    half = rng.uniform(-np.pi, np.pi, count) / 2
    zero = np.zeros(count)
    return np.stack([np.cos(half), zero, zero, np.sin(half)], axis=1)


def above(terrain: Terrain, column: int, count: int, seed: int = 3) -> np.ndarray:
    """[count, 3] m, places on all levels of a column from which a Go2 stands on the highest ground near it."""
    rng, size = np.random.default_rng(seed), terrain.config.tile_size
    heights = terrain.heights[column]
    cells = heights.shape[-1] - 1
    level = np.arange(count) % len(heights)
    inside = rng.uniform(-0.3, 0.3, (count, 2)) * size + size / 2
    reach = int(np.ceil(0.35 / size * cells))
    at = np.rint(inside / size * cells).astype(int)
    tops = [
        heights[k, max(i - reach, 0) : i + reach + 1, max(j - reach, 0) : j + reach + 1].max()
        for k, (i, j) in zip(level, at, strict=True)
    ]
    x, y = column * size + inside[:, 0], level * size + inside[:, 1]
    return np.stack([x, y, np.array(tops) + 0.33], axis=1)


def stepped(model: mujoco.MjModel, start: Moment, substeps: int) -> tuple[np.ndarray, np.ndarray]:
    """qpos and qvel after so many substeps of MuJoCo C."""
    batch = Batch(model, len(start.qpos), 1)
    batch.bind("ctrl")
    batch.qpos[:], batch.qvel[:] = start.qpos, start.qvel
    batch.qacc_warmstart[:], batch.ctrl[:] = start.warmstart, start.targets
    batch.step(nstep=substeps)
    return batch.qpos.copy(), batch.qvel.copy()


def contacts(model: mujoco.MjModel, start: Moment) -> np.ndarray:
    """[N], number of contacts of each robot."""
    data, found = mujoco.MjData(model), []
    for qpos in start.qpos:
        data.qpos[:] = qpos
        mujoco.mj_forward(model, data)
        found.append(data.ncon)
    return np.array(found)

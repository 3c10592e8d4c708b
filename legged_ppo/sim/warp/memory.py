"""How much device memory the arrays of MuJoCo Warp take.

What else a GPU's memory holds is not in these figures: CUDA's context and compiled kernels (some hundred MB, the
same for any number of robots), the terrain's tables, and all that is torch's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import is_dataclass

import mujoco
import mujoco_warp as mjw
import warp as wp

from legged_ppo.sim.indexing import RANDOMIZED
from legged_ppo.sim.warp.capacity import Capacity
from legged_ppo.sim.warp.derived_fields import DERIVED
from legged_ppo.sim.warp.world_ground import MODEL_FIELDS

PER_WORLD = (*RANDOMIZED, *DERIVED, *MODEL_FIELDS)
"""Model fields that every world has its own of: randomized ones, what follows from them, the ground."""
_FLOAT = 4
_NEWTON_VECTORS = 8
"""Vectors and scalars per degree of freedom of the solver, generously."""


def predicted_bytes(model: mujoco.MjModel, capacity: Capacity, num_envs: int) -> int:
    """`array_bytes` of `num_envs` worlds and `scratch_bytes`, before any is made.

    Args:
        model: without the flags that the engine refuses.
    """
    few, more = (_bytes_of_worlds(model, capacity, worlds) for worlds in (2, 4))
    held = few + (more - few) // 2 * (num_envs - 2)
    return held + scratch_bytes(model, capacity, num_envs)


def array_bytes(*parts: object) -> int:
    """What the Warp arrays in these dataclasses hold, at any depth and each of them once."""
    arrays = {array.ptr: array.capacity for part in parts for array in _arrays(part) if array.ptr}
    return sum(arrays.values())


def scratch_bytes(model: mujoco.MjModel, capacity: Capacity, num_envs: int) -> int:
    """The most that a step holds besides: the collider's, or after it the solver's. A captured graph keeps
    it, and graphs that never run at once share it."""
    iterations = model.opt.ccd_iterations
    vertices, faces, horizon = 10 + 2 * iterations, 6 + 5 * iterations, 24
    polytope = 16 * vertices + 20 * faces + 4 * horizon  # of the expanding-polytope algorithm
    candidate = 20  # two pairs of integers and one more
    collider = capacity.convex_pairs * polytope + capacity.contacts * candidate
    row = (
        6 * _FLOAT
    )  # residual, its change along the search, three coefficients of a parabola, an index
    padded = -(-model.nv // 4) * 4
    solver = capacity.constraints * row + _FLOAT * padded * (padded + _NEWTON_VECTORS)
    return max(collider, solver) * num_envs


def _bytes_of_worlds(model: mujoco.MjModel, capacity: Capacity, worlds: int) -> int:
    with wp.ScopedDevice("cpu"):
        data = mjw.make_data(
            model,
            nworld=worlds,
            nconmax=capacity.contacts,
            nccdmax=capacity.convex_pairs,
            njmax=capacity.constraints,
        )
        return array_bytes(mjw.put_model(model, dict.fromkeys(PER_WORLD, worlds)), data)


def _arrays(part: object) -> Iterator[wp.array]:
    if isinstance(part, wp.array):
        yield part
    elif isinstance(part, (tuple, list)):
        for each in part:
            yield from _arrays(each)
    elif is_dataclass(part):
        for each in vars(part).values():
            yield from _arrays(each)

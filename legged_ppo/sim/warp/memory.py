"""Sizes of MuJoCo Warp's contact and constraint buffers, and the device memory that it takes.

Not included: the CUDA context and compiled kernels (some hundred MB for any number of robots), the tables of
the terrain, and the memory of torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, is_dataclass

import mujoco
import mujoco_warp as mjw
import numpy as np
import torch
import warp as wp

from legged_ppo.sim.indexing import RANDOMIZED
from legged_ppo.sim.warp.derived_fields import DERIVED
from legged_ppo.sim.warp.field_contacts import field_pairs
from legged_ppo.sim.warp.world_ground import MODEL_FIELDS

PER_WORLD = (*RANDOMIZED, *DERIVED, *MODEL_FIELDS)
"""Model fields stored per world: randomized fields, the fields derived from them, and the ground."""
_FLOAT = 4
_FIELD_STACK = 1800
"""Local memory [bytes] of a thread of MuJoCo Warp's height-field collider, which has more than any other kernel:
what the compiler reports for compute capability 9.0 with MuJoCo Warp 4.0."""
_SENSOR_MATCHES = 64
"""Contacts that MuJoCo Warp has room for in each contact sensor, unless the model says otherwise."""
_NEWTON_VECTORS = 8
"""Upper bound of the solver's vectors and scalars per degree of freedom."""


@dataclass(frozen=True)
class Capacity:
    """Buffer sizes per robot. Contacts and convex pairs are pooled over all robots, so one robot may use
    more; constraints are not pooled."""

    contacts: int
    """contacts, and geom pairs whose bounding volumes overlap"""
    constraints: int
    """constraint rows"""
    convex_pairs: int
    """geom pairs that the general convex collider tests, see `most_convex_pairs`"""


def predicted_bytes(model: mujoco.MjModel, capacity: Capacity, num_envs: int) -> int:
    """`array_bytes` of `num_envs` worlds plus `scratch_bytes`, computed without allocating anything.

    Args:
        model: from `accepted`.
    """
    few, more = (_bytes_of_worlds(model, capacity, worlds) for worlds in (2, 4))
    held = few + (more - few) // 2 * (num_envs - 2)
    return held + scratch_bytes(model, capacity, num_envs)


def array_bytes(*parts: object) -> int:
    """Bytes of all distinct Warp arrays in these dataclasses, at any depth."""
    arrays = {array.ptr: array.capacity for part in parts for array in _arrays(part) if array.ptr}
    return sum(arrays.values())


def scratch_bytes(model: mujoco.MjModel, capacity: Capacity, num_envs: int) -> int:
    """Peak of the temporary memory of a step: the largest of the collider's, the solver's and the contact
    sensors'. A captured graph keeps it; graphs that do not run concurrently share it."""
    iterations = model.opt.ccd_iterations
    vertices, faces, horizon = 10 + 2 * iterations, 6 + 5 * iterations, 24
    polytope = 16 * vertices + 20 * faces + 4 * horizon  # of the expanding-polytope algorithm
    candidate = 20  # two pairs of integers and one more
    convex_pairs = capacity.convex_pairs if most_convex_pairs(model) else 0
    collider = convex_pairs * polytope + capacity.contacts * candidate
    row = (
        6 * _FLOAT
    )  # residual, its change along the search, three coefficients of a parabola, an index
    padded = -(-model.nv // 4) * 4
    solver = capacity.constraints * row + _FLOAT * padded * (padded + _NEWTON_VECTORS)
    kind = int(mujoco.mjtSensor.mjSENS_CONTACT)
    stages = model.sensor_needstage[model.sensor_type == kind]  # evaluated one after the other
    contact_sensors = int(np.bincount(stages, minlength=1).max())
    # A count, and an index and a criterion for each match.
    sensors = contact_sensors * _FLOAT * (1 + 2 * _SENSOR_MATCHES)
    return max(collider, solver, sensors) * num_envs


def local_bytes(model: mujoco.MjModel, device: torch.device) -> int:
    """Local memory that CUDA sets aside on a GPU for all threads that it can hold at a time; 0 on a CPU and
    where MuJoCo Warp tests no pair with a height field."""
    if device.type != "cuda" or not _general_field_pairs(model):
        return 0
    gpu = torch.cuda.get_device_properties(device)
    return gpu.multi_processor_count * gpu.max_threads_per_multi_processor * _FIELD_STACK


def most_convex_pairs(model: mujoco.MjModel) -> int:
    """Geom pairs of a robot and its tile that go to the general convex collider: those of a height field or a box
    with anything except a sphere or a capsule, and those of a height field that `FieldContacts` leaves."""
    kinds = mujoco.mjtGeom
    mine = model.geom_type[model.geom_conaffinity != 0]
    boxes = (model.geom_type[model.geom_contype != 0] == int(kinds.mjGEOM_BOX)).sum()
    others = (~np.isin(mine, [int(kinds.mjGEOM_SPHERE), int(kinds.mjGEOM_CAPSULE)])).sum()
    return int(others * boxes) + _general_field_pairs(model)


def _general_field_pairs(model: mujoco.MjModel) -> int:
    """Pairs of a robot's geom and a height field that MuJoCo Warp tests."""
    mine = np.flatnonzero(model.geom_conaffinity)
    ground = np.flatnonzero(model.geom_contype)
    fields = ground[model.geom_type[ground] == int(mujoco.mjtGeom.mjGEOM_HFIELD)]
    ours = field_pairs(model)
    return sum((field, geom) not in ours for field in fields.tolist() for geom in mine.tolist())


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

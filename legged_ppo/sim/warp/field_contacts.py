"""Contacts of spheres and capsules with height fields, in place of MuJoCo Warp's.

MuJoCo Warp runs GJK and EPA for every prism under a geom, in one thread with 1.8 kB of local memory, and keeps
four contacts of a pair of geoms. `prisms` has the nearest points in closed form, and `field_kernels` keeps what
MuJoCo C keeps.

These pairs are taken from the model's lists, so that MuJoCo Warp tests all others. Their contacts are appended by
the model's callback `contactfilter`, which is called at the end of a collision detection, before constraints are
made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mujoco
import mujoco_warp as mjw
import numpy as np
import warp as wp

from legged_ppo.sim.warp.field_kernels import (
    CONTACT_ARRAYS,
    FIELD_ARRAYS,
    Contacts,
    Fields,
    Pairs,
    hfield_contacts,
    vec5,
)

_FIELD, _SPHERE, _CAPSULE = (
    int(kind)
    for kind in (
        mujoco.mjtGeom.mjGEOM_HFIELD,
        mujoco.mjtGeom.mjGEOM_SPHERE,
        mujoco.mjtGeom.mjGEOM_CAPSULE,
    )
)
_ALONE = -1
"""`nxn_pairid` of a pair that neither an explicit contact pair nor a distance sensor names."""


def field_pairs(model: mujoco.MjModel) -> set[tuple[int, int]]:
    """Pairs of a height field and a sphere or capsule that `FieldContacts` may take, whether they collide or not.

    Pairs with a margin, a gap, adhesion or a surface velocity stay MuJoCo Warp's, and all of a model whose bodies
    may sleep: its collision detection then runs twice a step, and calls the callback both times.
    """
    if model.opt.enableflags & mujoco.mjtEnableBit.mjENBL_SLEEP:
        return set()
    plain = (model.geom_margin == 0.0) & (model.geom_gap == 0.0) & (model.geom_adhesion == 0.0)
    plain &= (model.geom_surfacevel == 0.0).all(1)
    fields = np.flatnonzero(plain & (model.geom_type == _FIELD))
    geoms = np.flatnonzero(plain & np.isin(model.geom_type, (_SPHERE, _CAPSULE)))
    return {(int(field), int(geom)) for field in fields for geom in geoms}


def take_field_pairs(model: mujoco.MjModel, device_model: Any) -> None:
    """Let `FieldContacts` find the contacts of the `field_pairs` that collide.

    Args:
        model: the model that `device_model` was made of.
        device_model: from `put_model`; its lists of pairs and its callback are changed. Left alone where its
            broad phase, that of many thousand pairs, does not read these lists.
    """
    if device_model.opt.broadphase != mjw.BroadphaseType.NXN:
        return
    ours = field_pairs(model)
    pairs = device_model.nxn_geom_pair_filtered.numpy()
    ids = device_model.nxn_pairid_filtered.numpy()
    # As the collision detection orders them: the lower type first.
    swapped = model.geom_type[pairs[:, 0]] > model.geom_type[pairs[:, 1]]
    ordered = np.where(swapped[:, None], pairs[:, ::-1], pairs)
    taken = np.array([tuple(pair) in ours for pair in ordered.tolist()], dtype=bool)
    taken &= (ids == _ALONE).all(1)
    if not taken.any():
        return
    device_model.nxn_geom_pair_filtered = wp.array(pairs[~taken], dtype=wp.vec2i)
    device_model.nxn_pairid_filtered = wp.array(ids[~taken], dtype=wp.vec2i)
    device_model.geom_pair_type_count = _pair_type_counts(model, ordered[~taken])
    device_model.callback.contactfilter = FieldContacts(model, ordered[taken])


class FieldContacts:
    """Appends the contacts of pairs [P, 2] of a field and a sphere or capsule to those that MuJoCo Warp found."""

    def __init__(self, model: mujoco.MjModel, pairs: np.ndarray) -> None:
        self._pairs = _filled(Pairs(), _tables(model, pairs))
        self._count = len(pairs)

    def __call__(self, m: Any, d: Any) -> None:
        """In all worlds of the data `d` of the model `m`, both on the device."""
        fields = {name: getattr(m, f"hfield_{name}") for name in FIELD_ARRAYS}
        contacts = {name: getattr(d.contact, name) for name in CONTACT_ARRAYS}
        geoms = [m.geom_size, m.geom_dataid, m.geom_friction, d.geom_xpos, d.geom_xmat]
        inputs = [self._pairs, _filled(Fields(), fields), *geoms, d.naconmax]
        outputs = [d.nacon, _filled(Contacts(), contacts)]
        shape, device = (self._count, d.nworld), d.nacon.device
        wp.launch(hfield_contacts, shape, inputs, outputs, device=device)


def _filled(arrays: Any, values: Mapping[str, wp.array]) -> Any:
    """A struct of Warp's with these values."""
    for name, value in values.items():
        setattr(arrays, name, value)
    return arrays


def _pair_type_counts(model: mujoco.MjModel, pairs: np.ndarray) -> tuple[int, ...]:
    """How many pairs [P, 2] there are of each two types of geoms, as `Model.geom_pair_type_count` has them: a
    kernel is launched for each that has any."""
    types = len(mjw.GeomType)
    first, second = np.sort(model.geom_type[pairs], axis=1).T
    place = first * (2 * types - first - 1) // 2 + second  # in an upper triangle, by rows
    return tuple(np.bincount(place, minlength=types * (types + 1) // 2).tolist())


def _tables(model: mujoco.MjModel, pairs: np.ndarray) -> dict[str, wp.array]:
    """`Pairs` by engine_collision_driver.c: mj_contactParam."""
    field, geom = pairs.T
    ahead = np.sign(model.geom_priority[geom] - model.geom_priority[field])
    weights = model.geom_solmix[pairs]  # [P, 2]
    total = weights.sum(1)
    mix = np.where(total > 0.0, weights[:, 1] / np.maximum(total, mujoco.mjMINVAL), 0.5)
    mix = np.where(ahead == 0, mix, ahead > 0)[:, None]  # [P, 1], of the geom

    def blended(values: np.ndarray) -> np.ndarray:
        return (1.0 - mix) * values[field] + mix * values[geom]

    solref = model.geom_solref
    standard = (solref[field, 0] > 0.0) & (solref[geom, 0] > 0.0)
    decided = (ahead != 0) | standard
    solref = np.where(decided[:, None], blended(solref), np.minimum(solref[field], solref[geom]))
    condim = model.geom_condim
    dim = np.where(ahead == 0, np.maximum(condim[field], condim[geom]), condim[geom])
    dim = np.where(ahead < 0, condim[field], dim)
    shares = np.stack([ahead <= 0, ahead >= 0], axis=1)
    floats = np.float32
    return {
        "geoms": wp.array(pairs.astype(np.int32), dtype=wp.vec2i),
        "is_capsule": wp.array(model.geom_type[geom] == _CAPSULE, dtype=bool),
        "dim": wp.array(dim.astype(np.int32), dtype=int),
        "solref": wp.array(solref.astype(floats), dtype=wp.vec2),
        "solimp": wp.array(blended(model.geom_solimp).astype(floats), dtype=vec5),
        "friction_shares": wp.array(shares.astype(floats), dtype=wp.vec2),
    }

"""Spheres and capsules on height fields in front of MuJoCo Warp, on the CPU: the contacts of MuJoCo C."""

from __future__ import annotations

from typing import Any

import mujoco
import mujoco_warp as mjw
import numpy as np
import pytest
import torch
import warp as wp

from legged_ppo.sim.warp.field_contacts import field_pairs, take_field_pairs
from legged_ppo.sim.warp.field_kernels import CONTACT_ARRAYS, MOST_CONTACTS
from legged_ppo.sim.warp.memory import Capacity, local_bytes, most_convex_pairs, scratch_bytes

ROUGH, STEPS = 0.03, 0.3
"""m, range of the heights of vertices, which have nothing to do with each other: bumps, and walls."""
SPACING = (0.05, 0.08)
"""m, between vertices along both axes of the field."""
VERTICES = (31, 21)
POSES = 80
GEOMS = {
    "sphere": {"type": mujoco.mjtGeom.mjGEOM_SPHERE, "size": [0.03, 0, 0]},
    "capsule": {"type": mujoco.mjtGeom.mjGEOM_CAPSULE, "size": [0.02, 0.1, 0]},
    "box": {"type": mujoco.mjtGeom.mjGEOM_BOX, "size": [0.05, 0.04, 0.03]},
}
BODY = {"contype": 0, "conaffinity": 1, "mass": 1.0}


def ground_spec(height: float, **field: Any) -> mujoco.MjSpec:
    """A plane, and a tilted height field above it."""
    spec = mujoco.MjSpec()
    spec.worldbody.add_geom(
        type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0, 0, 1], pos=[0, 0, -3], contype=1, conaffinity=0
    )
    extent = [0.5 * d * (n - 1) for d, n in zip(SPACING, VERTICES, strict=True)]
    heights = np.random.default_rng(0).random(VERTICES[0] * VERTICES[1])
    size = [*extent, height, 0.4]
    spec.add_hfield(name="ground", size=size, ncol=VERTICES[0], nrow=VERTICES[1], userdata=heights)
    spec.worldbody.add_geom(
        type=mujoco.mjtGeom.mjGEOM_HFIELD,
        hfieldname="ground",
        pos=[1.0, -2.0, 0.5],
        euler=[10, -15, 30],
        **{"contype": 1, "conaffinity": 0, **field},
    )
    return spec


def falling(spec: mujoco.MjSpec, **geoms: dict[str, Any]) -> mujoco.MjModel:
    """A free body for each of the geoms."""
    for attributes in geoms.values():
        body = spec.worldbody.add_body()
        body.add_freejoint()
        body.add_geom(**{**BODY, **attributes})
    return spec.compile()


def poses(model: mujoco.MjModel, height: float, seed: int = 0) -> np.ndarray:
    """[POSES, nq], all bodies about the surface of the field, some of them deep inside."""
    rng, rows = np.random.default_rng(seed), []
    field = int(np.flatnonzero(model.geom_type == mujoco.mjtGeom.mjGEOM_HFIELD)[0])
    turn = np.zeros(9)
    mujoco.mju_quat2Mat(turn, model.geom_quat[field])
    half = model.hfield_size[0, :2]
    for _ in range(POSES):
        row = []
        for _ in range(model.nbody - 1):
            inside = [*rng.uniform(-1.05, 1.05, 2) * half, rng.uniform(0.1 * height, 1.5 * height)]
            place = model.geom_pos[field] + turn.reshape(3, 3) @ inside
            quat = rng.normal(size=4)
            row += [*place, *quat / np.linalg.norm(quat)]
        rows.append(row)
    return np.array(rows)


def in_c(model: mujoco.MjModel, qpos: np.ndarray) -> list[Any]:
    """Contacts of each row."""
    found = []
    for row in qpos:
        data = mujoco.MjData(model)
        data.qpos[:] = row
        mujoco.mj_kinematics(model, data)
        mujoco.mj_collision(model, data)
        found.append(data.contact)
    return found


def in_warp(
    model: mujoco.MjModel, qpos: np.ndarray, ours: bool = True, room: int = 200
) -> tuple[Any, Any]:
    """Model and data after a collision detection of a world for each row."""
    with wp.ScopedDevice("cpu"):
        m = mjw.put_model(model)
        m.opt.warn_overflow = 0
        if ours:
            take_field_pairs(model, m)
        d = mjw.make_data(model, nworld=len(qpos), nconmax=room, nccdmax=room, njmax=4 * room)
        d.qpos = wp.array(qpos, dtype=float)
        mjw.kinematics(m, d)
        mjw.collision(m, d)
    return m, d


def contacts(d: Any, world: int) -> dict[str, np.ndarray]:
    """Arrays of the contacts of a world, in the order of their pairs."""
    rows = slice(0, int(d.nacon.numpy()[0]))
    mine = np.flatnonzero(d.contact.worldid.numpy()[rows] == world)
    names = ("dist", "pos", "frame", "includemargin", "friction", "solref", "solimp", "dim")
    more = ("geom", "type", "adhesion", "solreffriction", "efc_address", "geomcollisionid")
    return {name: getattr(d.contact, name).numpy()[mine] for name in (*names, *more)}


@pytest.mark.parametrize("height", [ROUGH, STEPS])
@pytest.mark.parametrize("kind", ["sphere", "capsule"])
def test_the_contacts_are_those_of_mujoco_c(kind: str, height: float) -> None:
    """One for each prism that a geom touches, in the same order. Where the middle of a geom is inside the ground,
    the points of C are those of an iteration that ends early."""
    model = falling(ground_spec(height), geom=GEOMS[kind])
    qpos = poses(model, height)
    _, d = in_warp(model, qpos)
    rows, most = [], 0
    for world, c in enumerate(in_c(model, qpos)):
        ours = contacts(d, world)
        assert len(ours["dist"]) == len(c.dist)
        most = max(most, len(c.dist))
        frame = np.abs(ours["frame"].reshape(-1, 9) - c.frame)
        columns = [
            c.dist,
            np.abs(ours["dist"] - c.dist),
            np.abs(ours["pos"] - c.pos).max(1, initial=0),
        ]
        columns += [frame[:, :3].max(1, initial=0), frame.max(1, initial=0)]
        rows += np.stack(columns, axis=1).tolist()
    depth, distance, point, normal, frame = np.array(rows).T
    deep = depth < -float(model.geom_size[2, 0]) + 1e-5
    assert len(rows) > 100 and most > 6 and deep.sum() > 10 and (~deep).sum() > 100
    assert distance.max() < 2e-6  # m
    assert point[~deep].max() < 1e-5 and point.max() < 3e-4  # m
    assert normal.max() < 5e-4 and frame.max() < 5e-4


@pytest.mark.filterwarnings("ignore:.*MJ_MINMU:UserWarning")  # the case without friction
@pytest.mark.parametrize(
    ("field", "geom"),
    [
        ({"friction": [0.3, 0.04, 0.01]}, {"friction": [0.2, 0.05, 0.02], "condim": 4}),
        (
            {"priority": 0, "condim": 6},
            {"priority": 1, "condim": 3, "friction": [0.1, 0.01, 0.001]},
        ),
        ({"priority": 2, "solref": [0.03, 1.0]}, {"solref": [-1000.0, -30.0]}),
        ({"solmix": 3.0, "solref": [0.03, 1.1]}, {"solimp": [0.7, 0.9, 0.002, 0.4, 3.0]}),
        ({"solmix": 0.0, "solref": [0.03, 1.1]}, {"solref": [0.01, 0.9]}),
        ({"solref": [-1000.0, -30.0]}, {"solref": [0.01, 0.9], "solmix": 0.0}),
        ({"friction": [0.0, 0.0, 0.0]}, {"friction": [0.0, 0.0, 0.0]}),
    ],
)
def test_their_parameters_are_those_of_mujoco(field: dict[str, Any], geom: dict[str, Any]) -> None:
    model = falling(ground_spec(ROUGH, **field), geom={**GEOMS["capsule"], **geom})
    qpos = poses(model, ROUGH)[:20]
    (_, ours), (_, stock) = (in_warp(model, qpos, ours=ours) for ours in (True, False))
    seen = 0
    for world, c in enumerate(in_c(model, qpos)):
        mine, theirs = contacts(ours, world), contacts(stock, world)
        for name in ("friction", "solref", "solimp", "dim", "includemargin", "geom"):
            np.testing.assert_allclose(mine[name], getattr(c, name), rtol=1e-6, err_msg=name)
        for name in ("type", "adhesion", "solreffriction", "efc_address"):
            np.testing.assert_array_equal(mine[name][:1], theirs[name][:1], err_msg=name)
        assert mine["geomcollisionid"].tolist() == list(range(len(mine["dist"])))
        seen += len(mine["dist"])
    assert seen > 10


def test_other_shapes_and_geoms_with_a_margin_stay_mujoco_warps() -> None:
    model = falling(
        ground_spec(ROUGH),
        sphere=GEOMS["sphere"],
        box=GEOMS["box"],
        wide={**GEOMS["capsule"], "margin": 0.01},
        sticky={**GEOMS["sphere"], "gap": 0.01},
    )
    assert field_pairs(model) == {(1, 2)}
    qpos = poses(model, ROUGH)
    (m, ours), (whole, stock) = (in_warp(model, qpos, ours=ours) for ours in (True, False))
    pairs = {tuple(pair) for pair in m.nxn_geom_pair_filtered.numpy().tolist()}
    assert {tuple(x) for x in whole.nxn_geom_pair_filtered.numpy().tolist()} - pairs == {(1, 2)}
    assert sum(whole.geom_pair_type_count) - sum(m.geom_pair_type_count) == 1
    assert len(m.nxn_pairid_filtered) == len(pairs)
    others = 0
    for world, c in enumerate(in_c(model, qpos)):
        mine, theirs = contacts(ours, world), contacts(stock, world)
        sphere, same = mine["geom"][:, 1] == 2, theirs["geom"][:, 1] != 2
        assert sphere.sum() == (c.geom[:, 1] == 2).sum()
        np.testing.assert_array_equal(mine["dist"][~sphere], theirs["dist"][same])
        np.testing.assert_array_equal(mine["geom"][~sphere], theirs["geom"][same])
        others += int(same.sum())
    assert others > POSES


def test_every_array_of_a_contact_is_written() -> None:
    """Else a contact would have what another one left there, such as a surface velocity."""
    of_flexes = {"flex", "elem", "vert"}
    model = falling(ground_spec(ROUGH), ball=GEOMS["sphere"])
    arrays = vars(mjw.put_data(model, mujoco.MjData(model)).contact)
    assert set(CONTACT_ARRAYS) == set(arrays) - of_flexes


def test_a_model_whose_bodies_may_sleep_keeps_mujoco_warps_contacts() -> None:
    """Its collision detection runs twice a step, which would write these contacts twice."""
    model = falling(ground_spec(ROUGH), ball=GEOMS["sphere"])
    assert field_pairs(model)
    model.opt.enableflags |= mujoco.mjtEnableBit.mjENBL_SLEEP
    assert not field_pairs(model)


def test_a_broad_phase_that_reads_other_lists_is_left_alone() -> None:
    model = falling(ground_spec(ROUGH), ball=GEOMS["sphere"])
    on_device = mjw.put_model(model)
    on_device.opt.broadphase = mjw.BroadphaseType.SAP_TILE
    take_field_pairs(model, on_device)
    assert on_device.callback.contactfilter is None


def test_a_model_without_such_pairs_is_left_alone() -> None:
    model = falling(ground_spec(ROUGH), box=GEOMS["box"])
    with wp.ScopedDevice("cpu"):
        m = mjw.put_model(model)
        before = m.nxn_geom_pair_filtered, m.geom_pair_type_count
        take_field_pairs(model, m)
    assert before == (m.nxn_geom_pair_filtered, m.geom_pair_type_count)
    assert m.callback.contactfilter is None


def test_a_geom_touches_at_most_as_many_prisms_as_in_c() -> None:
    model = falling(ground_spec(ROUGH), geom={**GEOMS["sphere"], "size": [0.4, 0, 0]})
    qpos = poses(model, ROUGH)[:4]
    field = int(np.flatnonzero(model.geom_type == mujoco.mjtGeom.mjGEOM_HFIELD)[0])
    qpos[:, :3] = model.geom_pos[field] + [0.0, 0.0, 0.25]
    _, d = in_warp(model, qpos)
    assert MOST_CONTACTS == len(in_c(model, qpos)[0].dist) == len(contacts(d, 0)["dist"])


def test_contacts_that_do_not_fit_are_counted_and_not_written() -> None:
    model = falling(ground_spec(ROUGH), geom=GEOMS["capsule"])
    qpos = poses(model, ROUGH)
    _, whole = in_warp(model, qpos)
    with wp.ScopedDevice("cpu"):
        m = mjw.put_model(model)
        m.opt.warn_overflow = 0
        take_field_pairs(model, m)
        d = mjw.make_data(model, nworld=POSES, nconmax=1, nccdmax=1, njmax=400)
        d.qpos = wp.array(qpos, dtype=float)
        mjw.step(m, d)
    found = int(d.nacon.numpy()[0])
    assert found == int(whole.nacon.numpy()[0]) > POSES == len(d.contact.dist)
    np.testing.assert_array_equal(d.contact.dist.numpy(), whole.contact.dist.numpy()[:POSES])
    assert (d.overflow.numpy() & int(mjw.OverflowType.NARROWPHASE)).all()


def test_only_other_shapes_need_memory_of_the_convex_collider() -> None:
    plain = falling(ground_spec(ROUGH), sphere=GEOMS["sphere"], capsule=GEOMS["capsule"])
    boxed = falling(ground_spec(ROUGH), sphere=GEOMS["sphere"], box=GEOMS["box"])
    assert (most_convex_pairs(plain), most_convex_pairs(boxed)) == (0, 1)
    few, many = (Capacity(contacts=8, constraints=32, convex_pairs=n) for n in (1, 100))
    assert scratch_bytes(plain, few, 10) == scratch_bytes(plain, many, 10)
    assert scratch_bytes(boxed, few, 10) < scratch_bytes(boxed, many, 10)
    assert local_bytes(boxed, torch.device("cpu")) == 0

"""A foot's sphere alone on a box and on a height field: the same contacts in MuJoCo C and MuJoCo Warp."""

from __future__ import annotations

import mujoco
import mujoco_warp as mjw
import numpy as np
import pytest
import warp as wp

from legged_ppo.config.schema import TerrainConfig
from legged_ppo.sim.warp.field_contacts import take_field_pairs
from legged_ppo.terrain.grid import Terrain, build_terrain

RADIUS, MASS = 0.022, 4.0
"""Of a Go2's foot [m], under a quarter of its weight [kg]."""
SPHERES = 16
SETTLING = 60
"""Steps of 5 ms from the drop to where it rests, rolls or slides."""


def sphere_on(terrain: Terrain) -> mujoco.MjModel:
    spec = mujoco.MjSpec()
    spec.option.timestep = 0.005
    terrain.add_to(spec)
    body = spec.worldbody.add_body()
    body.add_freejoint()
    sphere = {"type": mujoco.mjtGeom.mjGEOM_SPHERE, "size": [RADIUS, 0, 0], "mass": MASS}
    body.add_geom(**sphere, contype=0, conaffinity=1, priority=1)
    return spec.compile()


def settled(model: mujoco.MjModel, terrain: Terrain) -> list[mujoco.MjData]:
    """Spheres that were dropped about the middle of the tile's hardest level, as C has them."""
    generator, size = np.random.default_rng(0), terrain.config.tile_size
    spheres = []
    for _ in range(SPHERES):
        data = mujoco.MjData(model)
        inside = size / 2 + generator.uniform(-0.4, 0.4, 2) * size
        x, y = np.round(inside / terrain.config.height_map_cell).astype(int)
        top = terrain.heights[0, 1, x - 2 : x + 3, y - 2 : y + 3].max()
        data.qpos[:3] = [inside[0], size + inside[1], top + RADIUS]
        for _ in range(SETTLING):
            mujoco.mj_step(model, data)
        mujoco.mj_forward(model, data)
        spheres.append(data)
    return spheres


def in_warp(model: mujoco.MjModel, spheres: list[mujoco.MjData]) -> mjw.Data:
    """The same positions and velocities, one sphere a world, and what follows from them."""
    with wp.ScopedDevice("cpu"):
        m = mjw.put_model(model)
        take_field_pairs(model, m)
        d = mjw.make_data(model, nworld=SPHERES, nconmax=16, nccdmax=16, njmax=64)
        d.qpos = wp.array(np.array([data.qpos for data in spheres]), dtype=float)
        d.qvel = wp.array(np.array([data.qvel for data in spheres]), dtype=float)
        mjw.forward(m, d)
    return d


@pytest.mark.parametrize(
    ("ground", "kind", "normal_tolerance", "most"),
    [
        ("stairs_up", mujoco.mjtGeom.mjGEOM_BOX, 1e-5, 0.01),
        ("rough", mujoco.mjtGeom.mjGEOM_HFIELD, 1e-4, 0.01),
    ],
)
def test_a_foot_touches_the_ground_as_in_c(
    ground: str, kind: mujoco.mjtGeom, normal_tolerance: float, most: float
) -> None:
    terrain = build_terrain(TerrainConfig(proportions={ground: 1.0}, num_levels=2))
    model = sphere_on(terrain)
    spheres = settled(model, terrain)
    d = in_warp(model, spheres)
    found = slice(0, int(d.nacon.numpy()[0]))
    world, depth = d.contact.worldid.numpy()[found], d.contact.dist.numpy()[found]
    for i, data in enumerate(spheres):
        c, w = data.contact, np.flatnonzero(world == i)
        deepest, same = np.argmin(c.dist), w[np.argmin(depth[w])]
        assert int(kind) in model.geom_type[c.geom[deepest]]
        assert depth[same] == pytest.approx(c.dist[deepest], abs=1e-6)  # m
        pos, normal = d.contact.pos.numpy()[same], d.contact.frame.numpy()[same, 0]
        np.testing.assert_allclose(pos, c.pos[deepest], atol=2e-6)  # m
        np.testing.assert_allclose(normal, c.frame[deepest, :3], atol=normal_tolerance)
    force = np.array([data.qfrc_constraint[:3] for data in spheres])
    apart = np.abs(force - d.qfrc_constraint.numpy()[:, :3]).max(1)  # N, of some 40
    assert np.median(apart) < 0.01 and apart.max() < most

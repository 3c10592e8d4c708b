"""Meshes for the browser against MuJoCo's own geoms and heights."""

from __future__ import annotations

import io
from typing import Any

import mujoco
import numpy as np
import pytest

from legged_ppo.config.schema import TerrainConfig
from legged_ppo.terrain.grid import Terrain, build_terrain

trimesh: Any = pytest.importorskip("trimesh", reason="the web view's extra is not installed")

from legged_ppo.robots.spec import mjcf_path  # noqa: E402
from legged_ppo.viewer.ground_mesh import ground_mesh  # noqa: E402
from legged_ppo.viewer.meshes import COARSE, body_meshes  # noqa: E402

KINDS = """<mujoco><asset><mesh name="m" vertex="0 0 0 .3 0 0 0 .2 0 0 0 .1"/></asset><worldbody>
<body><freejoint/>
<geom type="sphere" size=".1"/>
<geom type="capsule" size=".05 .2" pos=".1 .2 .3" euler="20 40 60"/>
<geom type="box" size=".1 .2 .3" pos="-.1 .2 .1" euler="10 -30 50"/>
<geom type="cylinder" size=".1 .2" euler="90 0 10"/>
<geom type="ellipsoid" size=".1 .2 .3" pos="0 0 .2" euler="30 20 10"/>
<geom type="mesh" mesh="m" pos="1 0 0" euler="0 50 0"/>
</body></worldbody></mujoco>"""


@pytest.fixture(scope="module")
def terrain() -> Terrain:
    names = ("flat", "rough", "slope_up", "stairs_up", "stairs_down", "curbs", "gaps")
    return build_terrain(TerrainConfig(proportions=dict.fromkeys(names, 1.0), num_levels=3))


@pytest.mark.parametrize("geom", range(6))
def test_every_kind_of_geom_is_where_mujoco_has_it(geom: int) -> None:
    model = mujoco.MjModel.from_xml_string(KINDS)
    model.geom_group[:] = 2
    model.geom_group[[i for i in range(6) if i != geom]] = 4  # hidden
    (mesh,) = body_meshes(model).values()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    directions = np.random.default_rng(0).normal(size=(40, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    centre = data.geom_xpos[geom]
    triangles = mesh.vertices[mesh.faces]
    compared = 0
    for direction in directions:
        start = centre + 2.0 * direction
        found = _distance(model, data, geom, start, -direction)
        if found < 0:
            continue
        assert _ray_to_triangles(triangles, start, -direction) == pytest.approx(found, abs=0.02)
        compared += 1
    assert compared > 30
    outward = np.einsum("vd,vd->v", mesh.normals, mesh.vertices - mesh.vertices.mean(0))
    assert (outward > -1e-6).mean() > 0.95
    assert np.linalg.norm(mesh.normals, axis=1) == pytest.approx(1.0, abs=1e-6)


def test_the_robot_stands_on_its_feet_in_the_colors_of_its_file() -> None:
    model = mujoco.MjModel.from_xml_path(str(mjcf_path("go2")))
    meshes = body_meshes(model)
    assert len(meshes) == 13  # the base, and three bodies a leg
    calf = model.body("FL_calf").id
    foot = model.geom("FL_foot")
    assert meshes[calf].vertices[:, 2].min() == pytest.approx(foot.pos[2] - foot.size[0], abs=1e-3)
    colors = {tuple(round(float(part), 2) for part in color) for color in meshes[calf].colors}
    assert (0.05, 0.05, 0.06) in colors and len(colors) >= 2


@pytest.mark.parametrize("name", ["flat", "rough", "slope_up", "stairs_up", "curbs", "gaps"])
def test_the_ground_is_at_the_heights_that_the_task_knows(terrain: Terrain, name: str) -> None:
    column, size = terrain.types.index(name), terrain.config.tile_size
    mesh = ground_mesh(terrain.tiles[column][2], size)
    heights = terrain.heights[column, 2]
    cell = size / (len(heights) - 1)
    triangles = mesh.vertices[mesh.faces]
    cells = np.random.default_rng(1).integers(8, len(heights) - 8, size=(30, 2))
    wrong = 0
    for i, j in cells:
        x, y = i * cell - size / 2 + 1e-4, j * cell - size / 2 + 1e-4
        start = np.array([x, y, 5.0])
        drop = _ray_to_triangles(triangles, start, np.array([0.0, 0.0, -1.0]))
        wrong += abs(5.0 - drop - heights[i, j]) > 0.02
    assert wrong <= 2  # beside an edge of a step


def test_colors_tell_heights_apart(terrain: Terrain) -> None:
    up = ground_mesh(terrain.tiles[terrain.types.index("stairs_down")][2], 8.0)
    high = up.colors[up.vertices[:, 2] > 0.5].mean(0)
    level = up.colors[np.abs(up.vertices[:, 2]) < 0.01].mean(0)
    down = ground_mesh(terrain.tiles[terrain.types.index("stairs_up")][2], 8.0)
    low = down.colors[down.vertices[:, 2] < -0.5].mean(0)
    assert high[0] > level[0] + 0.1 > low[0] + 0.2  # sand, grey, blue
    assert low[2] > low[0] and high[0] > high[2]


def test_the_file_for_the_browser_holds_the_same_triangles() -> None:
    mesh = body_meshes(mujoco.MjModel.from_xml_path(str(mjcf_path("go2"))))[1]
    scene = trimesh.load(io.BytesIO(mesh.glb()), file_type="glb")
    (read,) = scene.geometry.values()
    assert len(read.faces) == len(mesh.faces)
    assert read.bounds == pytest.approx(
        np.stack([mesh.vertices.min(0), mesh.vertices.max(0)]), abs=1e-5
    )
    assert "color" in read.visual.vertex_attributes


def test_coarse_shapes_have_few_triangles_and_the_same_extent() -> None:
    model = mujoco.MjModel.from_xml_path(str(mjcf_path("go2")))
    fine, coarse = body_meshes(model), body_meshes(model, COARSE)
    assert fine.keys() == coarse.keys()
    total = sum(len(mesh.faces) for mesh in fine.values())
    assert sum(len(mesh.faces) for mesh in coarse.values()) < 0.5 * total
    for body, mesh in fine.items():
        for edge in ("min", "max"):
            here, there = (getattr(m.vertices, edge)(0) for m in (mesh, coarse[body]))
            assert np.abs(here - there).max() < 0.012


def test_what_faces_up_is_brighter_without_lights() -> None:
    mesh = body_meshes(mujoco.MjModel.from_xml_string(KINDS))[1]
    for rotation in (np.eye(3), np.diag([1.0, -1.0, -1.0])):
        up = (mesh.normals @ rotation[2]) > 0.99
        shaded, colors = mesh.shaded(rotation).colors, mesh.colors
        assert shaded[up] == pytest.approx(colors[up], rel=0.01)
        assert (shaded[mesh.normals @ rotation[2] < 0.0] < 0.6 * colors.max()).all()
    assert b"KHR_materials_unlit" in mesh.glb(lit=False) and b"unlit" not in mesh.glb()


def _distance(model: Any, data: Any, geom: int, start: np.ndarray, direction: np.ndarray) -> float:
    """To the geom along a ray, by MuJoCo; -1: it misses."""
    groups = np.zeros(6, dtype=np.uint8)
    groups[model.geom_group[geom]] = 1
    hit = np.zeros(1, dtype=np.int32)
    return float(mujoco.mj_ray(model, data, start, direction, groups, 1, -1, hit, None))


def _ray_to_triangles(triangles: np.ndarray, start: np.ndarray, direction: np.ndarray) -> float:
    """Distance to the first of [F, 3, 3], by Moeller and Trumbore; inf: it misses."""
    a, ab, ac = triangles[:, 0], *(triangles[:, i] - triangles[:, 0] for i in (1, 2))
    p = np.cross(direction, ac)
    area = (ab * p).sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        u = ((start - a) * p).sum(1) / area
        q = np.cross(start - a, ab)
        v = (q @ direction) / area  # not finite where a triangle is parallel
        t = (ac * q).sum(1) / area
        hit = (np.abs(area) > 1e-12) & (u >= -1e-6) & (v >= -1e-6) & (u + v <= 1 + 1e-6) & (t > 0)
    return float(t[hit].min(initial=np.inf))

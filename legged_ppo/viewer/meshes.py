"""Triangle meshes of robots, for viewers that do not draw MuJoCo's geoms themselves."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
import trimesh

_SMALL = 0.03
"""Radius [m] below which a sphere needs few triangles."""
_SHADE = 0.55, 0.45
"""Brightness of a surface that faces down or sideways, and what one that faces up has beside it."""
_VISIBLE_GROUPS = 3
"""MuJoCo's viewers show the groups below this one."""


@dataclass(frozen=True)
class Roundness:
    """How many triangles stand for what is round."""

    sections: int
    """sides of a cylinder"""
    capsule: tuple[int, int]
    """parts of a capsule, around and along"""
    sphere: tuple[int, int]
    """subdivisions of an icosahedron, for small and large spheres"""


FINE = Roundness(16, (12, 8), (1, 2))
COARSE = Roundness(6, (6, 2), (0, 1))


@dataclass(frozen=True)
class ColoredMesh:
    """Triangles that share no corners, so that edges stay sharp where `normals` say so."""

    vertices: np.ndarray
    """[V, 3] m"""
    faces: np.ndarray
    """[F, 3] int"""
    normals: np.ndarray
    """[V, 3]"""
    colors: np.ndarray
    """[V, 3] sRGB in [0, 1]"""

    def shaded(self, rotation: np.ndarray | None = None) -> ColoredMesh:
        """Colors as light from above makes them, for a mesh that is drawn without lights.

        Args:
            rotation: [3, 3], columns: the mesh's axes in the world; None: those of the world.
        """
        up = self.normals[:, 2] if rotation is None else self.normals @ rotation[2]
        dark, more = _SHADE
        shade = dark + more * up.clip(min=0.0)
        return dataclasses.replace(self, colors=self.colors * shade[:, None])

    def glb(self, *, lit: bool = True) -> bytes:
        """The mesh as binary glTF, whose colors are linear and whose surfaces are matt.

        Args:
            lit: by the viewer's lights; else the colors are shown as they are, which costs least.
        """
        linear = np.where(
            self.colors <= 0.04045, self.colors / 12.92, ((self.colors + 0.055) / 1.055) ** 2.4
        )
        rgba = np.ones((len(linear), 4), dtype=np.float32)
        rgba[:, :3] = linear
        material = trimesh.visual.material.PBRMaterial(
            baseColorFactor=[255, 255, 255, 255], metallicFactor=0.0, roughnessFactor=0.75
        )
        mesh = trimesh.Trimesh(
            vertices=self.vertices, faces=self.faces, vertex_normals=self.normals, process=False
        )
        mesh.visual = trimesh.visual.TextureVisuals(material=material)
        mesh.visual.vertex_attributes["color"] = np.rint(255 * rgba).astype(np.uint8)
        change = None if lit else _unlit
        return bytes(mesh.export(file_type="glb", include_normals=lit, tree_postprocessor=change))


def _unlit(tree: dict[str, Any]) -> None:
    """Change a glTF tree: its materials take no light (extension KHR_materials_unlit of the Khronos Group)."""
    tree["extensionsUsed"] = ["KHR_materials_unlit"]
    for material in tree["materials"]:
        material["extensions"] = {"KHR_materials_unlit": {}}


def join(meshes: Iterable[ColoredMesh]) -> ColoredMesh:
    """One mesh of several."""
    parts = list(meshes)
    offsets = np.cumsum([0, *(len(part.vertices) for part in parts)])[:-1]
    faces = [part.faces + offset for part, offset in zip(parts, offsets, strict=True)]
    return ColoredMesh(
        np.concatenate([part.vertices for part in parts]),
        np.concatenate(faces),
        np.concatenate([part.normals for part in parts]),
        np.concatenate([part.colors for part in parts]),
    )


def body_meshes(model: Any, roundness: Roundness = FINE) -> dict[int, ColoredMesh]:
    """The visible geoms of each body of an `MjModel`, in the body's frame; all geoms where none is visible."""
    shown = [i for i in range(model.ngeom) if model.geom_group[i] < _VISIBLE_GROUPS]
    bodies: dict[int, list[ColoredMesh]] = {}
    for geom in shown or range(model.ngeom):
        if (mesh := _geom_mesh(model, geom, roundness)) is not None and _rgba(model, geom)[3] > 0.0:
            bodies.setdefault(int(model.geom_bodyid[geom]), []).append(mesh)
    return {body: join(meshes) for body, meshes in bodies.items()}


def _geom_mesh(model: Any, geom: int, roundness: Roundness) -> ColoredMesh | None:
    """The geom in its body's frame; None for kinds that robots do not have."""
    shape = _shape(model, geom, roundness)
    if shape is None:
        return None
    vertices, faces, normals = shape
    flat = np.zeros(9)
    mujoco.mju_quat2Mat(flat, model.geom_quat[geom])
    rotation = flat.reshape(3, 3)
    colors = np.tile(_rgba(model, geom)[:3], (len(vertices), 1))
    vertices = vertices @ rotation.T + model.geom_pos[geom]
    return ColoredMesh(vertices, faces, normals @ rotation.T, colors)


_Shape = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Vertices [V, 3] m, faces [F, 3], normals [V, 3]."""


def _shape(model: Any, geom: int, roundness: Roundness) -> _Shape | None:
    """The geom in its own frame."""
    kind, size = mujoco.mjtGeom(model.geom_type[geom]), model.geom_size[geom]
    if kind == mujoco.mjtGeom.mjGEOM_SPHERE:
        return _ellipsoid(np.full(3, size[0]), roundness)
    if kind == mujoco.mjtGeom.mjGEOM_ELLIPSOID:
        return _ellipsoid(size, roundness)
    if kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
        return _capsule(size[0], size[1], roundness)
    if kind == mujoco.mjtGeom.mjGEOM_CYLINDER:
        height = 2 * size[1]
        return _sharp(trimesh.creation.cylinder(size[0], height, sections=roundness.sections))
    if kind == mujoco.mjtGeom.mjGEOM_BOX:
        return _sharp(trimesh.creation.box(extents=2 * size))
    if kind == mujoco.mjtGeom.mjGEOM_MESH:
        return _sharp(_asset(model, int(model.geom_dataid[geom])))
    return None


def _asset(model: Any, mesh: int) -> trimesh.Trimesh:
    """A mesh file, as the model holds it."""
    first, count = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
    face, faces = model.mesh_faceadr[mesh], model.mesh_facenum[mesh]
    vertices = model.mesh_vert[first : first + count]
    return trimesh.Trimesh(vertices, model.mesh_face[face : face + faces], process=False)


def _ellipsoid(size: np.ndarray, roundness: Roundness) -> _Shape:
    small, large = roundness.sphere
    unit = trimesh.creation.icosphere(subdivisions=small if max(size) < _SMALL else large)
    return unit.vertices * size, unit.faces, _unit(unit.vertices / size)


def _capsule(radius: float, half: float, roundness: Roundness) -> _Shape:
    mesh = trimesh.creation.capsule(height=2 * half, radius=radius, count=list(roundness.capsule))
    axis = np.zeros_like(mesh.vertices)
    axis[:, 2] = mesh.vertices[:, 2].clip(-half, half)
    return mesh.vertices, mesh.faces, _unit(mesh.vertices - axis)


def _sharp(mesh: trimesh.Trimesh) -> _Shape:
    """The mesh with flat faces: no two triangles share a corner."""
    corners = mesh.triangles  # [F, 3, 3]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    faces = np.arange(3 * len(corners)).reshape(-1, 3)
    return corners.reshape(-1, 3), faces, np.repeat(_unit(normals), 3, axis=0)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-12)


def _rgba(model: Any, geom: int) -> np.ndarray:
    material = model.geom_matid[geom]
    return model.mat_rgba[material] if material >= 0 else model.geom_rgba[geom]

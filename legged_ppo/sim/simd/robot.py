"""The constants of one robot, read from its compiled MuJoCo model: base, legs, colliders."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from legged_ppo.sim.simd.contact_parameters import (
    ContactParameters,
    Softness,
    contact_parameters,
    joint_softness,
)


@dataclass(frozen=True)
class Inertia:
    """Of a link about its frame's origin, in its frame."""

    mass: float
    """kg"""
    moment: tuple[float, ...]
    """[3] kg m, mass times centre of mass"""
    tensor: tuple[float, ...]
    """[6] kg m^2: xx, yy, zz, xy, xz, yz"""


@dataclass(frozen=True)
class Link:
    """A moving body (with the bodies welded to it) and its hinge; its frame's origin is the hinge's anchor."""

    body: int
    joint: int
    offset: tuple[float, ...]
    """[3] m, the anchor in the parent's frame"""
    rotation: tuple[tuple[float, ...], ...]
    """[3, 3], the frame's axes in the parent's at the hinge's zero angle"""
    axis: tuple[float, ...]
    """[3], of the hinge, unit length"""
    reference: float
    """rad, joint position at the hinge's zero angle"""
    inertia: Inertia
    limits: tuple[float, float] | None
    """rad"""
    softness: Softness
    """of the joint limits"""
    torque_limit: float
    """N m"""
    damping: float
    """N m s/rad, of the joint itself"""


@dataclass(frozen=True)
class Collider:
    """A sphere, or a capsule, of one link or the base."""

    geom: int
    body: int
    """MuJoCo's body, whose inverse weight scales the contact's softness"""
    leg: int
    """-1: the base"""
    depth: int
    """number of hinges of the leg that move it"""
    centre: tuple[float, ...]
    """[3] m, in the frame of the link"""
    axis: tuple[float, ...]
    """[3], unit length"""
    half_length: float
    """m, 0 for a sphere"""
    radius: float
    """m"""
    body_centre: tuple[float, ...]
    """[3] m, centre of mass of `body` in the frame of the link"""
    contact: ContactParameters


@dataclass(frozen=True)
class Robot:
    """Everything about the robot that is the same for all robots of a simulation."""

    base: int
    """MuJoCo's body"""
    base_rest: Inertia
    """of the bodies welded to the base; the base's own is a parameter of each robot"""
    legs: tuple[tuple[Link, ...], ...]
    colliders: tuple[Collider, ...]
    """spheres first"""
    feet: tuple[int, ...]
    """indices of the colliders that are feet, in the task's order"""
    timestep: float
    gravity: tuple[float, ...]
    iterations: int
    line_search_iterations: int
    tolerance: float
    implicit: bool
    """implicitfast; otherwise Euler"""

    @property
    def joints_per_leg(self) -> int:
        """Of the longest leg: shorter ones have rows that stay zero."""
        return max(len(leg) for leg in self.legs)

    @property
    def num_joints(self) -> int:
        """Padded."""
        return len(self.legs) * self.joints_per_leg

    def columns(self, joints: list[int]) -> list[int]:
        """Padded column of each MuJoCo joint."""
        where = {
            link.joint: leg * self.joints_per_leg + j
            for leg, links in enumerate(self.legs)
            for j, link in enumerate(links)
        }
        return [where[joint] for joint in joints]

    @property
    def damped(self) -> bool:
        """Whether velocities are integrated with implicit damping."""
        return self.implicit or any(link.damping for links in self.legs for link in links)

    @property
    def limited_columns(self) -> list[int]:
        """Columns of the joints with limits."""
        links = [link for links in self.legs for link in links if link.limits is not None]
        return self.columns([link.joint for link in links])


def read_robot(model: mujoco.MjModel, base: int, feet: list[int]) -> Robot:
    """The robot of a model that `check_model` accepts.

    Args:
        base: body with the free joint.
        feet: MuJoCo's geoms.
    """
    chains = _chains(model, base)
    colliders = []
    for leg, chain in [(-1, [base]), *enumerate(chains)]:
        for depth, body in enumerate(chain):
            moved = 0 if leg < 0 else depth + 1
            colliders += _colliders(model, body, leg, moved)
    colliders.sort(key=lambda c: c.half_length > 0)
    index = {collider.geom: i for i, collider in enumerate(colliders)}
    option = model.opt
    return Robot(
        base=base,
        base_rest=_inertia(model, base, skip_itself=True),
        legs=tuple(tuple(_link(model, body) for body in chain) for chain in chains),
        colliders=tuple(colliders),
        feet=tuple(index[geom] for geom in feet),
        timestep=float(option.timestep),
        gravity=tuple(option.gravity.tolist()),
        iterations=int(option.iterations),
        line_search_iterations=int(option.ls_iterations),
        tolerance=float(option.tolerance),
        implicit=option.integrator == int(mujoco.mjtIntegrator.mjINT_IMPLICITFAST),
    )


def moving_children(model: mujoco.MjModel, body: int) -> list[int]:
    """Bodies with joints below this body and those welded to it."""
    welded = [b for b in range(model.nbody) if model.body_weldid[b] == model.body_weldid[body]]
    return [
        b
        for b in range(1, model.nbody)
        if model.body_dofnum[b] and b != body and model.body_parentid[b] in welded
    ]


def _chains(model: mujoco.MjModel, base: int) -> list[list[int]]:
    chains = []
    for first in moving_children(model, base):
        chain = [first]
        while following := moving_children(model, chain[-1]):
            chain.append(following[0])
        chains.append(chain)
    return chains


def rotation_of(quat: np.ndarray) -> np.ndarray:
    """[3, 3]"""
    matrix = np.zeros(9)
    mujoco.mju_quat2Mat(matrix, quat)
    return matrix.reshape(3, 3)


def _anchor(model: mujoco.MjModel, body: int) -> np.ndarray:
    """The hinge's anchor in the body's frame; zero for the base."""
    joint = model.body_jntadr[body]
    if joint < 0 or model.jnt_type[joint] == int(mujoco.mjtJoint.mjJNT_FREE):
        return np.zeros(3)
    return model.jnt_pos[joint]


def _link(model: mujoco.MjModel, body: int) -> Link:
    joint = int(model.body_jntadr[body])
    origin, rotation = _placement(model, int(model.body_parentid[body]))
    offset = origin + rotation @ (
        model.body_pos[body] + rotation_of(model.body_quat[body]) @ _anchor(model, body)
    )
    axes = rotation @ rotation_of(model.body_quat[body])
    limited = bool(model.jnt_limited[joint])
    return Link(
        body=body,
        joint=joint,
        offset=tuple(offset.tolist()),
        rotation=tuple(tuple(row) for row in axes.tolist()),
        axis=tuple(model.jnt_axis[joint].tolist()),
        reference=float(model.qpos0[model.jnt_qposadr[joint]]),
        inertia=_inertia(model, body),
        limits=tuple(model.jnt_range[joint].tolist()) if limited else None,
        softness=joint_softness(model, joint),
        torque_limit=_torque_limit(model, joint),
        damping=float(model.dof_damping[model.jnt_dofadr[joint]]),
    )


def _placement(model: mujoco.MjModel, body: int) -> tuple[np.ndarray, np.ndarray]:
    """Origin [3] and axes [3, 3] of a body in the frame of the link that it is welded to."""
    root = int(model.body_weldid[body])
    if body == root:
        return -_anchor(model, body), np.eye(3)
    origin, rotation = _placement(model, int(model.body_parentid[body]))
    return (
        origin + rotation @ model.body_pos[body],
        rotation @ rotation_of(model.body_quat[body]),
    )


def _inertia(model: mujoco.MjModel, root: int, skip_itself: bool = False) -> Inertia:
    """Of a body and all that are welded to it."""
    mass, moment, tensor = 0.0, np.zeros(3), np.zeros((3, 3))
    for body in np.flatnonzero(model.body_weldid == root):
        if skip_itself and body == root:
            continue
        origin, rotation = _placement(model, int(body))
        m = float(model.body_mass[body])
        centre = origin + rotation @ model.body_ipos[body]
        axes = rotation @ rotation_of(model.body_iquat[body])
        mass, moment = mass + m, moment + m * centre
        tensor += axes @ np.diag(model.body_inertia[body]) @ axes.T
        tensor += m * (centre @ centre * np.eye(3) - np.outer(centre, centre))
    entries = tensor[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]
    return Inertia(mass, tuple(moment.tolist()), tuple(entries.tolist()))


def _torque_limit(model: mujoco.MjModel, joint: int) -> float:
    limit = float("inf")
    if model.jnt_actfrclimited[joint]:
        limit = float(model.jnt_actfrcrange[joint, 1])
    for actuator in np.flatnonzero(model.actuator_trnid[:, 0] == joint):
        if model.actuator_forcelimited[actuator]:
            limit = min(limit, float(model.actuator_forcerange[actuator, 1]))
    return limit


def _colliders(model: mujoco.MjModel, root: int, leg: int, depth: int) -> list[Collider]:
    found = []
    for geom in range(model.ngeom):
        body = int(model.geom_bodyid[geom])
        if model.body_weldid[body] != root or not model.geom_conaffinity[geom]:
            continue
        origin, rotation = _placement(model, body)
        capsule = model.geom_type[geom] == int(mujoco.mjtGeom.mjGEOM_CAPSULE)
        found.append(
            Collider(
                geom=geom,
                body=body,
                leg=leg,
                depth=depth,
                centre=tuple((origin + rotation @ model.geom_pos[geom]).tolist()),
                axis=tuple((rotation @ rotation_of(model.geom_quat[geom])[:, 2]).tolist()),
                half_length=float(model.geom_size[geom, 1]) if capsule else 0.0,
                radius=float(model.geom_size[geom, 0]),
                body_centre=tuple((origin + rotation @ model.body_ipos[body]).tolist()),
                contact=contact_parameters(model, geom),
            )
        )
    return found

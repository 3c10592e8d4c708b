"""MuJoCo's inverse weights (body_invweight0, dof_invweight0) of robots with different masses and armatures.

MuJoCo takes them at qpos0, where the joint-space inertia of a robot is a constant plus its base's inertia and
its armatures. So they need one small inverse per robot, not a pass through its kinematics (engine_setconst.c:
set0).
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from legged_ppo.sim.simd.dynamics import smooth_dynamics
from legged_ppo.sim.simd.layout import Fields, triangle
from legged_ppo.sim.simd.numpy_machine import NumpyMachine, numpy_workspace
from legged_ppo.sim.simd.robot import Robot
from legged_ppo.sim.simd.workspace import Workspace


@dataclass(frozen=True)
class InverseWeights:
    """What does not change between robots."""

    robot: Robot
    inertia: np.ndarray
    """[nv, nv], without the base body and armatures; columns padded to the longest leg"""
    jacobians: np.ndarray
    """[colliders, 3, nv], velocity of the centre of mass of each collider's body; zero for the base body"""
    on_base: np.ndarray
    """[colliders] bool, the collider's body is the base itself"""

    def of(
        self, mass: np.ndarray, moment: np.ndarray, tensor: np.ndarray, armature: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Inverse weights of the colliders' bodies [n, colliders] and of the joints [n, joints].

        Args:
            mass, moment, tensor: [n], [n, 3], [n, 6], of the base body as in `robot.Inertia`.
            armature: [n, joints] kg m^2.
        """
        count, joints = len(mass), self.robot.num_joints
        inertia = np.broadcast_to(self.inertia, (count, *self.inertia.shape)).copy()
        inertia[:, :6, :6] += spatial_inertia(mass, moment, tensor)
        diagonal = np.arange(6, 6 + joints)
        inertia[:, diagonal, diagonal] += armature
        inverse = np.linalg.inv(inertia)
        moved = self.jacobians @ inverse[:, None]
        bodies = np.einsum("bij,nbij->nb", self.jacobians, moved) / 3
        base = _point_jacobian(moment / mass[:, None])
        on_base = np.einsum("nij,nij->n", base, base @ inverse[:, :6, :6]) / 3
        return np.where(self.on_base, on_base[:, None], bodies), inverse[:, diagonal, diagonal]


def spatial_inertia(mass: np.ndarray, moment: np.ndarray, tensor: np.ndarray) -> np.ndarray:
    """[n, 6, 6]"""
    blocks = np.zeros((len(mass), 6, 6))
    blocks[:, [0, 1, 2], [0, 1, 2]] = mass[:, None]
    skew = _skew(moment)
    blocks[:, 3:, :3], blocks[:, :3, 3:] = skew, -skew
    blocks[:, 3:, 3:] = tensor[:, [0, 3, 4, 3, 1, 5, 4, 5, 2]].reshape(-1, 3, 3)
    return blocks


def _skew(v: np.ndarray) -> np.ndarray:
    zero = np.zeros(len(v))
    x, y, z = v.T
    return np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)


def _point_jacobian(points: np.ndarray) -> np.ndarray:
    """[n, 3, 6], velocity of points of the base by its velocity."""
    unit = np.broadcast_to(np.eye(3), (len(points), 3, 3))
    return np.concatenate([unit, -_skew(points)], axis=2)


def inverse_weights(model: mujoco.MjModel, robot: Robot) -> InverseWeights:
    """Of a robot, at its model's qpos0."""
    w = numpy_workspace(robot, 1, ground=None)
    start = model.jnt_qposadr[model.body_jntadr[robot.base]]
    w.state.qpos.write(0, model.qpos0[start : start + 7].tolist())
    for leg, links in enumerate(robot.legs):
        for j, link in enumerate(links):
            w.state.qpos[7 + leg * robot.joints_per_leg + j] = link.reference
    smooth_dynamics(NumpyMachine(), w)
    jacobians = [_jacobian(w, i) for i in range(len(robot.colliders))]
    on_base = np.array([collider.body == robot.base for collider in robot.colliders])
    return InverseWeights(robot, dense_inertia(robot, w.work), np.array(jacobians), on_base)


def dense_inertia(robot: Robot, work: Fields) -> np.ndarray:
    """[nv, nv] of the first robot, from its arrow."""
    joints = robot.joints_per_leg
    dense = np.zeros((6 + robot.num_joints, 6 + robot.num_joints))

    def put(i: int, j: int, value: np.ndarray) -> None:
        dense[i, j] = dense[j, i] = value[0]

    for i in range(6):
        for j in range(i + 1):
            put(i, j, work.mass_base[triangle(i, j)])
    for leg in range(len(robot.legs)):
        first = leg * joints
        for i in range(joints):
            for j in range(i + 1):
                entry = work.mass_leg[leg * triangle(joints, 0) + triangle(i, j)]
                put(6 + first + i, 6 + first + j, entry)
            for k in range(6):
                put(k, 6 + first + i, work.mass_coupling[(first + i) * 6 + k])
    return dense


def _jacobian(w: Workspace, index: int) -> np.ndarray:
    """[3, nv], of the centre of mass of a collider's body."""
    robot, collider = w.robot, w.robot.colliders[index]
    result = np.zeros((3, 6 + robot.num_joints))
    if collider.body == robot.base:
        return result
    # A link's frame at its collider: both the collider's centre and the body's lie in it.
    offset = np.array(collider.body_centre) - np.array(collider.centre)
    rotation = _link_rotation(robot, collider.leg, collider.depth)
    centre = np.array(w.work.collider_centre.read(3 * index, 3))[:, 0] + rotation @ offset
    result[:, :6] = _point_jacobian(centre[None])[0]
    for j in range(collider.depth):
        column = collider.leg * robot.joints_per_leg + j
        anchor = np.array(w.work.anchor.read(3 * column, 3))[:, 0]
        axis = np.array(w.work.axis.read(3 * column, 3))[:, 0]
        result[:, 6 + column] = np.cross(axis, centre - anchor)
    return result


def _link_rotation(robot: Robot, leg: int, depth: int) -> np.ndarray:
    """[3, 3], base from link at the hinges' zero angles."""
    rotation = np.eye(3)
    for link in robot.legs[leg][:depth] if leg >= 0 else ():
        rotation = rotation @ np.array(link.rotation)
    return rotation

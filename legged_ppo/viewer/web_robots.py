"""The bodies of all robots in viser's scene: a few batched messages a frame, whatever the number of robots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
import viser

from legged_ppo.env.locomotion import LocomotionEnv
from legged_ppo.viewer.meshes import COARSE, FINE, body_meshes


@dataclass
class Part:
    """Bodies of one shape, of all robots in one batch."""

    bodies: list[int]
    handle: Any


class WebRobots:
    """The robots of an environment, below a node of the scene."""

    def __init__(self, server: viser.ViserServer, env: LocomotionEnv, node: str) -> None:
        self._scene, self._env, self._node = server.scene, env, node
        self.poses = Poses(env)
        self.parts: list[Part] = []

    def draw(self, *, light: bool) -> None:
        """Send the shapes: few triangles without lights, or all of them.

        Bodies of equal shape share a batch: a Go2's calves are one, so it has six.
        """
        shapes: dict[bytes, list[int]] = {}
        standing = self.poses.standing_rotations()
        for body, mesh in body_meshes(self.poses.model, COARSE if light else FINE).items():
            drawn = mesh.shaded(standing[body]) if light else mesh
            shapes.setdefault(drawn.glb(lit=not light), []).append(body)
        for part in self.parts:
            part.handle.remove()
        self.parts = []
        for number, (glb, bodies) in enumerate(shapes.items()):
            count = self._env.num_envs * len(bodies)
            quats = np.tile([1.0, 0.0, 0.0, 0.0], (count, 1))
            handle = self._scene.add_batched_glb(
                f"{self._node}/{number}",
                glb,
                quats,
                np.zeros((count, 3)),
                lod="off",
                cast_shadow=not light,
                receive_shadow=not light,
            )
            self.parts.append(Part(bodies, handle))

    def move(self, positions: np.ndarray, quats: np.ndarray) -> None:
        """Put the bodies at positions [N, bodies, 3] m and quaternions [N, bodies, 4] w, x, y, z."""
        for part in self.parts:
            part.handle.batched_positions = positions[:, part.bodies].reshape(-1, 3)
            part.handle.batched_wxyzs = quats[:, part.bodies].reshape(-1, 4)


class Poses:
    """World poses of all bodies, by MuJoCo's kinematics of the robot alone."""

    def __init__(self, env: LocomotionEnv) -> None:
        spec = env.robot.mjspec()
        self.model = spec.compile()
        self.base = int(self.model.body(env.robot.config.base_body).id)
        self._data, self._default = mujoco.MjData(self.model), env.robot.default_joint_pos
        joints = [self.model.joint(name).id for name in env.robot.config.joints]
        self._joints = self.model.jnt_qposadr[joints]
        self._root = int(self.model.jnt_qposadr[self.model.body_jntadr[self.base]])

    def of(self, env: LocomotionEnv) -> tuple[np.ndarray, np.ndarray]:
        """Positions [N, bodies, 3] m and quaternions [N, bodies, 4] w, x, y, z."""
        state, data = env.simulator.state, self._data
        base_pos, base_quat = state.base_pos.cpu().numpy(), state.base_quat.cpu().numpy()
        joint_pos = state.joint_pos.cpu().numpy()
        positions = np.empty((len(base_pos), self.model.nbody, 3))
        quats = np.empty((len(base_pos), self.model.nbody, 4))
        for i in range(len(base_pos)):
            self._place(base_pos[i], base_quat[i], joint_pos[i])
            positions[i], quats[i] = data.xpos, data.xquat
        return positions, quats

    def standing_rotations(self) -> np.ndarray:
        """[bodies, 3, 3], columns: axes of each body in the world, in the default pose."""
        self._place(np.zeros(3), np.array([1.0, 0.0, 0.0, 0.0]), np.array(self._default))
        return self._data.xmat.reshape(-1, 3, 3).copy()

    def _place(self, base_pos: np.ndarray, base_quat: np.ndarray, joint_pos: np.ndarray) -> None:
        qpos, root = self._data.qpos, self._root
        qpos[root : root + 3] = base_pos
        qpos[root + 3 : root + 7] = base_quat
        qpos[self._joints] = joint_pos
        mujoco.mj_kinematics(self.model, self._data)

"""The physical parameters of each robot as the engine's memory holds them."""

from __future__ import annotations

import mujoco
import numpy as np

from legged_ppo.robots.spec import RobotSpec
from legged_ppo.sim.simd.inverse_weights import inverse_weights
from legged_ppo.sim.simd.robot import Robot, rotation_of
from legged_ppo.sim.simulator import PhysicalParameters


class Parameters:
    """Spans of `layout.state_layout` from the model and from `PhysicalParameters`: [n, length] float64."""

    def __init__(self, model: mujoco.MjModel, robot: Robot, spec: RobotSpec) -> None:
        self._robot, self._weights = robot, inverse_weights(model, robot)
        base = robot.base
        self._mass, self._com = float(model.body_mass[base]), model.body_ipos[base].copy()
        axes = rotation_of(model.body_iquat[base])
        self._central = axes @ np.diag(model.body_inertia[base]) @ axes.T
        joints = [model.joint(name).id for name in spec.config.joints]
        self.columns = robot.columns(joints)
        """Padded column of each of the task's joints."""
        armature = model.dof_armature[model.jnt_dofadr[joints]]
        self._kp, self._kd = self._padded(spec.kp), self._padded(spec.kd)
        self._armature = self._padded(armature)
        feet = [robot.colliders[i].contact.friction for i in robot.feet]
        self._friction = np.array(feet)

    def _padded(self, values: np.ndarray) -> np.ndarray:
        result = np.zeros(self._robot.num_joints)
        result[self.columns] = values
        return result

    def nominal(self, count: int) -> dict[str, np.ndarray]:
        """Of `count` robots as the MJCF has them."""
        one = np.ones(count)
        zero = np.zeros((count, 3))
        return self._spans(one * self._mass, zero + self._com, one, one, one) | {
            "friction": np.tile(self._friction, (count, 1))
        }

    def spans(self, p: PhysicalParameters, robots: np.ndarray) -> dict[str, np.ndarray]:
        """Of the chosen robots, [n] int64."""

        def of(values: object) -> np.ndarray:
            return np.asarray(values, dtype=np.float64)[robots]

        strength = of(p.motor_strength)
        return self._spans(
            self._mass + of(p.added_mass),
            self._com + of(p.com_shift),
            of(p.kp_scale) * strength,
            of(p.kd_scale) * strength,
            of(p.armature_scale),
        ) | {"friction": np.repeat(of(p.friction)[:, None], len(self._friction), axis=1)}

    def _spans(
        self, mass: np.ndarray, com: np.ndarray, kp: np.ndarray, kd: np.ndarray, rotors: np.ndarray
    ) -> dict[str, np.ndarray]:
        moment = mass[:, None] * com
        tensor = self._central * (mass / self._mass)[:, None, None]
        square = np.einsum("ni,ni->n", com, com)[:, None, None] * np.eye(3)
        tensor = tensor + mass[:, None, None] * (square - com[:, :, None] * com[:, None, :])
        entries = tensor[:, [0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]
        armature = rotors[:, None] * self._armature
        bodies, joints = self._weights.of(mass, moment, entries, armature)
        return {
            "mass": mass[:, None],
            "moment": moment,
            "tensor": entries,
            "kp": kp[:, None] * self._kp,
            "kd": kd[:, None] * self._kd,
            "armature": armature,
            "collider_invweight": bodies,
            "joint_invweight": joints,
        }

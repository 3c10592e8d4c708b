"""Indices of joints, feet and sensors in the qpos, qvel and sensordata of a model."""

from __future__ import annotations

import mujoco
import numpy as np
import torch

from legged_ppo.robots.spec import RobotSpec
from legged_ppo.runtime.device import any_without_sync
from legged_ppo.sim import model as sim_model
from legged_ppo.sim.rotations import rotation_matrix
from legged_ppo.sim.simulator import PhysicalParameters, SimState

RANDOMIZED = (
    "geom_friction",
    "body_mass",
    "body_inertia",
    "body_ipos",
    "actuator_gainprm",
    "actuator_biasprm",
    "dof_armature",
)
"""Model fields that hold one value per robot."""
_FOOT_SENSORS = 9
"""Numbers per foot in `sensordata`: position, velocity, force."""


class ModelIndex:
    """Index tensors on `device` into the arrays of one compiled model."""

    def __init__(self, model: mujoco.MjModel, robot: RobotSpec, device: torch.device) -> None:
        self._robot, self._device = robot, device
        joints = [model.joint(name).id for name in robot.config.joints]
        self.qpos_columns = self._columns(model.jnt_qposadr[joints])
        """[J] int64, of the task's joints in qpos"""
        self.qvel_columns = self._columns(model.jnt_dofadr[joints])
        """[J] int64, of the task's joints in qvel"""
        names = [f"{sim_model.FOOT}{name}:" for name in robot.config.foot_geoms]
        feet = [c for name in names for c in sim_model.sensor_columns(model, name)]
        self.foot_columns = self._columns(np.concatenate(feet))
        """[F * 9] int64, of each foot's position, velocity and force in sensordata"""
        self.penalized_columns = self._flags(model, sim_model.PENALIZED)
        self.termination_columns = self._flags(model, sim_model.TERMINATION)
        self._base = model.body(robot.config.base_body).id
        self._ground_geoms = int(np.count_nonzero(model.geom_bodyid == 0))
        self.feet = [model.geom(name).id - self._ground_geoms for name in robot.config.foot_geoms]
        """Feet among the geoms of `of_robot`"""
        self._mass = float(model.body_mass[self._base])
        self._inertia = torch.as_tensor(model.body_inertia[self._base], device=device)
        self._armature = torch.as_tensor(model.dof_armature, device=device)
        self._com = torch.as_tensor(model.body_ipos[self._base], device=device)
        self.kp, self.kd = (
            torch.as_tensor(gain, dtype=torch.float32, device=device)
            for gain in (robot.kp, robot.kd)
        )
        self.rest_qpos = self._rest(model)  # [nq] float32, the default pose at spawn height
        self.rest_qvel = torch.zeros(model.nv, device=device)

    def state(
        self,
        qpos: torch.Tensor,
        qvel: torch.Tensor,
        sensors: torch.Tensor,
        torque: torch.Tensor,
        failed: torch.Tensor,
    ) -> SimState:
        """Convert the engine's arrays [N, ...] float32 to the state that the task reads.

        The rows of failed robots, [N] bool, are replaced by the default pose at rest.
        """
        if any_without_sync(failed):
            bad = failed[:, None]
            qpos = torch.where(bad, self.rest_qpos, qpos)
            qvel, sensors, torque = (torch.where(bad, 0.0, x) for x in (qvel, sensors, torque))
        feet = sensors.index_select(1, self.foot_columns).unflatten(1, (-1, _FOOT_SENSORS))
        rotation = rotation_matrix(qpos[:, 3:7])
        return SimState(
            base_pos=qpos[:, :3],
            base_quat=qpos[:, 3:7],
            base_rotation=rotation,
            base_lin_vel=torch.bmm(qvel[:, None, :3], rotation)[:, 0],
            base_ang_vel=qvel[:, 3:6],
            joint_pos=qpos.index_select(1, self.qpos_columns),
            joint_vel=qvel.index_select(1, self.qvel_columns),
            joint_torque=torque.index_select(1, self.qvel_columns),
            foot_pos=feet[..., 0:3],
            foot_vel=feet[..., 3:6],
            foot_force=feet[..., 6:9].norm(dim=-1),
            penalized_contact=sensors.index_select(1, self.penalized_columns) > 0,
            termination_contact=(sensors.index_select(1, self.termination_columns) > 0).any(1),
            failed=failed,
        )

    def qpos_rows(self, values: torch.Tensor) -> torch.Tensor:
        """[N, 7 + J] in policy joint order as rows of the engine's qpos."""
        return _rows(values, self.rest_qpos, 7, self.qpos_columns)

    def qvel_rows(self, values: torch.Tensor) -> torch.Tensor:
        """[N, 6 + J] in policy joint order as rows of the engine's qvel."""
        return _rows(values, self.rest_qvel, 6, self.qvel_columns)

    def of_robot(self, fields: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Views of the `RANDOMIZED` fields without the ground, whose geoms come first in the model."""
        friction = fields["geom_friction"][:, self._ground_geoms :]
        return fields | {"geom_friction": friction}

    def write_parameters(
        self, fields: dict[str, torch.Tensor], mask: torch.Tensor, parameters: PhysicalParameters
    ) -> None:
        """Write the masked robots' parameters into the fields of `of_robot`, each [N, ...], in place."""
        self.write_bodies(fields, mask, parameters)
        p = parameters
        for foot in self.feet:
            _put(fields["geom_friction"][:, foot, 0], mask, p.friction)
        kp = self.kp * p.kp_scale[:, None] * p.motor_strength[:, None]  # [N, J]
        kd = self.kd * p.kd_scale[:, None] * p.motor_strength[:, None]
        _put(fields["actuator_gainprm"][:, :, 0], mask, kp)
        _put(fields["actuator_biasprm"][:, :, 1], mask, -kp)
        _put(fields["actuator_biasprm"][:, :, 2], mask, -kd)

    def write_bodies(
        self, fields: dict[str, torch.Tensor], mask: torch.Tensor, parameters: PhysicalParameters
    ) -> None:
        """The part of `write_parameters` that other constants follow from: masses and armatures."""
        p, base = parameters, self._base
        mass = self._mass + p.added_mass
        _put(fields["body_mass"][:, base], mask, mass)
        _put(fields["body_inertia"][:, base], mask, self._inertia * (mass / self._mass)[:, None])
        _put(fields["body_ipos"][:, base], mask, self._com + p.com_shift)
        _put(fields["dof_armature"], mask, self._armature * p.armature_scale[:, None])

    def _columns(self, values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values.astype(np.int64)).to(self._device)

    def _flags(self, model: mujoco.MjModel, prefix: str) -> torch.Tensor:
        columns = sim_model.sensor_columns(model, prefix)
        return self._columns(np.array([c[0] for c in columns], dtype=np.int64))

    def _rest(self, model: mujoco.MjModel) -> torch.Tensor:
        qpos = torch.tensor(model.qpos0, dtype=torch.float32, device=self._device)
        height = self._robot.config.spawn_height
        qpos[:7] = torch.tensor([0.0, 0.0, height, 1.0, 0.0, 0.0, 0.0])
        default = torch.as_tensor(self._robot.default_joint_pos, dtype=torch.float32)
        qpos[self.qpos_columns] = default.to(self._device)
        return qpos


def _put(field: torch.Tensor, mask: torch.Tensor, values: torch.Tensor) -> None:
    """Set the masked rows."""
    chosen = mask.view(-1, *[1] * (field.dim() - 1))
    field.copy_(torch.where(chosen, values.to(field.dtype), field))


def _rows(
    values: torch.Tensor, rest: torch.Tensor, base: int, columns: torch.Tensor
) -> torch.Tensor:
    rows = rest.repeat(len(values), 1)
    rows[:, :base] = values[:, :base]
    return rows.index_copy(1, columns, values[:, base:])

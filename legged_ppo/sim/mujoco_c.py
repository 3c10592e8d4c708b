"""Physics on the CPU: MuJoCo C through `mujoco.batch.Batch`, all robots and substeps in one call."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
import torch
from mujoco.batch import Batch, SimulationError

from legged_ppo.config.schema import SimConfig
from legged_ppo.robots.spec import RobotSpec
from legged_ppo.sim import model as sim_model
from legged_ppo.sim.rotations import rotation_matrix
from legged_ppo.sim.simulator import PhysicalParameters, SimState
from legged_ppo.terrain.grid import Terrain

_RANDOMIZED = (
    "geom_friction",
    "body_mass",
    "body_inertia",
    "body_ipos",
    "actuator_gainprm",
    "actuator_biasprm",
)
"""Model fields that hold one value per robot."""


class MujocoC:
    """`Simulator` on MuJoCo's C engine; bit-identical at any number of threads."""

    def __init__(
        self, robot: RobotSpec, terrain: Terrain, config: SimConfig, num_envs: int
    ) -> None:
        self.num_envs = num_envs
        self.device = torch.device("cpu")
        self.config = config
        self.model = sim_model.build_model(robot, terrain, config)
        self._batch = Batch(self.model, num_envs, config.threads)
        self._robot = robot
        self._fields = {name: self._batch.expand(name) for name in _RANDOMIZED}
        self._base = self.model.body(robot.config.base_body).id
        self._feet = [self.model.geom(name).id for name in robot.config.foot_geoms]
        self._map_joints()
        self._map_sensors()
        self._qpos, self._qvel = self._batch.bind("qpos"), self._batch.bind("qvel")
        self._torque = self._batch.bind("qfrc_actuator")
        self._sensors = self._batch.bind("sensordata")
        self._ctrl = self._batch.bind("ctrl")
        self._sensor_shift = torch.zeros(num_envs, 3)
        """How far each robot was moved since its sensors were computed [m]."""
        self._rest_qpos = self._default_qpos()
        self._batch.qpos[:] = self._rest_qpos
        self._ctrl[:] = robot.default_joint_pos
        self._batch.forward()
        self.state = self._read_state(torch.zeros(num_envs, dtype=torch.bool))

    def step(self, joint_targets: torch.Tensor, latency: torch.Tensor | None = None) -> None:
        targets = joint_targets.numpy()
        self._sensor_shift.zero_()
        raised = np.zeros(self.num_envs, dtype=bool)
        try:
            if latency is None:
                self._ctrl[:] = targets
                self._batch.step(nstep=self.config.decimation)
            else:
                self._step_with_latency(targets, latency.numpy())
        except SimulationError as error:
            raised[error.ids] = True
        # With a latency of the whole step the engine has not seen the new targets yet.
        self._ctrl[:] = targets
        self.state = self._read_state(torch.from_numpy(raised))

    def reset(self, mask: torch.Tensor, qpos: torch.Tensor, qvel: torch.Tensor) -> None:
        ids = np.flatnonzero(mask.numpy())
        if len(ids) == 0:
            return
        self._batch.reset(ids, stage=int(mujoco.mjtStage.mjSTAGE_NONE))
        self._batch.qpos[ids] = self._to_engine(qpos[ids].numpy(), self._rest_qpos, 7)
        self._batch.qvel[ids] = self._to_engine(qvel[ids].numpy(), np.zeros(self.model.nv), 6)
        self._ctrl[ids] = self._robot.default_joint_pos
        self._batch.forward(ids)
        self._sensor_shift[ids] = 0.0
        self.state = self._read_state(self.state.failed & ~mask)

    def randomize(self, mask: torch.Tensor, parameters: PhysicalParameters) -> None:
        ids = np.flatnonzero(mask.numpy())
        if len(ids) == 0:
            return
        p = {name: value.numpy()[ids] for name, value in vars(parameters).items()}
        fields, nominal = self._fields, self.model
        for foot in self._feet:
            fields["geom_friction"][ids, foot, 0] = p["friction"]
        base, mass = self._base, nominal.body_mass[self._base]
        fields["body_mass"][ids, base] = mass + p["added_mass"]
        scale = (mass + p["added_mass"]) / mass
        fields["body_inertia"][ids, base] = nominal.body_inertia[base] * scale[:, None]
        fields["body_ipos"][ids, base] = nominal.body_ipos[base] + p["com_shift"]
        kp = (self._robot.config.kp * p["kp_scale"] * p["motor_strength"])[:, None]
        kd = (self._robot.config.kd * p["kd_scale"] * p["motor_strength"])[:, None]
        fields["actuator_gainprm"][ids, :, 0] = kp
        fields["actuator_biasprm"][ids, :, 1] = -kp
        fields["actuator_biasprm"][ids, :, 2] = -kd
        self._batch.set_const(ids)

    def push(self, velocity: torch.Tensor) -> None:
        self._qvel[:, :2] += velocity.numpy()

    def translate(self, shift: torch.Tensor) -> None:
        self._qpos[:, :2] += shift.numpy()
        self._sensor_shift[:, :2] += shift
        state = self.state
        offset = torch.nn.functional.pad(shift, (0, 1))
        state.base_pos, state.foot_pos = state.base_pos + offset, state.foot_pos + offset[:, None]

    def state_dict(self) -> dict[str, Any]:
        return {
            "rows": torch.from_numpy(self._batch.state.copy()),
            "fields": {
                name: torch.from_numpy(values.copy()) for name, values in self._fields.items()
            },
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, values in state["fields"].items():
            self._fields[name][:] = values.numpy()
        self._batch.set_const()
        self._batch.state[:] = state["rows"].numpy()

    def model_of(self, env: int) -> mujoco.MjModel:
        """The compiled model with robot `env`'s physical parameters, to render it."""
        return self._batch.get_model(env)

    def data_of(self, env: int, data: mujoco.MjData) -> mujoco.MjData:
        """Robot `env`'s state, written into `data`."""
        return self._batch.get_data(env, data)

    def _step_with_latency(self, targets: np.ndarray, latency: np.ndarray) -> None:
        """Substep k runs on the previous targets while k < latency."""
        late = np.arange(self.config.decimation)[None, :] < latency[:, None]  # [N, substeps]
        controls = np.where(late[:, :, None], self._ctrl[:, None], targets[:, None])
        self._batch.rollout(
            self.config.decimation,
            controls,
            control_spec=int(mujoco.mjtState.mjSTATE_CTRL),
            record=("qpos",),
        )

    def _read_state(self, raised: torch.Tensor) -> SimState:
        qpos, qvel = _float32(self._qpos), _float32(self._qvel)
        sensors, torque = _float32(self._sensors), _float32(self._torque)
        # NaN fails the comparison too.
        sound = (qvel.abs().amax(1) < self.config.max_velocity) & torch.isfinite(qpos.sum(1))
        failed = raised | ~sound
        if failed.any():
            keep = ~failed[:, None]
            qpos = torch.where(keep, qpos, torch.from_numpy(self._rest_qpos).float())
            qvel = torch.where(keep, qvel, 0.0)
            sensors = torch.where(keep, sensors, 0.0)
            torque = torch.where(keep, torque, 0.0)
        # [N, F, 9]: position, velocity, force
        feet = sensors.index_select(1, self._foot_columns).unflatten(1, (-1, 9))
        rotation = rotation_matrix(qpos[:, 3:7])
        return SimState(
            base_pos=qpos[:, :3],
            base_quat=qpos[:, 3:7],
            base_rotation=rotation,
            base_lin_vel=torch.bmm(qvel[:, None, :3], rotation)[:, 0],
            base_ang_vel=qvel[:, 3:6],
            joint_pos=qpos.index_select(1, self._qpos_columns),
            joint_vel=qvel.index_select(1, self._qvel_columns),
            joint_torque=torque.index_select(1, self._qvel_columns),
            foot_pos=feet[..., 0:3] + self._sensor_shift[:, None],
            foot_vel=feet[..., 3:6],
            foot_force=feet[..., 6:9].norm(dim=-1),
            penalized_contact=sensors.index_select(1, self._penalized_columns) > 0,
            termination_contact=(sensors.index_select(1, self._termination_columns) > 0).any(1),
            failed=failed,
        )

    def _map_joints(self) -> None:
        joints = [self.model.joint(name).id for name in self._robot.config.joints]
        self._qpos_columns = torch.from_numpy(self.model.jnt_qposadr[joints].astype(np.int64))
        self._qvel_columns = torch.from_numpy(self.model.jnt_dofadr[joints].astype(np.int64))

    def _map_sensors(self) -> None:
        feet = [f"{sim_model.FOOT}{name}:" for name in self._robot.config.foot_geoms]
        columns = [c for foot in feet for c in sim_model.sensor_columns(self.model, foot)]
        self._foot_columns = torch.from_numpy(np.concatenate(columns).astype(np.int64))  # [F * 9]
        self._penalized_columns = self._flags(sim_model.PENALIZED)
        self._termination_columns = self._flags(sim_model.TERMINATION)

    def _flags(self, prefix: str) -> torch.Tensor:
        columns = sim_model.sensor_columns(self.model, prefix)
        return torch.from_numpy(np.array([c[0] for c in columns], dtype=np.int64))

    def _default_qpos(self) -> np.ndarray:
        qpos = self.model.qpos0.copy()
        qpos[:7] = 0.0, 0.0, self._robot.config.spawn_height, 1.0, 0.0, 0.0, 0.0
        qpos[self._qpos_columns.numpy()] = self._robot.default_joint_pos
        return qpos

    def _to_engine(self, values: np.ndarray, rest: np.ndarray, base: int) -> np.ndarray:
        """Rows [n, base + J] in policy joint order as rows in the engine's order."""
        columns = self._qpos_columns if base == 7 else self._qvel_columns
        rows = np.tile(rest, (len(values), 1))
        rows[:, :base] = values[:, :base]
        rows[:, columns.numpy()] = values[:, base:]
        return rows


def _float32(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32))

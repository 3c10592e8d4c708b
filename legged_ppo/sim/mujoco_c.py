"""Physics on the CPU: MuJoCo C through `mujoco.batch.Batch`, all robots and substeps in one call."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
import torch
from mujoco.batch import Batch, SimulationError

from legged_ppo import distributed
from legged_ppo.config.schema import SimConfig
from legged_ppo.robots.spec import RobotSpec
from legged_ppo.sim.layout import RANDOMIZED, Layout
from legged_ppo.sim.model import build_model
from legged_ppo.sim.simulator import PhysicalParameters, SimState
from legged_ppo.terrain.grid import Terrain


class MujocoC:
    """`Simulator` on MuJoCo's C engine; bit-identical at any number of threads."""

    def __init__(
        self, robot: RobotSpec, terrain: Terrain, config: SimConfig, num_envs: int
    ) -> None:
        self.num_envs = num_envs
        self.device = torch.device("cpu")
        self.config = config
        self.model = build_model(robot, terrain, config)
        self._batch = Batch(self.model, num_envs, config.threads or distributed.threads())
        self._robot = robot
        self._layout = Layout(self.model, robot, self.device)
        fields = {name: self._batch.expand(name) for name in RANDOMIZED}
        self._fields = {name: torch.from_numpy(values) for name, values in fields.items()}
        self._qpos, self._qvel = self._batch.bind("qpos"), self._batch.bind("qvel")
        self._torque = self._batch.bind("qfrc_actuator")
        self._sensors = self._batch.bind("sensordata")
        self._ctrl = self._batch.bind("ctrl")
        self._sensor_shift = torch.zeros(num_envs, 3)
        """How far each robot was moved since its sensors were computed [m]."""
        self._batch.qpos[:] = self._layout.rest_qpos.numpy()
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
        self._batch.qpos[ids] = self._layout.qpos_rows(qpos[ids]).numpy()
        self._batch.qvel[ids] = self._layout.qvel_rows(qvel[ids]).numpy()
        self._ctrl[ids] = self._robot.default_joint_pos
        self._batch.forward(ids)
        self._sensor_shift[ids] = 0.0
        self.state = self._read_state(self.state.failed & ~mask)

    def randomize(self, mask: torch.Tensor, parameters: PhysicalParameters) -> None:
        ids = np.flatnonzero(mask.numpy())
        if len(ids) == 0:
            return
        self._layout.write_parameters(self._fields, mask, parameters)
        self._batch.set_const(ids)

    def push(self, velocity: torch.Tensor) -> None:
        self._qvel[:, :2] += velocity.numpy()

    def translate(self, shift: torch.Tensor) -> None:
        self._qpos[:, :2] += shift.numpy()
        self._sensor_shift[:, :2] += shift
        state = self.state
        offset = torch.nn.functional.pad(shift, (0, 1))
        state.base_pos, state.foot_pos = state.base_pos + offset, state.foot_pos + offset[:, None]

    def metrics(self) -> dict[str, torch.Tensor]:
        """None: this engine's buffers grow as they must."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {
            "rows": torch.from_numpy(self._batch.state.copy()),
            "fields": {name: values.clone() for name, values in self._fields.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, values in state["fields"].items():
            self._fields[name].copy_(values)
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
        state = self._layout.state(qpos, qvel, sensors, torque, raised | ~sound)
        state.foot_pos = state.foot_pos + self._sensor_shift[:, None]
        return state


def _float32(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32))

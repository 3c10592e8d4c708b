"""Physics on the CPU: MuJoCo C through `mujoco.batch.Batch`, all robots and substeps in one call.

Every static geom adds to every robot's step time wherever it is, so the robots of each terrain column share
one model that holds the ground of that column only.
"""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import mujoco
import numpy as np
import torch
from mujoco.batch import Batch, SimulationError

from legged_ppo.config.schema import SimConfig
from legged_ppo.robots.spec import RobotSpec
from legged_ppo.runtime import distributed
from legged_ppo.sim.indexing import RANDOMIZED, ModelIndex
from legged_ppo.sim.model import build_model
from legged_ppo.sim.simulator import PhysicalParameters, SimState
from legged_ppo.terrain.grid import Terrain

_CPU = torch.device("cpu")


class MujocoC:
    """`Simulator` on MuJoCo's C engine; bit-identical at any number of threads.

    Args:
        tiles: [N], see `assign`; None gives every robot the ground of the whole grid.
    """

    def __init__(
        self,
        robot: RobotSpec,
        terrain: Terrain,
        config: SimConfig,
        num_envs: int,
        tiles: np.ndarray | None = None,
    ) -> None:
        self.num_envs, self.device, self.config = num_envs, _CPU, config
        self._robot, self._terrain = robot, terrain
        self._build(None if tiles is None else tiles // terrain.num_levels)

    def assign(self, tiles: torch.Tensor) -> None:
        """See `Simulator.assign`."""
        columns = tiles.numpy() // self._terrain.num_levels
        if self._columns is None or not np.array_equal(columns, self._columns):
            self._build(columns)

    def _build(self, columns: np.ndarray | None) -> None:
        """Compile the models and set every robot to its default pose."""
        self._columns = columns
        self.groups = []
        for column, rows in _spans(columns, self.num_envs):
            add_ground = partial(self._terrain.add_to, column=column)
            model = build_model(self._robot, add_ground, self.config)
            _without_islands(model)
            self.groups.append(Group(model, self._robot, self.config, rows))
        self._layout = self.groups[0].layout
        self._sensor_shift = torch.zeros(self.num_envs, 3)
        """[N, 3] m, translation of each robot since its sensors were computed."""
        self.state = self._read_state(torch.zeros(self.num_envs, dtype=torch.bool))

    def step(self, joint_targets: torch.Tensor, latency: torch.Tensor | None = None) -> None:
        """See `Simulator.step`."""
        self._sensor_shift.zero_()
        raised = np.zeros(self.num_envs, dtype=bool)
        targets, delay = joint_targets.numpy(), None if latency is None else latency.numpy()
        for group in self.groups:
            rows = group.rows
            raised[rows] = group.step(targets[rows], None if delay is None else delay[rows])
        self.state = self._read_state(torch.from_numpy(raised))

    def reset(
        self,
        mask: torch.Tensor,
        qpos: torch.Tensor,
        qvel: torch.Tensor,
        parameters: PhysicalParameters | None = None,
    ) -> None:
        """See `Simulator.reset`."""
        if not bool(mask.any()):
            return
        if parameters is not None:
            self.randomize(mask, parameters)
        for group in self.groups:
            group.reset(*(x[group.rows] for x in (mask, qpos, qvel)))
        self._sensor_shift[mask] = 0.0
        self.state = self._read_state(self.state.failed & ~mask)

    def randomize(self, mask: torch.Tensor, parameters: PhysicalParameters) -> None:
        """See `Simulator.randomize`."""
        for group in self.groups:
            group.randomize(mask[group.rows], parameters.rows(group.rows))

    def push(self, velocity: torch.Tensor) -> None:
        """See `Simulator.push`."""
        for group in self.groups:
            group.qvel[:, :2] += velocity[group.rows].numpy()

    def translate(self, shift: torch.Tensor) -> None:
        """See `Simulator.translate`."""
        for group in self.groups:
            group.qpos[:, :2] += shift[group.rows].numpy()
        self._sensor_shift[:, :2] += shift
        state = self.state
        offset = torch.nn.functional.pad(shift, (0, 1))
        state.base_pos, state.foot_pos = state.base_pos + offset, state.foot_pos + offset[:, None]

    def metrics(self) -> dict[str, torch.Tensor]:
        """Empty: the buffers of this engine grow on demand."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """See `Simulator.state_dict`."""
        fields = [group.fields for group in self.groups]
        return {
            "rows": torch.from_numpy(np.concatenate([group.batch.state for group in self.groups])),
            "fields": {name: torch.cat([each[name] for each in fields]) for name in RANDOMIZED},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Simulator.load_state_dict`."""
        for group in self.groups:
            for name, values in state["fields"].items():
                group.fields[name].copy_(values[group.rows])
            group.batch.set_const()
            group.batch.state[:] = state["rows"][group.rows].numpy()

    def _read_state(self, raised: torch.Tensor) -> SimState:
        qpos, qvel = self._gather("qpos"), self._gather("qvel")
        sensors, torque = self._gather("sensors"), self._gather("torque")
        # A NaN velocity fails the comparison.
        sound = (qvel.abs().amax(1) < self.config.max_velocity) & torch.isfinite(qpos.sum(1))
        state = self._layout.state(qpos, qvel, sensors, torque, raised | ~sound)
        state.foot_pos = state.foot_pos + self._sensor_shift[:, None]
        return state

    def _gather(self, name: str) -> torch.Tensor:
        """One array of all groups concatenated, [N, ...] float32."""
        parts = [getattr(group, name) for group in self.groups]
        return torch.from_numpy(np.concatenate(parts, dtype=np.float32, casting="same_kind"))


def _without_islands(model: mujoco.MjModel) -> None:
    """A robot alone is one island, and small for sparse matrices: the same bits in 0.95 to 0.97 of the time."""
    model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_ISLAND)
    model.opt.jacobian = int(mujoco.mjtJacobian.mjJAC_DENSE)


def _spans(columns: np.ndarray | None, num_envs: int) -> list[tuple[int | None, slice]]:
    """Slices of consecutive robots on the same column."""
    if columns is None:
        return [(None, slice(0, num_envs))]
    bounds = [0, *(np.flatnonzero(np.diff(columns)) + 1).tolist(), num_envs]
    return [(int(columns[a]), slice(a, b)) for a, b in itertools.pairwise(bounds)]


class Group:
    """The robots of the slice `rows`, which share one model."""

    def __init__(
        self, model: mujoco.MjModel, robot: RobotSpec, config: SimConfig, rows: slice
    ) -> None:
        self.model, self.rows = model, rows
        self._decimation = config.decimation
        self._default_ctrl = robot.default_joint_pos
        count = rows.stop - rows.start
        self.batch = Batch(model, count, config.threads or distributed.threads())
        self.layout = ModelIndex(model, robot, _CPU)
        fields = {name: torch.from_numpy(self.batch.expand(name)) for name in RANDOMIZED}
        self.fields = self.layout.of_robot(fields)
        self.qpos, self.qvel = self.batch.bind("qpos"), self.batch.bind("qvel")
        self.torque = self.batch.bind("qfrc_actuator")
        self.sensors = self.batch.bind("sensordata")
        self._ctrl = self.batch.bind("ctrl")
        self.batch.qpos[:] = self.layout.rest_qpos.numpy()
        self._ctrl[:] = self._default_ctrl
        self.batch.forward()

    def step(self, targets: np.ndarray, latency: np.ndarray | None) -> np.ndarray:
        """One control step; returns the robots whose physics raised an error, [n] bool."""
        raised = np.zeros(len(targets), dtype=bool)
        try:
            if latency is None:
                self._ctrl[:] = targets
                self.batch.step(nstep=self._decimation)
            else:
                self._step_with_latency(targets, latency)
        except SimulationError as error:
            raised[error.ids] = True
        # With a latency of the whole step the new targets have not been applied yet.
        self._ctrl[:] = targets
        return raised

    def _step_with_latency(self, targets: np.ndarray, latency: np.ndarray) -> None:
        """Substep k runs on the previous targets while k < latency."""
        late = np.arange(self._decimation)[None, :] < latency[:, None]  # [n, substeps]
        controls = np.where(late[:, :, None], self._ctrl[:, None], targets[:, None])
        self.batch.rollout(
            self._decimation,
            controls,
            control_spec=int(mujoco.mjtState.mjSTATE_CTRL),
            record=("qpos",),
        )

    def reset(self, mask: torch.Tensor, qpos: torch.Tensor, qvel: torch.Tensor) -> None:
        """`Simulator.reset` for the robots of this group."""
        ids = np.flatnonzero(mask.numpy())
        if len(ids) == 0:
            return
        self.batch.reset(ids, stage=int(mujoco.mjtStage.mjSTAGE_NONE))
        self.batch.qpos[ids] = self.layout.qpos_rows(qpos[ids]).numpy()
        self.batch.qvel[ids] = self.layout.qvel_rows(qvel[ids]).numpy()
        self._ctrl[ids] = self._default_ctrl
        self.batch.forward(ids)

    def randomize(self, mask: torch.Tensor, parameters: PhysicalParameters) -> None:
        """`Simulator.randomize` for the robots of this group."""
        ids = np.flatnonzero(mask.numpy())
        if len(ids) == 0:
            return
        self.layout.write_parameters(self.fields, mask, parameters)
        self.batch.set_const(ids)

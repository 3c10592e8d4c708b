"""Physics on the CPU in SIMD lanes behind the `Simulator` protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from typing import Any

import numpy as np
import torch

from legged_ppo.config.schema import SimConfig
from legged_ppo.robots.spec import RobotSpec
from legged_ppo.runtime import distributed
from legged_ppo.runtime.lanes.target import host
from legged_ppo.sim.model import build_model
from legged_ppo.sim.simd.cache import load_program
from legged_ppo.sim.simd.checks import check_model
from legged_ppo.sim.simd.ground import Ground
from legged_ppo.sim.simd.ground_cells import reach_of, read_ground
from legged_ppo.sim.simd.ground_contacts import box_contacts, field_contacts, mixed_contacts
from legged_ppo.sim.simd.groups import Groups, Workers
from legged_ppo.sim.simd.layout import state_layout
from legged_ppo.sim.simd.llvm_machine import work_vectors
from legged_ppo.sim.simd.parameters import Parameters
from legged_ppo.sim.simd.plane import plane_contacts
from legged_ppo.sim.simd.readings import Readings, Wanted, flag_layout, number_layout
from legged_ppo.sim.simd.robot import read_robot
from legged_ppo.sim.simd.substep import Collide
from legged_ppo.sim.simulator import PhysicalParameters, SimState
from legged_ppo.terrain.grid import Terrain

_CPU = torch.device("cpu")


def _collider_of(ground: Ground) -> Collide:
    """The phase that knows all of this ground, and no more."""
    boxes, fields = ground.boxes.size > 0, ground.fields.size > 0
    if boxes and fields:
        return mixed_contacts
    if boxes:
        return box_contacts
    return field_contacts if fields else plane_contacts


class Simd:
    """`Simulator` with one robot in each SIMD lane, float32.

    A robot's results depend neither on the number of threads nor on its neighbours.

    Raises:
        ConfigError: the model has something that the engine cannot simulate.
    """

    task_compiler = "lanes"
    """What compiles the task's own operators, whose results then differ by rounding: see `make_kernels`."""

    def __init__(
        self, robot: RobotSpec, terrain: Terrain, config: SimConfig, num_envs: int
    ) -> None:
        self.num_envs, self.device, self.config = num_envs, _CPU, config
        self._robot = robot
        model = build_model(robot, partial(terrain.add_to, column=0), config)
        check_model(model, robot)
        feet = [model.geom(name).id for name in robot.config.foot_geoms]
        base = model.body(robot.config.base_body).id
        self._constants = read_robot(model, base, feet)
        self._parameters = Parameters(model, self._constants, robot)
        target = host()
        lanes = config.simd_width or target.lanes
        ground = read_ground(terrain, reach_of(self._constants))
        self._columns = torch.tensor(self._parameters.columns)
        self._rest = self._rest_pose(robot)
        wanted = self._wanted(model, robot)
        self._layouts = number_layout(self._constants, wanted), flag_layout(wanted)
        kind = _collider_of(ground)
        self._program = load_program(self._constants, wanted, kind, lanes, target)
        threads = config.threads or distributed.threads()
        scratch = work_vectors(self._constants, lanes) * lanes
        self._workers = Workers(threads, scratch, ground)
        self._groups = Groups(state_layout(self._constants), num_envs, lanes)
        self._readings = self._readings_of(self._groups)
        self._late, self._tile = False, terrain.config.tile_size
        self._start()

    def _wanted(self, model: Any, robot: RobotSpec) -> Wanted:
        """The task's joints, and the colliders of its penalised and termination bodies."""
        body = [model.body(model.geom_bodyid[c.geom]).name for c in self._constants.colliders]
        other = [(i, name) for i, name in enumerate(body) if i not in self._constants.feet]

        def colliders(names: Sequence[str]) -> tuple[int, ...]:
            return tuple(i for name in names for i, b in other if b == name)

        return Wanted(
            tuple(self._parameters.columns),
            colliders(robot.config.penalized_bodies),
            colliders(robot.config.termination_bodies),
            self.config.max_velocity,
            tuple(torch.cat([self._rest[:7], self._rest[7 + self._columns]]).tolist()),
        )

    def _rest_pose(self, robot: RobotSpec) -> torch.Tensor:
        """[7 + padded joints], the default pose at spawn height."""
        rest = torch.zeros(7 + self._constants.num_joints)
        rest[2], rest[3] = robot.config.spawn_height, 1.0
        rest[7 + self._columns] = torch.as_tensor(robot.default_joint_pos, dtype=torch.float32)
        return rest

    def _start(self) -> None:
        """Every robot in its default pose with the MJCF's parameters."""
        for name, values in self._parameters.nominal(self.num_envs).items():
            self._groups.write(name, torch.from_numpy(values).float())
        qpos = self._rest.repeat(self.num_envs, 1)
        robots, origin = torch.arange(self.num_envs), torch.zeros(self.num_envs, 2)
        self.state = self._restart(robots, qpos, torch.zeros_like(qpos[:, 1:]), origin)

    def assign(self, tiles: torch.Tensor) -> None:
        """See `Simulator.assign`: every robot has all of the ground."""

    def step(self, joint_targets: torch.Tensor, latency: torch.Tensor | None = None) -> None:
        """See `Simulator.step`.

        Raises:
            ValueError: `joint_targets` has not a row for each robot and a column for each joint.
        """
        shape = self.num_envs, len(self._columns)
        if joint_targets.shape != shape:
            raise ValueError(
                f"joint_targets are {tuple(joint_targets.shape)}, not [N, J] = {shape}"
            )
        targets = joint_targets.to(_CPU, torch.float32).contiguous()
        if latency is not None:
            self._groups.write("latency", latency[:, None].float())
        elif self._late:
            self._groups.write("latency", torch.zeros(self.num_envs, 1))
        self._late = latency is not None
        run, substeps = self._program.control_step, self.config.decimation
        self.state = self._workers.run(run, self._groups, self._readings, substeps, targets)

    def reset(
        self,
        mask: torch.Tensor,
        qpos: torch.Tensor,
        qvel: torch.Tensor,
        parameters: PhysicalParameters | None = None,
    ) -> None:
        """See `Simulator.reset`."""
        if parameters is not None:
            self.randomize(mask, parameters)
        robots = mask.nonzero()[:, 0]
        if len(robots) == 0:
            return
        position, velocity = qpos[robots], qvel[robots]
        quat = torch.nn.functional.normalize(position[:, 3:7], dim=1)
        rows = torch.cat([position[:, :3], quat, self._padded(position[:, 7:])], dim=1)
        speeds = torch.cat([velocity[:, :6], self._padded(velocity[:, 6:])], dim=1)
        origin = (position[:, :2] / self._tile).floor() * self._tile + self._tile / 2
        rows[:, :2] -= origin
        begun = self._restart(robots, rows, speeds, origin)
        parts = (
            (f.name, getattr(self.state, f.name), getattr(begun, f.name)) for f in fields(SimState)
        )
        self.state = SimState(**{n: old.index_copy(0, robots, new) for n, old, new in parts})

    def _restart(
        self, robots: torch.Tensor, qpos: torch.Tensor, qvel: torch.Tensor, origin: torch.Tensor
    ) -> SimState:
        """Put robots, [n] int64, into a state whose positions count from `origin`, and measure there."""
        chosen = self._groups.chosen(robots)
        chosen.write("origin", origin)
        chosen.write("qpos", qpos)
        chosen.write("qvel", qvel)
        chosen.write("warmstart", torch.zeros_like(qvel))
        for name in ("target", "previous_target"):
            chosen.write(name, self._rest[7:].repeat(len(robots), 1))
        state = self._workers.run(self._program.forward, chosen, self._readings_of(chosen))
        self._groups.place(robots, chosen.rows(), slice(None))
        return state

    def _readings_of(self, groups: Groups) -> Readings:
        return Readings(self._layouts, groups.num_envs, groups.count * groups.lanes)

    def randomize(self, mask: torch.Tensor, parameters: PhysicalParameters) -> None:
        """See `Simulator.randomize`."""
        robots = mask.nonzero()[:, 0]
        if len(robots) == 0:
            return
        found, layout = self._parameters.spans(parameters, robots.numpy()), self._groups.layout
        names = [name for name in layout.spans if name in found]  # one after the other
        span = slice(layout.slice(names[0]).start, layout.slice(names[-1]).stop)
        values = np.concatenate([found[name] for name in names], axis=1)
        self._groups.place(robots, torch.from_numpy(values).float(), span)

    def push(self, velocity: torch.Tensor) -> None:
        """See `Simulator.push`."""
        qvel = self._groups.read("qvel")
        qvel[:, :2] += velocity
        self._groups.write("qvel", qvel)

    def translate(self, shift: torch.Tensor) -> None:
        """See `Simulator.translate`."""
        self._groups.write("origin", self._groups.read("origin") + shift)
        state = self.state
        offset = torch.nn.functional.pad(shift, (0, 1))
        state.base_pos, state.foot_pos = state.base_pos + offset, state.foot_pos + offset[:, None]

    def metrics(self) -> dict[str, torch.Tensor]:
        """Empty: the engine has no buffers that could overflow."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """See `Simulator.state_dict`."""
        return {"rows": self._groups.rows()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Simulator.load_state_dict`."""
        self._groups.put_rows(state["rows"])
        self._late = True

    def _padded(self, values: torch.Tensor) -> torch.Tensor:
        """[n, J] in the task's order as the engine's columns."""
        rows = torch.zeros(len(values), self._constants.num_joints)
        return rows.index_copy(1, self._columns, values.float())

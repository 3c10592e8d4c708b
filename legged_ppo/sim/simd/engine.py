"""Physics on the CPU in SIMD lanes behind the `Simulator` protocol."""

from __future__ import annotations

from dataclasses import fields
from functools import partial
from typing import Any

import torch

from legged_ppo.config.schema import SimConfig
from legged_ppo.robots.spec import RobotSpec
from legged_ppo.runtime import distributed
from legged_ppo.sim.model import build_model
from legged_ppo.sim.rotations import rotation_matrix
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
from legged_ppo.sim.simd.program import host
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
        self._program = load_program(self._constants, _collider_of(ground), lanes, target)
        threads = config.threads or distributed.threads()
        scratch = work_vectors(self._constants, lanes) * lanes
        self._workers = Workers(threads, scratch, ground)
        self._groups = Groups(state_layout(self._constants), num_envs, lanes)
        self._late, self._tile = False, terrain.config.tile_size
        self._columns = torch.tensor(self._parameters.columns)
        self._flags(model, robot)
        self._rest = self._rest_pose(robot)
        self._start()

    def _flags(self, model: Any, robot: RobotSpec) -> None:
        """Which colliders count as contacts of penalised and of termination bodies."""
        body = [model.body(model.geom_bodyid[c.geom]).name for c in self._constants.colliders]
        other = [(i, name) for i, name in enumerate(body) if i not in self._constants.feet]
        config = robot.config
        self._penalized = torch.tensor(
            [i for name in config.penalized_bodies for i, b in other if b == name]
        ).long()
        self._termination = torch.tensor(
            [i for name in config.termination_bodies for i, b in other if b == name]
        ).long()

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
        everyone = torch.ones(self.num_envs, dtype=torch.bool)
        qpos = self._rest.repeat(self.num_envs, 1)
        robots, origin = torch.arange(self.num_envs), torch.zeros(self.num_envs, 2)
        self._restart(robots, qpos, torch.zeros_like(qpos[:, 1:]), origin)
        self.state = self._read_state(self._groups, ~everyone)

    def assign(self, tiles: torch.Tensor) -> None:
        """See `Simulator.assign`: every robot has all of the ground."""

    def step(self, joint_targets: torch.Tensor, latency: torch.Tensor | None = None) -> None:
        """See `Simulator.step`."""
        self._groups.write("target", self._padded(joint_targets))
        if latency is not None:
            self._groups.write("latency", latency[:, None].float())
        elif self._late:
            self._groups.write("latency", torch.zeros(self.num_envs, 1))
        self._late = latency is not None
        self._workers.run(self._program.control_step, self._groups, self.config.decimation)
        sound = torch.zeros(self.num_envs, dtype=torch.bool)
        self.state = self._read_state(self._groups, sound)

    def reset(self, mask: torch.Tensor, qpos: torch.Tensor, qvel: torch.Tensor) -> None:
        """See `Simulator.reset`."""
        robots = mask.nonzero()[:, 0]
        if len(robots) == 0:
            return
        position, velocity = qpos[robots], qvel[robots]
        quat = torch.nn.functional.normalize(position[:, 3:7], dim=1)
        rows = torch.cat([position[:, :3], quat, self._padded(position[:, 7:])], dim=1)
        speeds = torch.cat([velocity[:, :6], self._padded(velocity[:, 6:])], dim=1)
        origin = (position[:, :2] / self._tile).floor() * self._tile + self._tile / 2
        rows[:, :2] -= origin
        chosen = self._restart(robots, rows, speeds, origin)
        begun = self._read_state(chosen, torch.zeros(len(robots), dtype=torch.bool))
        parts = (
            (f.name, getattr(self.state, f.name), getattr(begun, f.name)) for f in fields(SimState)
        )
        self.state = SimState(**{n: old.index_copy(0, robots, new) for n, old, new in parts})

    def _restart(
        self, robots: torch.Tensor, qpos: torch.Tensor, qvel: torch.Tensor, origin: torch.Tensor
    ) -> Groups:
        """Put robots, [n] int64, into a state whose positions count from `origin`, and measure there; returns a
        copy of them."""
        chosen = self._groups.chosen(robots)
        chosen.write("origin", origin)
        chosen.write("qpos", qpos)
        chosen.write("qvel", qvel)
        chosen.write("warmstart", torch.zeros_like(qvel))
        for name in ("target", "previous_target"):
            chosen.write(name, self._rest[7:].repeat(len(robots), 1))
        self._workers.run(self._program.forward, chosen)
        self._groups.place(robots, chosen.rows(), slice(None))
        return chosen

    def randomize(self, mask: torch.Tensor, parameters: PhysicalParameters) -> None:
        """See `Simulator.randomize`."""
        robots = mask.nonzero()[:, 0]
        if len(robots) == 0:
            return
        for name, values in self._parameters.spans(parameters, robots.numpy()).items():
            span = self._groups.layout.slice(name)
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

    def _read_state(self, groups: Groups, failed: torch.Tensor) -> SimState:
        """The task's tensors; those of failed robots [n] bool are of the default pose at rest."""
        read = groups.read_together("qpos", "origin")
        qpos, qvel = read["qpos"], read["qvel"]
        qpos[:, :2] += read["origin"]
        read["foot_pos"].unflatten(1, (-1, 3))[:, :, :2] += read["origin"][:, None]
        # A NaN velocity fails the comparison.
        sound = (qvel.abs().amax(1) < self.config.max_velocity) & torch.isfinite(qpos.sum(1))
        failed = failed | ~sound
        if bool(failed.any()):
            read = {name: x.masked_fill(failed[:, None], 0.0) for name, x in read.items()}
            qpos, qvel = torch.where(failed[:, None], self._rest, qpos), read["qvel"]
        rotation = rotation_matrix(qpos[:, 3:7])
        touching = read["touch"] > 0
        return SimState(
            base_pos=qpos[:, :3],
            base_quat=qpos[:, 3:7],
            base_rotation=rotation,
            base_lin_vel=torch.bmm(qvel[:, None, :3], rotation)[:, 0],
            base_ang_vel=qvel[:, 3:6],
            joint_pos=qpos[:, 7:].index_select(1, self._columns),
            joint_vel=qvel[:, 6:].index_select(1, self._columns),
            joint_torque=read["torque"].index_select(1, self._columns),
            foot_pos=read["foot_pos"].unflatten(1, (-1, 3)),
            foot_vel=read["foot_vel"].unflatten(1, (-1, 3)),
            foot_force=read["foot_force"].unflatten(1, (-1, 3)).norm(dim=-1),
            penalized_contact=touching.index_select(1, self._penalized),
            termination_contact=touching.index_select(1, self._termination).any(1),
            failed=failed,
        )

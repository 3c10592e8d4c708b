"""Physics on a GPU: MuJoCo Warp, thousands of worlds in memory shared with torch tensors.

It also runs on a CPU, at a hundredth of the speed of MuJoCo C, for the parity tests between both engines.
"""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import mujoco
import mujoco_warp as mjw
import torch
import warp as wp

from legged_ppo.config.schema import SimConfig
from legged_ppo.robots.spec import RobotSpec
from legged_ppo.runtime.cuda_graphs import outside_graph
from legged_ppo.sim.indexing import RANDOMIZED, ModelIndex
from legged_ppo.sim.simulator import PhysicalParameters
from legged_ppo.sim.warp.bodies import DrawnParameters
from legged_ppo.sim.warp.derived_fields import DERIVED, DerivedConstants
from legged_ppo.sim.warp.field_contacts import take_field_pairs
from legged_ppo.sim.warp.kernels import choose_targets, restart_targets, write_columns
from legged_ppo.sim.warp.memory import (
    PER_WORLD,
    Capacity,
    array_bytes,
    local_bytes,
    scratch_bytes,
)
from legged_ppo.sim.warp.readings import Readings
from legged_ppo.sim.warp.tile_ground import TileGround
from legged_ppo.sim.warp.world_ground import MODEL_FIELDS, WorldGround

wp.config.log_level = wp.LOG_WARNING  # no banner and no line per loaded kernel
_PERSISTENT = ("qpos", "qvel", "qacc_warmstart", "ctrl", "time")
"""Data fields that persist from step to step."""
_NUM_BODIES = 8192
"""Random bodies that robots get one of: as many as robots of a large training, in some 10 MB."""
_LOST_CONTACTS = (
    mjw.OverflowType.NEFC
    | mjw.OverflowType.BROADPHASE
    | mjw.OverflowType.NARROWPHASE
    | mjw.OverflowType.CCD
    | mjw.OverflowType.HFIELD
)
"""Overflows that lose contacts; reaching the iteration limit of the solver does not."""


class MujocoWarp:
    """`Simulator` on MuJoCo Warp.

    Args:
        model: from `build_model` with the ground of `slots`.
        slots: ground geoms, placed in each world as the tile of its robot.
        capacity: sizes of the contact and constraint buffers, see `plan_capacity`.

    Raises:
        RuntimeError: the worlds do not fit into the memory of the device (raised by torch or Warp).
    """

    task_compiler = "warp"
    """See `make_kernels`."""

    def __init__(
        self,
        model: mujoco.MjModel,
        slots: WorldGround,
        robot: RobotSpec,
        config: SimConfig,
        num_envs: int,
        device: torch.device,
        capacity: Capacity,
    ) -> None:
        wp.init()
        self.num_envs, self.device, self.config, self.capacity = num_envs, device, config, capacity
        self.model = accepted(model)
        self._layout = ModelIndex(self.model, robot, device)
        self._constants = DerivedConstants(self.model, device)
        self._readings = Readings(self._layout, num_envs, config.max_velocity, device)
        self._load_constants(robot)
        with wp.ScopedDevice(self._warp_device):
            self._allocate()
            self._ground = TileGround(slots, self.model, self._ground_fields())
            launches = (self._launch_substeps, self._launch_restart)
            self._graphs = {launch.__name__: self._capture(launch) for launch in launches}
        planned = asdict(capacity) | {"memory_gb": self._bytes() / 2**30}
        self._plan = {
            f"Sim/planned_{k}": torch.tensor(v, device=device) for k, v in planned.items()
        }
        # Otherwise they would change in the last digit at the first randomization.
        self._constants.write(self._fields, self._derived)
        everyone = torch.ones(num_envs, dtype=torch.bool, device=device)
        qpos = self._layout.rest_qpos[self._pose_columns.long()].repeat(num_envs, 1)
        self.reset(everyone, qpos, torch.zeros_like(self._new_qvel))

    def _load_constants(self, robot: RobotSpec) -> None:
        """Tensors that stay as they are."""
        layout, device = self._layout, self.device
        self._default_ctrl = torch.as_tensor(
            robot.default_joint_pos, dtype=torch.float32, device=device
        )
        # Columns of qpos and qvel in the order of `reset`: the base, then the joints of the task.
        base = torch.arange(7, device=device)
        self._pose_columns = torch.cat([base, layout.qpos_columns]).int()
        self._speed_columns = torch.cat([base[:6], layout.qvel_columns]).int()
        self._everyone = torch.ones(self.num_envs, dtype=torch.bool, device=device)

    def _allocate(self) -> None:
        """Allocate model and data on the device, and torch views of both."""
        n, size = self.num_envs, self.capacity
        self._m = mjw.put_model(self.model, dict.fromkeys(PER_WORLD, n))
        self._m.opt.warn_overflow = 0  # counted in `metrics` instead of printed by the device
        take_field_pairs(self.model, self._m)
        self._d = mjw.make_data(
            self.model,
            nworld=n,
            nconmax=size.contacts,
            nccdmax=size.convex_pairs,
            njmax=size.constraints,
        )
        fields = {name: wp.to_torch(getattr(self._m, name)) for name in RANDOMIZED}
        self._fields = self._layout.of_robot(fields)
        self._derived = {name: wp.to_torch(getattr(self._m, name)) for name in DERIVED}
        self._drawn = DrawnParameters(self._layout, self._fields, self._derived)
        self._persistent = {name: wp.to_torch(getattr(self._d, name)) for name in _PERSISTENT}
        self._qpos, self._qvel = self._persistent["qpos"], self._persistent["qvel"]
        self._ctrl = self._persistent["ctrl"]
        self._overflow = wp.to_torch(self._d.overflow)
        self._lost = torch.zeros_like(self._overflow)  # of robots that were reset since
        # Captured graphs read fixed addresses.
        self._targets, self._previous = torch.zeros_like(self._ctrl), torch.zeros_like(self._ctrl)

        def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
            return torch.zeros(shape, dtype=dtype, device=self.device)

        self._latency = zeros(n, dtype=torch.int32)
        self._reset_mask = zeros(n, dtype=torch.bool)
        self._new_qpos = zeros(n, len(self._pose_columns))
        self._new_qvel = zeros(n, len(self._speed_columns))

    def _ground_fields(self) -> dict[str, torch.Tensor]:
        """What differs between tiles; world positions of static geoms are not computed again."""
        fields = {name: wp.to_torch(getattr(self._m, name)) for name in MODEL_FIELDS}
        return fields | {"geom_pos": wp.to_torch(self._d.geom_xpos)}

    @property
    def num_bodies(self) -> int:
        """See `KeepsBodies`."""
        return _NUM_BODIES

    def keep_bodies(self, bodies: PhysicalParameters) -> None:
        """See `KeepsBodies`."""
        self._drawn.keep(self._constants, bodies)
        self._reset_mask.zero_()
        with wp.ScopedDevice(self._warp_device):
            self._graphs["_launch_restart"] = self._capture(self._launch_restart)

    def assign(self, tiles: torch.Tensor) -> None:
        """See `Simulator.assign`. The ground changes with the next reset or load."""
        self._ground.tiles.copy_(tiles)

    def step(self, joint_targets: torch.Tensor, latency: torch.Tensor | None = None) -> None:
        """See `Simulator.step`."""
        self.advance(joint_targets, latency)
        self.state = self._readings.state()

    def advance(self, joint_targets: torch.Tensor, latency: torch.Tensor | None = None) -> None:
        """`step` without reading the new `state`."""
        self._previous.copy_(self._targets)
        self._targets.copy_(joint_targets)
        if latency is not None:
            self._latency.copy_(latency)
        self._run(self._launch_substeps)

    def reset(
        self,
        mask: torch.Tensor,
        qpos: torch.Tensor,
        qvel: torch.Tensor,
        parameters: PhysicalParameters | None = None,
    ) -> None:
        """See `Simulator.reset`. Of robots whose `parameters` name no body it is as slow as `randomize`."""
        if parameters is not None and parameters.body is None:
            self.randomize(mask, parameters)
            parameters = None
        self._drawn.draw(mask, parameters)
        self._lost |= self._overflow  # the reset clears the overflow flags
        self._reset_mask.copy_(mask)
        self._new_qpos.copy_(qpos)
        self._new_qvel.copy_(qvel)
        self._run(self._launch_restart)
        self.state = self._readings.state()

    def randomize(self, mask: torch.Tensor, parameters: PhysicalParameters) -> None:
        """See `Simulator.randomize`."""
        self._layout.write_parameters(self._fields, mask, parameters)
        # The factorization uses cuSOLVER, which not every version allows in a captured graph.
        outside_graph(lambda: self._constants.write(self._fields, self._derived))

    def push(self, velocity: torch.Tensor) -> None:
        """See `Simulator.push`."""
        self._qvel[:, :2].add_(velocity)

    def translate(self, shift: torch.Tensor) -> None:
        """See `Simulator.translate`."""
        self._qpos[:, :2].add_(shift)
        self._readings.translate(shift)
        self.state = self._readings.state()

    def usage(self) -> torch.Tensor:
        """[2, N], buffer use of each robot in the last substep: the larger of contacts and overlapping geom
        pairs, and constraint rows. Synchronises with the device."""
        d, room = self._d, self._d.naconmax
        with self._scope():
            # Repeated, because the step does not keep the worlds of the pairs.
            kinds = {"pair": wp.vec2i, "pairid": wp.vec2i, "worldid": wp.int32}
            found = {f"collision_{k}": wp.empty(room, dtype=kind) for k, kind in kinds.items()}
            d.ncollision.zero_()
            mjw.nxn_broadphase(self._m, d, SimpleNamespace(**found))

        def per_robot(worlds: wp.array, count: wp.array) -> torch.Tensor:
            used = wp.to_torch(worlds)[: int(wp.to_torch(count))]
            return torch.bincount(used, minlength=self.num_envs)

        pairs = per_robot(found["collision_worldid"], d.ncollision)
        contacts = per_robot(d.contact.worldid, d.nacon)
        return torch.stack([torch.maximum(pairs, contacts), wp.to_torch(d.nefc)])

    def metrics(self) -> dict[str, torch.Tensor]:
        """Number of robots that lost contacts to full buffers since the last call, and the planned buffer
        sizes per robot and memory [GB] in total."""
        lost = ((self._overflow | self._lost) & int(_LOST_CONTACTS)) != 0
        self._overflow.zero_()
        self._lost.zero_()
        return {"Sim/overflows": lost.sum(), **self._plan}

    def state_dict(self) -> dict[str, Any]:
        """See `Simulator.state_dict`."""
        return {
            "persistent": {name: value.clone() for name, value in self._persistent.items()},
            "targets": self._targets.clone(),
            "fields": {name: value.clone() for name, value in self._fields.items()},
            "derived": {name: value.clone() for name, value in self._derived.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Simulator.load_state_dict`."""
        for name, value in state["fields"].items():
            self._fields[name].copy_(value)
        self._constants.write(self._fields, self._derived)
        # Those of a kept body may differ in the last digit.
        for name, value in state.get("derived", {}).items():
            self._derived[name].copy_(value)
        with self._scope():
            self._ground.launch()
        for name, value in state["persistent"].items():
            self._persistent[name].copy_(value)
        self._targets.copy_(state["targets"])

    def _launch_substeps(self) -> None:
        """Step, with the sensors evaluated in the last substep alone, and read the state."""
        shape, device = self._ctrl.shape, self._warp_device
        arrays = [wp.from_torch(x) for x in (self._latency, self._previous, self._targets)]
        flags, last = self._m.opt.disableflags, self.config.decimation - 1
        for substep in range(self.config.decimation):
            wp.launch(choose_targets, shape, [substep, *arrays], [self._d.ctrl], device=device)
            skipped = 0 if substep == last else int(mjw.DisableBit.SENSOR)
            self._m.opt.disableflags = flags | skipped
            mjw.step(self._m, self._d)
        self._readings.launch(self._d, self._everyone)

    def _launch_restart(self) -> None:
        """Reset the masked worlds, including the warm start, and update ground, kinematics and state."""
        m, d, device = self._m, self._d, self._warp_device
        mask = wp.from_torch(self._reset_mask)
        self._ground.launch()
        self._drawn.launch()
        mjw.reset_data(m, d, mask)
        for columns, new, array in (
            (self._pose_columns, self._new_qpos, d.qpos),
            (self._speed_columns, self._new_qvel, d.qvel),
        ):
            inputs = [mask, wp.from_torch(columns), wp.from_torch(new)]
            wp.launch(write_columns, new.shape, inputs, [array], device=device)
        inputs, targets = [mask, wp.from_torch(self._default_ctrl)], wp.from_torch(self._targets)
        wp.launch(restart_targets, targets.shape, inputs, [targets, d.ctrl], device=device)
        mjw.kinematics(m, d)
        mjw.com_pos(m, d)
        mjw.com_vel(m, d)
        mjw.sensor_pos(m, d)
        mjw.sensor_vel(m, d)
        self._readings.launch(d, self._reset_mask)

    def _run(self, launch: Callable[[], None]) -> None:
        """Launch on torch's current stream: the captured graph if there is one, otherwise the kernels on the
        engine's device, because Warp's default device is a GPU if the machine has one."""
        graph = self._graphs[launch.__name__]

        def work() -> None:
            if graph is None:
                with self._scope():
                    launch()
            else:
                stream = wp.stream_from_torch(torch.cuda.current_stream(self.device))
                wp.capture_launch(graph, stream=stream)

        outside_graph(work)

    def _capture(self, launch: Callable[[], None]) -> wp.Graph | None:
        """Capture `launch` as a CUDA graph; None on a CPU."""
        device = self._warp_device
        if not device.is_cuda:
            return None
        # Torch's default stream cannot be captured, so the capture uses a separate stream.
        with wp.ScopedStream(wp.Stream(device)):
            launch()  # compiles the kernels, which is not allowed during a capture
            wp.synchronize_device(device)
            gc.collect()
            gc.disable()  # a graph freed during a capture would break it
            try:
                with wp.ScopedCapture(device) as capture:
                    launch()
            finally:
                gc.enable()
        return capture.graph

    def _scope(self) -> wp.ScopedStream | wp.ScopedDevice:
        """Scope in which Warp launches after torch's work."""
        if self._warp_device.is_cuda:
            return wp.ScopedStream(wp.stream_from_torch(torch.cuda.current_stream(self.device)))
        return wp.ScopedDevice(self._warp_device)

    def _bytes(self) -> int:
        held = array_bytes(self._m, self._d) + local_bytes(self.model, self.device)
        return held + scratch_bytes(self.model, self.capacity, self.num_envs)

    @property
    def _warp_device(self) -> wp.Device:
        return wp.device_from_torch(self.device)


def accepted(model: mujoco.MjModel) -> mujoco.MjModel:
    """A copy without the flag that disables the automatic reset, which MuJoCo Warp does not support."""
    model = copy.copy(model)
    model.opt.disableflags &= ~int(mujoco.mjtDisableBit.mjDSBL_AUTORESET)
    return model

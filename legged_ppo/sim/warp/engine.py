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
from legged_ppo.sim.simulator import PhysicalParameters, SimState
from legged_ppo.sim.warp.derived_fields import DERIVED, DerivedConstants
from legged_ppo.sim.warp.kernels import choose_targets, write_rows
from legged_ppo.sim.warp.memory import PER_WORLD, Capacity, array_bytes, scratch_bytes
from legged_ppo.sim.warp.world_ground import MODEL_FIELDS, WorldGround

wp.config.log_level = wp.LOG_WARNING  # no banner and no line per loaded kernel
_PERSISTENT = ("qpos", "qvel", "qacc_warmstart", "ctrl", "time")
"""Data fields that persist from step to step."""
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
        self._default_ctrl = torch.as_tensor(
            robot.default_joint_pos, dtype=torch.float32, device=device
        )
        self._slots = slots.geoms(self.model)
        self._tables = {
            name: torch.as_tensor(values, device=device)
            for name, values in slots.tables(self.model).items()
        }
        with wp.ScopedDevice(self._warp_device):
            self._allocate()
            self.assign(torch.zeros(num_envs, dtype=torch.int64, device=device))
            wp.synchronize_device(self._warp_device)
            launches = (self._launch_substeps, self._launch_restart)
            self._graphs = {launch.__name__: self._capture(launch) for launch in launches}
        planned = asdict(capacity) | {"memory_gb": self._bytes() / 2**30}
        self._plan = {
            f"Sim/planned_{k}": torch.tensor(v, device=device) for k, v in planned.items()
        }
        # Otherwise they would change in the last digit at the first randomization.
        self._constants.write(self._fields, self._derived)
        everyone = torch.ones(num_envs, dtype=torch.bool, device=device)
        self.state = self._read_state()
        qpos = self._layout.rest_qpos.repeat(num_envs, 1)
        self._start(everyone, qpos, torch.zeros_like(self._qvel))

    def _allocate(self) -> None:
        """Allocate model and data on the device, and torch views of both."""
        n, size = self.num_envs, self.capacity
        self._m = mjw.put_model(self.model, dict.fromkeys(PER_WORLD, n))
        self._m.opt.warn_overflow = 0  # counted in `metrics` instead of printed by the device
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
        self._ground = {name: wp.to_torch(getattr(self._m, name)) for name in MODEL_FIELDS}
        self._ground["geom_pos"] = wp.to_torch(self._d.geom_xpos)  # of static geoms: written once
        self._persistent = {name: wp.to_torch(getattr(self._d, name)) for name in _PERSISTENT}
        self._qpos, self._qvel = self._persistent["qpos"], self._persistent["qvel"]
        self._ctrl = self._persistent["ctrl"]
        self._sensors = wp.to_torch(self._d.sensordata)
        self._torque = wp.to_torch(self._d.qfrc_actuator)
        self._overflow = wp.to_torch(self._d.overflow)
        self._lost = torch.zeros_like(self._overflow)  # of robots that were reset since
        # Captured graphs read fixed addresses.
        self._targets, self._previous = torch.zeros_like(self._ctrl), torch.zeros_like(self._ctrl)
        self._latency = torch.zeros(n, dtype=torch.int32, device=self.device)
        self._reset_mask = torch.zeros(n, dtype=torch.bool, device=self.device)
        self._new_qpos, self._new_qvel = torch.zeros_like(self._qpos), torch.zeros_like(self._qvel)

    def assign(self, tiles: torch.Tensor) -> None:
        """See `Simulator.assign`."""
        for name, field in self._ground.items():
            field[:, self._slots] = self._tables[name][tiles]

    def step(self, joint_targets: torch.Tensor, latency: torch.Tensor | None = None) -> None:
        """See `Simulator.step`."""
        self.advance(joint_targets, latency)
        self.state = self._read_state()

    def advance(self, joint_targets: torch.Tensor, latency: torch.Tensor | None = None) -> None:
        """`step` without reading the new `state`."""
        self._previous.copy_(self._targets)
        self._targets.copy_(joint_targets)
        if latency is not None:
            self._latency.copy_(latency)
        self._run(self._launch_substeps)

    def reset(self, mask: torch.Tensor, qpos: torch.Tensor, qvel: torch.Tensor) -> None:
        """See `Simulator.reset`."""
        self._start(mask, self._layout.qpos_rows(qpos), self._layout.qvel_rows(qvel))

    def randomize(self, mask: torch.Tensor, parameters: PhysicalParameters) -> None:
        """See `Simulator.randomize`."""
        self._layout.write_parameters(self._fields, mask, parameters)
        # The factorization uses cuSOLVER, which not every version allows in a captured graph.
        outside_graph(lambda: self._constants.write(self._fields, self._derived))

    def push(self, velocity: torch.Tensor) -> None:
        """See `Simulator.push`."""
        self._qvel[:, :2] += velocity

    def translate(self, shift: torch.Tensor) -> None:
        """See `Simulator.translate`."""
        self._qpos[:, :2] += shift
        state = self.state
        offset = torch.nn.functional.pad(shift, (0, 1))
        state.base_pos, state.foot_pos = state.base_pos + offset, state.foot_pos + offset[:, None]

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
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Simulator.load_state_dict`."""
        for name, value in state["fields"].items():
            self._fields[name].copy_(value)
        self._constants.write(self._fields, self._derived)
        for name, value in state["persistent"].items():
            self._persistent[name].copy_(value)
        self._targets.copy_(state["targets"])

    def _start(self, mask: torch.Tensor, qpos: torch.Tensor, qvel: torch.Tensor) -> None:
        """Set the engine states of the masked robots; the `state` of all others is unchanged."""
        chosen = mask[:, None]
        self._lost |= self._overflow  # the reset clears the overflow flags
        self._reset_mask.copy_(mask)
        self._new_qpos.copy_(qpos)
        self._new_qvel.copy_(qvel)
        self._targets.copy_(torch.where(chosen, self._default_ctrl, self._targets))
        self._run(self._launch_restart)
        old, new = self.state, self._read_state()
        self.state = SimState(
            **{
                name: torch.where(
                    mask.view(-1, *[1] * (value.dim() - 1)), value, getattr(old, name)
                )
                for name, value in vars(new).items()
            }
        )

    def _launch_substeps(self) -> None:
        shape, device = self._ctrl.shape, self._warp_device
        arrays = [wp.from_torch(x) for x in (self._latency, self._previous, self._targets)]
        for substep in range(self.config.decimation):
            wp.launch(choose_targets, shape, [substep, *arrays], [self._d.ctrl], device=device)
            mjw.step(self._m, self._d)

    def _launch_restart(self) -> None:
        """Reset the masked worlds, including the warm start, and update their kinematics."""
        m, d = self._m, self._d
        mask = wp.from_torch(self._reset_mask)
        mjw.reset_data(m, d, mask)
        for new, array in (
            (self._new_qpos, d.qpos),
            (self._new_qvel, d.qvel),
            (self._targets, d.ctrl),
        ):
            wp.launch(
                write_rows,
                new.shape,
                [mask, wp.from_torch(new)],
                [array],
                device=self._warp_device,
            )
        mjw.kinematics(m, d)
        mjw.com_pos(m, d)
        mjw.com_vel(m, d)
        mjw.sensor_pos(m, d)
        mjw.sensor_vel(m, d)

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
        held = array_bytes(self._m, self._d)
        return held + scratch_bytes(self.model, self.capacity, self.num_envs)

    @property
    def _warp_device(self) -> wp.Device:
        return wp.device_from_torch(self.device)

    def _read_state(self) -> SimState:
        qpos, qvel = self._qpos.clone(), self._qvel.clone()
        # A NaN velocity fails the comparison.
        sound = (qvel.abs().amax(1) < self.config.max_velocity) & torch.isfinite(qpos.sum(1))
        return self._layout.state(qpos, qvel, self._sensors.clone(), self._torque.clone(), ~sound)


def accepted(model: mujoco.MjModel) -> mujoco.MjModel:
    """A copy without the flag that disables the automatic reset, which MuJoCo Warp does not support."""
    model = copy.copy(model)
    model.opt.disableflags &= ~int(mujoco.mjtDisableBit.mjDSBL_AUTORESET)
    return model

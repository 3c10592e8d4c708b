"""The state that the task reads, written by kernels of the engine's graphs."""

from __future__ import annotations

from typing import Any

import torch
import warp as wp

from legged_ppo.sim.indexing import ModelIndex
from legged_ppo.sim.simulator import SimState
from legged_ppo.sim.warp.kernels import read_base, read_contacts, read_feet, read_joints


class Readings:
    """`SimState` of N robots in two tensors, so that a copy of it takes two torch operators.

    Args:
        max_velocity: robots with a faster entry of qvel have failed.
    """

    def __init__(
        self, layout: ModelIndex, num_envs: int, max_velocity: float, device: torch.device
    ) -> None:
        joints, feet = len(layout.qpos_columns), len(layout.foot_columns) // 9
        penalized = len(layout.penalized_columns)
        self._shapes = {
            **{"base_pos": (3,), "base_quat": (4,), "base_rotation": (3, 3)},
            **{"base_lin_vel": (3,), "base_ang_vel": (3,)},
            **{"joint_pos": (joints,), "joint_vel": (joints,), "joint_torque": (joints,)},
            **{"foot_pos": (feet, 3), "foot_vel": (feet, 3), "foot_force": (feet,)},
        }
        width = sum(torch.Size(shape).numel() for shape in self._shapes.values())
        self._numbers = torch.zeros(num_envs, width, device=device)
        self._flags = torch.zeros(num_envs, penalized + 2, dtype=torch.bool, device=device)
        self._max_velocity, self._rest = max_velocity, layout.rest_qpos
        self._columns = {
            name: getattr(layout, f"{name}_columns").int()
            for name in ("qpos", "qvel", "penalized", "termination")
        }
        # The entries of a sensor follow each other.
        self._columns["foot"] = layout.foot_columns.view(feet, 3, 3)[..., 0].int()

    def state(self) -> SimState:
        """A copy of the readings."""
        return self._views(self._numbers.clone(), self._flags.clone())

    def launch(self, data: Any, mask: torch.Tensor) -> None:
        """Read the state of the masked robots [N] bool from the engine's data; the others keep theirs."""
        view = self._views(self._numbers, self._flags)
        chosen, failed = wp.from_torch(mask), wp.from_torch(view.failed)
        columns = {name: wp.from_torch(values) for name, values in self._columns.items()}
        rest, device = wp.from_torch(self._rest), wp.device_from_torch(mask.device)

        def run(kernel: Any, shape: tuple[int, ...], inputs: list[Any], outputs: list[Any]) -> None:
            wp.launch(kernel, shape, inputs, outputs, device=device)

        n, joints, feet = len(mask), *view.joint_pos.shape[1:], *view.foot_force.shape[1:]
        run(
            read_base,
            (n,),
            [chosen, data.qpos, data.qvel, rest, self._max_velocity],
            [
                *(_vectors(view.base_pos, wp.vec3), _vectors(view.base_quat, wp.vec4)),
                *(_vectors(view.base_rotation, wp.mat33), _vectors(view.base_lin_vel, wp.vec3)),
                *(_vectors(view.base_ang_vel, wp.vec3), failed),
            ],
        )
        run(
            read_joints,
            (n, joints),
            [
                *(chosen, failed, data.qpos, data.qvel, data.qfrc_actuator, rest),
                *(columns["qpos"], columns["qvel"]),
            ],
            [wp.from_torch(x) for x in (view.joint_pos, view.joint_vel, view.joint_torque)],
        )
        run(
            read_feet,
            (n, feet),
            [chosen, failed, data.sensordata, columns["foot"]],
            [
                *(_vectors(view.foot_pos, wp.vec3), _vectors(view.foot_vel, wp.vec3)),
                wp.from_torch(view.foot_force),
            ],
        )
        run(
            read_contacts,
            (n,),
            [chosen, failed, data.sensordata, columns["penalized"], columns["termination"]],
            [wp.from_torch(view.penalized_contact), wp.from_torch(view.termination_contact)],
        )

    def translate(self, shift: torch.Tensor) -> None:
        """Shift positions by [N, 2] m."""
        view = self._views(self._numbers, self._flags)
        view.base_pos[:, :2].add_(shift)  # of `+=` torch would copy the slice to itself
        view.foot_pos[..., :2].add_(shift[:, None])

    def _views(self, numbers: torch.Tensor, flags: torch.Tensor) -> SimState:
        sizes = [torch.Size(shape).numel() for shape in self._shapes.values()]
        parts = zip(self._shapes.items(), numbers.split(sizes, dim=1), strict=True)
        return SimState(
            **{name: part.unflatten(1, shape) for (name, shape), part in parts},
            penalized_contact=flags[:, :-2],
            termination_contact=flags[:, -2],
            failed=flags[:, -1],
        )


def _vectors(values: torch.Tensor, kind: Any) -> wp.array:
    return wp.from_torch(values, dtype=kind)

"""The seam between task and physics: what every engine must offer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch


@dataclass
class SimState:
    """What the task may know of the robots, float32 on the simulator's device. N robots, J joints,
    F feet. A robot whose physics failed shows the default pose at rest, so that every entry is finite.
    """

    base_pos: torch.Tensor
    """[N, 3] m, world"""
    base_quat: torch.Tensor
    """[N, 4] w, x, y, z"""
    base_rotation: torch.Tensor
    """[N, 3, 3], columns: the base's axes in the world"""
    base_lin_vel: torch.Tensor
    """[N, 3] m/s, base frame"""
    base_ang_vel: torch.Tensor
    """[N, 3] rad/s, base frame"""
    joint_pos: torch.Tensor
    """[N, J] rad"""
    joint_vel: torch.Tensor
    """[N, J] rad/s"""
    joint_torque: torch.Tensor
    """[N, J] N m, applied in the last substep, after the limits"""
    foot_pos: torch.Tensor
    """[N, F, 3] m, world, centre of the foot (one substep old)"""
    foot_vel: torch.Tensor
    """[N, F, 3] m/s, world (one substep old)"""
    foot_force: torch.Tensor
    """[N, F] N, size of the terrain's force on the foot (in the last substep)"""
    penalized_contact: torch.Tensor
    """[N, P] bool, a collision geom of a penalised body touches the terrain"""
    termination_contact: torch.Tensor
    """[N] bool, a termination body touches the terrain"""
    failed: torch.Tensor
    """[N] bool, the last step gave a state that is not finite or too fast, or the engine reported it"""


@dataclass
class PhysicalParameters:
    """Per-robot physical parameters, [N] unless said."""

    friction: torch.Tensor
    """sliding friction coefficient of the feet"""
    added_mass: torch.Tensor
    """kg on the base"""
    com_shift: torch.Tensor
    """[N, 3] m, of the base's centre of mass"""
    kp_scale: torch.Tensor
    kd_scale: torch.Tensor
    motor_strength: torch.Tensor
    armature_scale: torch.Tensor
    """of every joint's armature, the motors' inertia"""

    def rows(self, which: slice) -> PhysicalParameters:
        """Those of some robots."""
        return PhysicalParameters(**{name: value[which] for name, value in vars(self).items()})


class Simulator(Protocol):
    """N copies of one robot on one terrain."""

    num_envs: int
    device: torch.device
    state: SimState

    def assign(self, tiles: torch.Tensor) -> None:
        """Say on which tile of the terrain each robot lives, before it is reset there.

        An engine may leave all other ground out. What must be reset or loaded next: a robot whose level
        changes, all robots when the column of any of them changes.

        Args:
            tiles: [N] int64, column times `Terrain.num_levels` plus level.
        """
        ...

    def step(self, joint_targets: torch.Tensor, latency: torch.Tensor | None = None) -> None:
        """One control step: `decimation` substeps with the PD law inside the engine.

        Args:
            joint_targets: [N, J] rad.
            latency: [N] int64, substeps for which the previous targets stay; None for none.
        """
        ...

    def reset(self, mask: torch.Tensor, qpos: torch.Tensor, qvel: torch.Tensor) -> None:
        """Re-initialise exactly the masked robots, solver warm start included, without a step.

        Args:
            mask: [N] bool.
            qpos: [N, 7 + J] base position, base quaternion, joint angles.
            qvel: [N, 6 + J] base velocity (linear: world, angular: base frame), joint velocities.
        """
        ...

    def randomize(self, mask: torch.Tensor, parameters: PhysicalParameters) -> None:
        """Give the masked robots these physical parameters."""
        ...

    def push(self, velocity: torch.Tensor) -> None:
        """Add [N, 2] m/s to the bases' planar world velocity."""
        ...

    def translate(self, shift: torch.Tensor) -> None:
        """Move the robots by [N, 2] m in the world, `state` with them; nothing else changes."""
        ...

    def metrics(self) -> dict[str, torch.Tensor]:
        """Scalars of the engine's health since the last call, to be read once an iteration."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that the physics needs to go on bit for bit, but for the robots' tiles."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there; robots must have been assigned to the same tiles."""
        ...

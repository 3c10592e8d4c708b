"""The interface between task and physics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch


@dataclass
class SimState:
    """State of N robots with J joints and F feet, float32 on the simulator's device.

    The entries of a robot whose physics failed are those of the default pose at rest, so all are finite.
    """

    base_pos: torch.Tensor
    """[N, 3] m, world"""
    base_quat: torch.Tensor
    """[N, 4] w, x, y, z"""
    base_rotation: torch.Tensor
    """[N, 3, 3], columns: axes of the base in the world frame"""
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
    """[N, F] N, norm of the contact force on the foot (in the last substep)"""
    penalized_contact: torch.Tensor
    """[N, P] bool, a collision geom of a penalised body touches the terrain"""
    termination_contact: torch.Tensor
    """[N] bool, a termination body touches the terrain"""
    failed: torch.Tensor
    """[N] bool: after the last step the state was not finite or too fast, or the engine raised an error"""


@dataclass
class PhysicalParameters:
    """Physical parameters per robot, [N] unless another shape is given."""

    friction: torch.Tensor
    """sliding friction coefficient of the feet"""
    added_mass: torch.Tensor
    """kg, added to the base"""
    com_shift: torch.Tensor
    """[N, 3] m, shift of the centre of mass of the base"""
    kp_scale: torch.Tensor
    """factor of the position gain"""
    kd_scale: torch.Tensor
    """factor of the damping gain"""
    motor_strength: torch.Tensor
    """factor of both gains"""
    armature_scale: torch.Tensor
    """factor of the armature (rotor inertia) of every joint"""
    body: torch.Tensor | None = None
    """int64, which of the kept bodies has this mass, centre of mass and armature; None if there are none, see
    `KeepsBodies`"""

    def rows(self, which: slice) -> PhysicalParameters:
        """The parameters of a slice of the robots."""
        values = {name: value for name, value in vars(self).items() if value is not None}
        return PhysicalParameters(**{name: value[which] for name, value in values.items()})


class Simulator(Protocol):
    """N copies of one robot on one terrain."""

    num_envs: int
    device: torch.device
    state: SimState

    def assign(self, tiles: torch.Tensor) -> None:
        """Assign each robot to a tile of the terrain, before it is reset there.

        An engine may leave out all other ground. A robot whose level changes must be reset or loaded
        next; if the column of any robot changes, all robots must.

        Args:
            tiles: [N] int64, column times `Terrain.num_levels` plus level.
        """
        ...

    def step(self, joint_targets: torch.Tensor, latency: torch.Tensor | None = None) -> None:
        """One control step: `decimation` substeps with the PD law inside the engine.

        Args:
            joint_targets: [N, J] rad.
            latency: [N] int64, substeps during which the previous targets apply; None for no latency.
        """
        ...

    def reset(
        self,
        mask: torch.Tensor,
        qpos: torch.Tensor,
        qvel: torch.Tensor,
        parameters: PhysicalParameters | None = None,
    ) -> None:
        """Re-initialise the masked robots, including the solver warm start, without stepping.

        Args:
            mask: [N] bool.
            qpos: [N, 7 + J] base position, base quaternion, joint angles.
            qvel: [N, 6 + J] base velocity (linear: world, angular: base frame), joint velocities.
            parameters: set with it, as by `randomize`; None leaves them.
        """
        ...

    def randomize(self, mask: torch.Tensor, parameters: PhysicalParameters) -> None:
        """Set the physical parameters of the masked robots."""
        ...

    def push(self, velocity: torch.Tensor) -> None:
        """Add [N, 2] m/s to the planar world velocity of the bases."""
        ...

    def translate(self, shift: torch.Tensor) -> None:
        """Translate the robots, and their entries of `state`, by [N, 2] m in the world."""
        ...

    def metrics(self) -> dict[str, torch.Tensor]:
        """Scalar health metrics since the last call, read once per iteration."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything except the tiles that is needed to continue bit for bit."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a `state_dict`; the robots must have been assigned to the same tiles."""
        ...


@runtime_checkable
class KeepsBodies(Protocol):
    """A `Simulator` that gives robots one of a number of bodies, because the constants that follow from a new
    body are too slow for every reset."""

    num_bodies: int
    """K"""

    def keep_bodies(self, bodies: PhysicalParameters) -> None:
        """Compute the constants of these bodies, [K] each. Called once, before a reset that uses one."""
        ...

"""What tests do with a simulator, whichever engine it is."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch

from legged_ppo.sim.mujoco_c import MujocoC
from legged_ppo.sim.simd.engine import Simd
from legged_ppo.sim.simulator import PhysicalParameters

Engine = MujocoC | Simd
E = TypeVar("E", bound=Engine)
MASKED = torch.tensor([False, True, False, True])


def targets(simulator: Engine, step: int, size: float = 0.3) -> torch.Tensor:
    """Joint targets [N, 12] that differ between robots and steps."""
    generator = torch.Generator().manual_seed(step)
    default = torch.tensor(simulator._robot.default_joint_pos).float()
    return default + size * torch.randn(simulator.num_envs, 12, generator=generator)


def walk(simulator: E, steps: range, latency: torch.Tensor | None = None) -> E:
    for step in steps:
        simulator.step(targets(simulator, step), latency)
    return simulator


def hold(simulator: E, seconds: float) -> E:
    """Stand on the default pose."""
    for _ in range(round(seconds / 0.02)):
        simulator.step(targets(simulator, 0, size=0.0))
    return simulator


def pose(
    simulator: Engine,
    position: tuple[float, float, float] = (0.0, 0.0, 0.33),
    quat: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0),
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows (qpos [N, 19], qvel [N, 18]) of the default pose at rest at this base pose."""
    joints = simulator._robot.default_joint_pos
    qpos = torch.tensor([*position, *quat, *joints]).float().repeat(simulator.num_envs, 1)
    return qpos, torch.zeros(simulator.num_envs, 18)


def nominal(num_envs: int, **changes: float) -> PhysicalParameters:
    one = torch.ones(num_envs)
    values = {"friction": 0.8, "added_mass": 0.0, "kp_scale": 1.0, "kd_scale": 1.0}
    values |= {"motor_strength": 1.0, "armature_scale": 1.0, "com_shift": 0.0} | changes
    com_shift = values.pop("com_shift") * torch.tensor([1.0, 0.0, 0.0]).repeat(num_envs, 1)
    return PhysicalParameters(
        com_shift=com_shift, **{name: value * one for name, value in values.items()}
    )


def rows(simulator: Engine) -> np.ndarray:
    """The engine's whole state [N, columns], warm start included."""
    return simulator.state_dict()["rows"].numpy()


def assert_same_state(a: Engine, b: Engine, where: torch.Tensor | slice = slice(None)) -> None:
    np.testing.assert_array_equal(rows(a)[where], rows(b)[where])
    for name, value in vars(a.state).items():
        assert torch.equal(value[where], getattr(b.state, name)[where]), name


def assert_failed_alone(simulator: Engine, reference: Engine, bad: int) -> None:
    others = torch.arange(simulator.num_envs) != bad
    assert torch.equal(simulator.state.failed, ~others)
    assert all(v.isfinite().all() for v in vars(simulator.state).values())
    assert (
        simulator.state.joint_vel[bad].eq(0).all() and simulator.state.foot_force[bad].eq(0).all()
    )
    assert_same_state(simulator, reference, others)

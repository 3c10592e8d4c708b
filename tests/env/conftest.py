"""The task in front of a simulator without physics, so that what it measures is known by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
import torch

from legged_ppo.config.schema import Config, RandomizationConfig, RewardConfig, TerrainConfig
from legged_ppo.env.locomotion import LocomotionEnv
from legged_ppo.env.rewards import TERMS
from legged_ppo.robots.spec import load_robot
from legged_ppo.sim.rotations import rotation_matrix
from legged_ppo.sim.simulator import PhysicalParameters, SimState
from legged_ppo.terrain.grid import Terrain, build_terrain


class KinematicState(SimState):
    """A state whose rotation follows from the quaternion that a test sets."""

    @property
    def base_rotation(self) -> torch.Tensor:  # type: ignore[override]
        return rotation_matrix(self.base_quat)

    @base_rotation.setter
    def base_rotation(self, _: torch.Tensor) -> None: ...


class KinematicSimulator:
    """`Simulator` whose `state` tests set themselves: a step changes nothing, a reset the pose."""

    def __init__(self, num_envs: int, default_joint_pos: torch.Tensor) -> None:
        self.num_envs, self.device = num_envs, torch.device("cpu")
        n, shapes = num_envs, {"base": (3,), "joint": (12,), "foot": (4, 3)}
        values = {f.name: torch.zeros(n, *shapes[f.name.split("_")[0]]) for f in _VECTORS}
        values["base_quat"] = torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(n, 1)
        values["base_pos"] = torch.tensor([0.0, 0.0, 0.3]).repeat(n, 1)
        values["joint_pos"] = default_joint_pos.repeat(n, 1)
        values["foot_force"] = torch.full((n, 4), 40.0)
        values["penalized_contact"] = torch.zeros(n, 8, dtype=torch.bool)
        for name in ("termination_contact", "failed"):
            values[name] = torch.zeros(n, dtype=torch.bool)
        self.state = KinematicState(**values, base_rotation=torch.empty(0))

    def assign(self, tiles: torch.Tensor) -> None:
        self.tiles = tiles.clone()

    def step(self, joint_targets: torch.Tensor, latency: torch.Tensor | None = None) -> None:
        self.targets = joint_targets

    def reset(
        self,
        mask: torch.Tensor,
        qpos: torch.Tensor,
        qvel: torch.Tensor,
        parameters: PhysicalParameters | None = None,
    ) -> None:
        if parameters is not None:
            self.randomized = mask
        self.tiles_at_reset = self.tiles
        state, chosen = self.state, mask[:, None]
        state.base_pos = torch.where(chosen, qpos[:, :3], state.base_pos)
        state.base_quat = torch.where(chosen, qpos[:, 3:7], state.base_quat)
        state.joint_pos = torch.where(chosen, qpos[:, 7:], state.joint_pos)
        state.joint_vel = torch.where(chosen, qvel[:, 6:], state.joint_vel)
        state.foot_force = torch.where(chosen, 40.0, state.foot_force)

    def push(self, velocity: torch.Tensor) -> None:
        self.pushed = velocity

    def translate(self, shift: torch.Tensor) -> None:
        offset = torch.nn.functional.pad(shift, (0, 1))
        self.state.base_pos = self.state.base_pos + offset
        self.state.foot_pos = self.state.foot_pos + offset[:, None]

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


_VECTORS = [
    f
    for f in fields(SimState)
    if f.name
    not in ("base_rotation", "foot_force", "penalized_contact", "termination_contact", "failed")
]


@pytest.fixture
def kinematic() -> Callable[..., LocomotionEnv]:
    """`LocomotionEnv` of a config, a number of robots and perhaps a terrain, without physics."""

    def build(config: Config, num_envs: int, terrain: Terrain | None = None) -> LocomotionEnv:
        robot = load_robot(config.robot)
        simulator = KinematicSimulator(num_envs, torch.tensor(robot.default_joint_pos).float())
        generator = torch.Generator().manual_seed(0)
        ground = terrain or build_terrain(config.terrain)
        return LocomotionEnv(config, robot, ground, simulator, generator)

    return build


@pytest.fixture
def busy(quiet: Config) -> Config:
    """Everything on: two terrains, noise, headings, latency, pushes, time-outs, all rewards."""
    quiet.terrain = TerrainConfig(
        proportions={"flat": 0.5, "rough": 0.5}, num_levels=2, tile_size=6.0
    )
    task = quiet.task
    task.episode_length_s = 0.6
    task.observations.noise = True
    task.commands.heading, task.commands.resample_time_s = True, 0.3
    task.rewards = RewardConfig(**dict.fromkeys(TERMS, 0.1), air_time_target=0.01)
    task.randomization = RandomizationConfig(
        latency_s=[0.0, 0.02], push_interval_s=0.4, armature_scale=[0.5, 2.0]
    )
    return quiet

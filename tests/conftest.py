"""Shared by the tests: a small environment for the learner and the robots of the recipes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from legged_ppo.algorithms import collector
from legged_ppo.config.schema import Config, RobotConfig, TerrainConfig
from legged_ppo.env import commands, locomotion
from legged_ppo.interface import Environment, Observations, StepResult
from legged_ppo.sim import indexing

pytest_plugins = ["checkpoints", "extension_modules"]


class EndingEnv(Environment):
    """A noisy linear system without physics; a step ends an episode by fall or time, 15 % each.

    Every step's result is kept in `history`. The groups have offsets and scales of their own, so
    that observation statistics matter.
    """

    fits_graphs = True

    def __init__(self, num_envs: int, seed: int = 0) -> None:
        self.num_envs, self.num_actions, self.device = num_envs, 3, torch.device("cpu")
        self.obs_dims = {"proprioception": 5, "scandots": 6, "commands": 2, "privileged": 3}
        self.episode_metrics, self.step_metrics = ["count", "return", "length"], ["reward"]
        self.generator = torch.Generator().manual_seed(seed)
        self._width = sum(self.obs_dims.values())
        self._input = self._randn(self.num_actions, self._width)
        self._offset, self._scale = 3.0 * self._randn(self._width), self._randn(self._width).exp()
        self.history: list[StepResult] = []
        self._x = torch.zeros(num_envs, self._width)

    def reset(self) -> Observations:
        self._x.copy_(self._randn(self.num_envs, self._width))
        return self._observe()

    def step(self, actions: torch.Tensor) -> StepResult:
        noise = self._randn(self.num_envs, self._width)
        self._x.copy_(0.7 * self._x + 0.3 * (actions @ self._input).tanh() + 0.3 * noise)
        reward = -self._x[:, :3].square().sum(1)
        chance = torch.rand(self.num_envs, generator=self.generator)
        terminated, truncated = chance < 0.15, chance > 0.85
        final_obs, done = self._observe(), terminated | truncated
        fresh = self._randn(self.num_envs, self._width)
        self._x.copy_(torch.where(done[:, None], fresh, self._x))
        info = {"episode": done.sum() * torch.ones(3), "step": reward.sum()[None]}
        result = StepResult(self._observe(), reward, terminated, truncated, final_obs, info)
        self.history.append(result)
        return result

    def state_dict(self) -> dict[str, Any]:
        return {"x": self._x.clone(), "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._x.copy_(state["x"])
        self.generator.set_state(state["generator"])

    def _observe(self) -> Observations:
        scaled = self._offset + self._scale * self._x
        parts = scaled.split(list(self.obs_dims.values()), dim=1)
        return dict(zip(self.obs_dims, parts, strict=True))

    def _randn(self, *shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=self.generator)


@pytest.fixture
def make_env() -> Callable[..., Environment]:
    return EndingEnv  # type: ignore[return-value]


@pytest.fixture(scope="session")
def robot_config() -> Callable[[str], RobotConfig]:
    """The robot section of a recipe group, by its name."""
    groups = Path(__file__).parents[1] / "configs" / "robot"
    return lambda name: RobotConfig(**yaml.safe_load((groups / f"{name}.yaml").read_text()))


@pytest.fixture
def quiet(robot_config: Callable[[str], RobotConfig]) -> Config:
    """A Go2 on the plane without noise, randomization or pushes; tests switch on what they need."""
    config = Config(robot=robot_config("go2"), terrain=TerrainConfig(tile_size=16.0))
    config.sim.threads = 1
    config.task.observations.noise = False
    randomization = config.task.randomization
    for name in ("friction", "added_mass", "com_shift", "kp_scale", "kd_scale", "motor_strength"):
        setattr(randomization, name, [])
    randomization.push_interval_s = randomization.init_joint_pos = randomization.init_velocity = 0.0
    return config


@pytest.fixture
def small_warp() -> list[str]:
    """A few robots on MuJoCo Warp, over every type of tile."""
    sizes = ["sim.contacts=48", "sim.constraints=160", "sim.convex_pairs=48"]
    ground = ["terrain=full", "terrain.num_levels=2", "terrain.max_initial_level=1"]
    return ["+preset=debug", "sim.engine=mujoco_warp", *sizes, *ground]


@pytest.fixture
def as_on_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left out because it concerns nobody: to know that would mean to wait for the device."""
    for module in (commands, locomotion, indexing):
        monkeypatch.setattr(module, "any_without_sync", lambda mask: True)
    for module in (collector, locomotion):
        monkeypatch.setattr(module, "rows_without_sync", lambda mask: torch.arange(len(mask)))
    monkeypatch.setattr(collector, "finite_without_sync", lambda tensors: False)

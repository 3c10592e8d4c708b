"""An extension with the smallest environment: a point on a line is pushed and should stay at 0."""

from __future__ import annotations

from typing import Any

import torch

from legged_ppo.config.schema import Config
from legged_ppo.interface import Environment, Observations, StepResult

_EPISODE_STEPS = 20


class Point(Environment):
    """N points; an episode ends after 20 steps."""

    def __init__(self, config: Config, num_envs: int, seed: int, device: torch.device) -> None:
        self.num_envs, self.num_actions, self.device = num_envs, 1, device
        self.obs_dims = {"position": 1}
        self.episode_metrics, self.step_metrics = ["count", "return", "length"], []
        self.success_return = -100.0
        self.generator = torch.Generator(device).manual_seed(seed)
        self.x = torch.zeros(3, num_envs, device=device)  # position, age, return

    def reset(self) -> Observations:
        """See `Environment`."""
        self.x[0] = torch.rand(self.num_envs, generator=self.generator)
        self.x[1:] = 0.0
        return self._observe()

    def step(self, actions: torch.Tensor) -> StepResult:
        """See `Environment`."""
        noise = torch.rand(self.num_envs, generator=self.generator) - 0.5
        self.x[0] += 0.2 * actions[:, 0].clamp(-1, 1) + 0.1 * noise
        reward = -self.x[0].abs()
        self.x[1:] += torch.stack([torch.ones_like(reward), reward])
        final, ended = self._observe(), self.x[1] >= _EPISODE_STEPS
        sums = {"episode": (ended * self.x[[1, 2, 1]]).sum(1), "step": torch.zeros(0)}
        sums["episode"][0] = ended.sum()
        self.x *= ~ended
        return StepResult(self._observe(), reward, torch.zeros_like(ended), ended, final, sums)

    def state_dict(self) -> dict[str, Any]:
        """See `Environment`."""
        return {"x": self.x.clone(), "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Environment`."""
        self.x.copy_(state["x"])
        self.generator.set_state(state["generator"])

    def _observe(self) -> Observations:
        return {"position": self.x[0, :, None].clone()}


ENVIRONMENTS = {"point": Point}

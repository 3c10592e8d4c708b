"""An environment with a mirrored copy of every robot."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from legged_ppo.config.schema import Config
from legged_ppo.errors import ConfigError
from legged_ppo.interface import Environment, Observations, StepResult, Symmetry, TensorFunction


def required_symmetry(config: Config, env: Environment) -> Symmetry | None:
    """The symmetry that `ppo.symmetry` uses; None where it uses none.

    Raises:
        ConfigError: the environment defines no symmetry.
    """
    if config.ppo.symmetry == "none":
        return None
    if env.symmetry is None:
        expected = f"none: the environment of {config.subject} defines no symmetry"
        raise ConfigError("ppo.symmetry", config.ppo.symmetry, expected)
    return env.symmetry


class SymmetryAugmentedEnv(Environment):
    """N robots and a mirrored copy of each: the policy sees and acts for 2 N.

    A copy executes its robot's action, mirrored (`mirror_actions`); its recurrent state comes from the
    mirrored observations.
    """

    def __init__(self, env: Environment, mirror: Symmetry) -> None:
        self.env, self._mirror = env, mirror
        self.num_envs = 2 * env.num_envs
        self.num_actions, self.device, self.obs_dims = env.num_actions, env.device, env.obs_dims
        self.episode_metrics, self.step_metrics = env.episode_metrics, env.step_metrics

    @property
    def env_groups(self) -> torch.Tensor | None:
        """See `Environment`."""
        own = self.env.env_groups
        return None if own is None else torch.cat([own, own])

    def mirror_actions(
        self, actions: torch.Tensor, log_probs: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Actions [2 N, A] in which a copy's is its robot's, mirrored, and the log-probabilities [2 N] with
        which they were drawn: the robot's for the copy too, because its action was not sampled."""
        own = actions[: self.env.num_envs]
        coupled = torch.cat([own, self._mirror.actions(own)])
        return coupled, log_probs[: self.env.num_envs].repeat(2)

    def compiled(self, function: TensorFunction, rows: int) -> TensorFunction:
        """See `Environment`."""
        return self.env.compiled(function, rows)

    def reset(self) -> Observations:
        """See `Environment`."""
        return self._with_copies(self.env.reset())

    def step(self, actions: torch.Tensor) -> StepResult:
        """See `Environment`."""
        result = self.env.step(actions[: self.env.num_envs])
        flags = {n: getattr(result, n).repeat(2) for n in ("reward", "terminated", "truncated")}
        return replace(
            result,
            obs=self._with_copies(result.obs),
            final_obs=None if result.final_obs is None else self._with_copies(result.final_obs),
            **flags,
        )

    def set_progress(self, progress: float) -> None:
        """See `Environment`."""
        self.env.set_progress(progress)

    def metrics(self) -> dict[str, torch.Tensor]:
        """See `Environment`."""
        return self.env.metrics()

    def curriculum_report(self) -> dict[str, Any] | None:
        """See `Environment`."""
        return self.env.curriculum_report()

    def begin_whole_episodes(self) -> None:
        """See `Environment`."""
        self.env.begin_whole_episodes()

    def state_dict(self) -> dict[str, Any]:
        """See `Environment`."""
        return self.env.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Environment`."""
        self.env.load_state_dict(state)

    def load_levels(self, states: list[dict[str, Any]]) -> None:
        """See `Environment`."""
        self.env.load_levels(states)

    def render(self) -> np.ndarray | None:
        """See `Environment`."""
        return self.env.render()

    def close(self) -> None:
        """See `Environment`."""
        self.env.close()

    def _with_copies(self, obs: Observations) -> Observations:
        copies = self._mirror.reflect(obs)
        return {name: torch.cat([group, copies[name]]) for name, group in obs.items()}

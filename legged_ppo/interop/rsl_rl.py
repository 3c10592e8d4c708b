"""Our environment for rsl_rl's runner: `OnPolicyRunner(RslRlEnv(make_locomotion_env(config, 4096, seed)), cfg,
log_dir)`. The other direction is `legged_ppo.interop.vec_env.FromRslRl`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from rsl_rl.env import VecEnv
from tensordict import TensorDict

from legged_ppo.env.locomotion import LocomotionEnv
from legged_ppo.interface import Observations


class RslRlEnv(VecEnv):
    """`LocomotionEnv` behind the interface of rsl-rl-lib 5.

    Observation groups keep their names (`proprioception`, `commands`, `scandots`, `privileged`, ...);
    the runner's `obs_groups` assigns them to actor and critic. Time limits are reported as
    `time_outs`. rsl_rl bootstraps them with the value of the observation before the last step: it has
    no place for the last one, which `LocomotionEnv.step` returns as `final_obs`. Commands have their full ranges
    from the start (no `task.commands.initial_scale`): the runner does not pass its progress.
    """

    def __init__(self, env: LocomotionEnv) -> None:
        self.env = env
        self.num_envs, self.num_actions, self.device = env.num_envs, env.num_actions, env.device
        self.max_episode_length = env.max_episode_length
        self.cfg = asdict(env.config)
        self._obs = self._pack(env.reset())
        self._episodes = torch.zeros(len(env.episode_metrics), device=env.device)
        """Sums of the episode metrics over ended episodes, with exponential forgetting."""

    @property
    def episode_length_buf(self) -> torch.Tensor:
        """[N] int64, control steps since each episode's start"""
        return self.env.episode_length

    @episode_length_buf.setter
    def episode_length_buf(self, lengths: torch.Tensor) -> None:
        self.env.episode_length.copy_(lengths)

    def get_observations(self) -> TensorDict:
        return self._obs

    def step(
        self, actions: torch.Tensor
    ) -> tuple[TensorDict, torch.Tensor, torch.Tensor, dict[str, Any]]:
        """One control step; dones are int64, as rsl_rl's own environments return them."""
        result = self.env.step(actions)
        self._obs = self._pack(result.obs)
        dones = (result.terminated | result.truncated).long()
        extras = {"time_outs": result.truncated, "log": self._log(result.info)}
        return self._obs, result.reward, dones, extras

    def _pack(self, obs: Observations) -> TensorDict:
        return TensorDict(dict(obs), batch_size=[self.num_envs], device=self.device)

    def _log(self, info: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Tracking errors of this step, means over the robots; reward terms and outcomes, means over the
        episodes that ended about within the last episode length (0 before the first end)."""
        means = info["step"] / self.num_envs
        self._episodes.mul_(1.0 - 1.0 / self.max_episode_length).add_(info["episode"])
        ended = self._episodes / self._episodes[0].clamp(min=torch.finfo(torch.float32).tiny)
        figures = zip(self.env.episode_metrics, ended, strict=True)
        return {
            **{f"/{name}": v for name, v in zip(self.env.step_metrics, means, strict=True)},
            **{name: value for name, value in figures if name.startswith("Episode/")},
        }

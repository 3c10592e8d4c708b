"""Our environment for rsl_rl: `OnPolicyRunner(RslRlEnv(make_env(config, 4096, seed)), cfg, log_dir)`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from rsl_rl.env import VecEnv
from tensordict import TensorDict

from legged_ppo.env.environment import Observations
from legged_ppo.env.locomotion import LocomotionEnv


class RslRlEnv(VecEnv):
    """`LocomotionEnv` behind the interface of rsl-rl-lib 5.

    Observation groups keep their names (`proprioception`, `commands`, `scandots`, `privileged`, ...);
    the runner's `obs_groups` says which of them actor and critic see. Time limits are reported as
    `time_outs`. rsl_rl bootstraps them with the value of the observation before the last step: it has
    no place for the last one, which `LocomotionEnv.step` returns as `final_obs`.
    """

    def __init__(self, env: LocomotionEnv) -> None:
        self.env = env
        self.num_envs, self.num_actions, self.device = env.num_envs, env.num_actions, env.device
        self.max_episode_length = env.max_episode_length
        self.cfg = asdict(env.config)
        self._obs = self._pack(env.reset())

    @property
    def episode_length_buf(self) -> torch.Tensor:
        """[N] int64, control steps since each episode's start"""
        return self.env.episode_length

    @episode_length_buf.setter
    def episode_length_buf(self, lengths: torch.Tensor) -> None:
        self.env.episode_length = lengths

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
        """Tracking errors of this step, means over the robots."""
        means = info["step"] / self.num_envs
        return {f"/{name}": value for name, value in zip(self.env.step_metrics, means, strict=True)}

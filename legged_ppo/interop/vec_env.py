"""Environments of rsl_rl's or legged_gym's interface for our trainer: `FromRslRl`."""

from __future__ import annotations

from typing import Any

import torch

from legged_ppo.errors import ConfigError
from legged_ppo.interface import Environment, Observations, StepResult
from legged_ppo.interop.remote.worker import first_groups, groups_of, logged_of
from legged_ppo.models.trunks import PRIVILEGED


class FromRslRl(Environment):
    """Any VecEnv of rsl_rl as an `Environment` for our trainer: of versions 3 to 5 (mjlab's, Isaac Lab's), or of
    the older ones, which return tensors, and legged_gym's, which also returns privileged observations. Arrays of
    NumPy are taken as well.

    Such environments hide an episode's last observation and cannot be saved. So a time limit is
    bootstrapped with the value of the observation before the last step, as rsl_rl does, and a resumed
    run begins new episodes.

    Args:
        groups: our names of its observation groups; the default keeps them, but for `critic`, which
            only the critic receives (`policy.critic_privileged=true`). Groups that are left out are not used.
            Observations that are a plain tensor are the group `policy`.
        device: of what the trainer receives; None takes the environment's.

    Raises:
        ConfigError: the environment has no group of such a name, or one that is not [N, width].
    """

    def __init__(
        self,
        env: Any,
        groups: dict[str, str] | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        self.env = env
        self.num_envs, self.num_actions = int(env.num_envs), int(env.num_actions)
        self._its_device = torch.device(env.device)
        self.device = self._its_device if device is None else torch.device(device)
        self.max_episode_steps = int(getattr(env, "max_episode_length", 0))
        obs = first_groups(env)
        self._arrays = not torch.is_tensor(next(iter(obs.values())))
        self._groups = groups or {n: PRIVILEGED if n == "critic" else n for n in sorted(obs)}
        self.obs_dims = {ours: self._width(theirs, obs) for theirs, ours in self._groups.items()}
        self.episode_metrics = ["count", "return", "length"]
        self.step_metrics: list[str] = []
        self._returns = torch.zeros(self.num_envs, device=self.device)
        self._lengths = torch.zeros(self.num_envs, device=self.device)
        self._logged: dict[str, list[Any]] = {}
        """Sum and number of the values that each metric was given since `metrics` was called."""
        self._means: dict[str, Any] = {}
        self._obs = self._named(obs)
        self._spread = True

    def begin_whole_episodes(self) -> None:
        self._spread = False

    def _width(self, name: str, obs: dict[str, Any]) -> int:
        if name not in obs:
            raise ConfigError("groups", name, "a group of the environment", choices=obs)
        shape = tuple(getattr(obs[name], "shape", ()))
        if len(shape) != 2:
            found = f"{name} of {shape or type(obs[name]).__name__}"
            raise ConfigError("groups", found, f"one tensor of ({self.num_envs}, width)")
        return int(shape[1])

    def reset(self) -> Observations:
        """The observations as they are: rsl_rl's environments are reset by their steps alone. For a training the
        episodes' clocks are spread, as its runner spreads them: otherwise all would always end together."""
        if self._spread and hasattr(self.env, "episode_length_buf"):
            clocks = torch.as_tensor(self.env.episode_length_buf)
            clocks = torch.randint_like(clocks, high=int(self.env.max_episode_length))
            self.env.episode_length_buf = clocks.numpy() if self._arrays else clocks
        return self._obs

    def step(self, actions: torch.Tensor) -> StepResult:
        given: Any = actions.cpu().numpy() if self._arrays else actions.to(self._its_device)
        observed, *privileged, rewards, dones, extras = self.env.step(given)
        ended, reward = self._tensor(dones, torch.bool), self._tensor(rewards)
        truncated = ended & self._tensor(
            extras.get("time_outs", torch.zeros_like(ended)), torch.bool
        )
        self._obs = self._named(groups_of(observed, extras, *privileged))
        for name, value in logged_of(extras).items():
            entry = self._logged.setdefault(_metric_name(name), [0.0, 0])
            entry[0] = entry[0] + (value.float().mean() if torch.is_tensor(value) else value)
            entry[1] += 1
        self._returns += reward
        self._lengths += 1
        over = ended.to(self._returns.dtype)
        sums = [over, self._returns * over, self._lengths * over]
        episode = torch.stack(sums).sum(1)
        self._returns, self._lengths = self._returns * (1 - over), self._lengths * (1 - over)
        return StepResult(
            obs=self._obs,
            reward=reward,
            terminated=ended & ~truncated,
            truncated=truncated,
            final_obs=None,
            info={"episode": episode, "step": torch.zeros(0, device=self.device)},
        )

    def metrics(self) -> dict[str, torch.Tensor]:
        """Means of what the environment logged since the last call; without a new value the mean before.

        Reward terms are `Episode/rew_<term>`, other figures `Env/<name>`.
        """
        self._means |= {name: total / count for name, (total, count) in self._logged.items()}
        self._logged = {}
        return {name: torch.as_tensor(value) for name, value in self._means.items()}

    def close(self) -> None:
        if hasattr(self.env, "close"):
            self.env.close()

    def _named(self, groups: dict[str, Any]) -> Observations:
        return {ours: self._tensor(groups[theirs]) for theirs, ours in self._groups.items()}

    def _tensor(self, values: Any, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """A copy, because the environment may write the next step's values into the same memory."""
        return torch.as_tensor(values).to(self.device, dtype, copy=True)


def _metric_name(name: str) -> str:
    """Our name of a figure; reward terms are `rew_x` in legged_gym and `Episode_Reward/x` in Isaac Lab."""
    name = name.strip("/")
    for prefix in ("Episode/rew_", "Episode_Reward/", "rew_"):
        if name.startswith(prefix):
            return f"Episode/rew_{name.removeprefix(prefix)}"
    return f"Env/{name}"

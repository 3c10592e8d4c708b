"""rsl_rl both ways.

Our environment for its runner: `OnPolicyRunner(RslRlEnv(make_locomotion_env(config, 4096, seed)), cfg, log_dir)`.
Its environments for our trainer: `Trainer(config, FromRslRl(vec_env), run, scorer=None)`.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from rsl_rl.env import VecEnv
from tensordict import TensorDict

from legged_ppo.env.locomotion import LocomotionEnv
from legged_ppo.interface import Environment, Observations, StepResult
from legged_ppo.models.trunks import PRIVILEGED


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


class FromRslRl(Environment):
    """Any VecEnv of rsl_rl as an `Environment` for our trainer: of version 5 (mjlab's, Isaac Lab's), or of the
    older ones, which return tensors, and legged_gym's, which also returns privileged observations.

    Such environments hide an episode's last observation and cannot be saved. So a time limit is
    bootstrapped with the value of the observation before the last step, as rsl_rl does, and a resumed
    run begins new episodes.

    Args:
        groups: our names of its observation groups; the default keeps them, but for `critic`, which
            only the critic receives (`policy.critic_privileged=true`). Groups that are left out are not used.
            Observations that are a plain tensor are the group `policy`.
    """

    def __init__(self, env: VecEnv, groups: dict[str, str] | None = None) -> None:
        self.env = env
        self.num_envs, self.num_actions = env.num_envs, env.num_actions
        self.device = torch.device(env.device)
        obs = self._first_groups()
        self._groups = groups or {n: PRIVILEGED if n == "critic" else n for n in sorted(obs)}
        self.obs_dims = {ours: obs[theirs].shape[-1] for theirs, ours in self._groups.items()}
        self.episode_metrics = ["count", "return", "length"]
        self.step_metrics: list[str] = []
        self._returns = torch.zeros(self.num_envs, device=self.device)
        self._lengths = torch.zeros(self.num_envs, device=self.device)
        self._logged: dict[str, list[Any]] = {}
        """Sum and number of the values that each metric was given since `metrics` was called."""
        self._means: dict[str, Any] = {}
        self._obs = self._named(obs)

    def _first_groups(self) -> dict[str, torch.Tensor]:
        observed: Any = self.env.get_observations()
        if isinstance(observed, TensorDict):
            return _groups_of(observed)
        if isinstance(observed, tuple):  # with extras
            return _groups_of(*observed)
        observed, privileged = self.env.reset()
        return _groups_of(observed, {}, privileged)

    def reset(self) -> Observations:
        """The observations as they are: rsl_rl's environments are reset by their steps alone. Their episodes'
        clocks are spread, as its runner spreads them: otherwise all episodes would always end together."""
        if hasattr(self.env, "episode_length_buf"):
            self.env.episode_length_buf = torch.randint_like(
                self.env.episode_length_buf, high=int(self.env.max_episode_length)
            )
        return self._obs

    def step(self, actions: torch.Tensor) -> StepResult:
        observed, *privileged, reward, dones, extras = self.env.step(actions)
        ended = dones.bool()
        truncated = ended & extras.get("time_outs", torch.zeros_like(ended)).bool()
        self._obs = self._named(_groups_of(observed, extras, *privileged))
        for name, value in (extras.get("log") or extras.get("episode") or {}).items():
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

    def _named(self, groups: dict[str, torch.Tensor]) -> Observations:
        return {ours: groups[theirs].clone() for theirs, ours in self._groups.items()}


def _metric_name(name: str) -> str:
    """Our name of a figure; reward terms are `rew_x` in legged_gym and `Episode_Reward/x` in Isaac Lab."""
    name = name.strip("/")
    for prefix in ("Episode/rew_", "Episode_Reward/", "rew_"):
        if name.startswith(prefix):
            return f"Episode/rew_{name.removeprefix(prefix)}"
    return f"Env/{name}"


def _groups_of(
    observed: TensorDict | torch.Tensor,
    extras: dict[str, Any] | None = None,
    privileged: torch.Tensor | None = None,
) -> dict[str, torch.Tensor]:
    """Observation groups by name, of any version's interface."""
    if isinstance(observed, TensorDict):
        return dict(observed.items())
    groups = {"policy": observed, **(extras or {}).get("observations", {})}
    return groups if privileged is None else groups | {"critic": privileged}

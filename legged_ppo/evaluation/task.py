"""What a run trains on: robots, or environments of another kind. `task_of` alone distinguishes them."""

from __future__ import annotations

import importlib.util
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch

from legged_ppo.config.extensions import load_extensions
from legged_ppo.config.schema import Config
from legged_ppo.env import factory
from legged_ppo.errors import ConfigError, UsageError
from legged_ppo.evaluation.evaluator import evaluate_policy
from legged_ppo.evaluation.gait import MOST_ROBOTS, gait_report
from legged_ppo.evaluation.returns import evaluate_returns
from legged_ppo.evaluation.tiles import restricted
from legged_ppo.interface import Environment
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.runtime import distributed
from legged_ppo.terrain.checks import check_curriculum

_log = logging.getLogger(__name__)

_FUSED_GRU = "training.fused_gru"
"""Says how a GPU computes the network."""
_INSTALL_GYM = "pip install -c constraints.txt -e '.[gym]'"


@dataclass
class PolicyScore:
    score: float
    """Higher is better."""
    metrics: dict[str, float]


PolicyScorer = Callable[[ActorCritic, Config, int, int], PolicyScore]
"""Of a policy, the run's configuration, a number of episodes and a seed."""


class Task(ABC):
    """Environments, figures and score of one recipe."""

    sections: ClassVar[tuple[str, ...]]
    """Sections and keys of a checkpoint's config that an evaluation may change: the network is trained."""
    physics: ClassVar[bool] = False
    """Whether a run on a GPU needs MuJoCo Warp there."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def make_env(self, num_envs: int, seed: int, device: torch.device | str = "cpu") -> Environment:
        """The environment to train in.

        Raises:
            ConfigError: it cannot be built, or the policy's distribution does not fit its actions.
        """
        env = self._training_env(num_envs, seed, device)
        distribution = self.config.policy.distribution
        if env.discrete_actions != (distribution == "categorical"):
            expected = "categorical" if env.discrete_actions else "another distribution"
            reason = f"{expected} for the actions of {self.config.subject}"
            raise ConfigError("policy.distribution", distribution, reason)
        return env

    @abstractmethod
    def _training_env(
        self, num_envs: int, seed: int, device: torch.device | str
    ) -> Environment: ...

    @abstractmethod
    def inputs(self) -> dict[str, Any]:
        """Values of the config that a trained network fixes."""

    @abstractmethod
    def evaluate(
        self,
        policy: ActorCritic,
        episodes: int,
        seed: int,
        *,
        stochastic: bool = False,
        terrain: str | None = None,
        level: int | None = None,
        by_cell: bool = False,
    ) -> dict[str, Any]:
        """Figures of whole episodes, under "overall" and, for robots, "terrain".

        Args:
            stochastic: sample the actions instead of taking the distribution's mode.
            terrain: robots only, all levels of this terrain type, or its `level`.
            by_cell: robots only, `episodes` on each terrain type and level.

        Raises:
            ConfigError: there is no such terrain type or level.
        """

    def evaluate_gait(self, policy: ActorCritic, episodes: int, seed: int) -> dict[str, Any]:
        """Figures of `gait.gait_report`, with fewer robots for fewer episodes; empty without a robot."""
        return {}

    @abstractmethod
    def score(self, policy: ActorCritic, episodes: int, seed: int) -> PolicyScore:
        """The figure by which the best checkpoint of a run is chosen."""


class RobotTask(Task):
    """Robots on terrain, in `LocomotionEnv` or a subclass; success, tracking and cost of transport."""

    sections = ("robot", "terrain", "sim", "task", "extensions", _FUSED_GRU)
    physics = True

    def _training_env(self, num_envs: int, seed: int, device: torch.device | str) -> Environment:
        check_curriculum(self.config.terrain, load_extensions(self.config.extensions).terrains)
        _check_distance(self.config)
        return factory.make_locomotion_env(self.config, num_envs, seed, device, training=True)

    def inputs(self) -> dict[str, Any]:
        robot, scandots = self.config.robot, self.config.task.observations.scandots
        lists: dict[str, Sequence[Any]] = {
            "robot.joints": robot.joints,
            "robot.foot_geoms": robot.foot_geoms,
            "task.observations.scandots.x": scandots.x,
            "task.observations.scandots.y": scandots.y,
        }
        sight = self.config.task.observations.depth
        shape = {"rows": sight.rows, "columns": sight.columns} if sight.enabled else {}
        camera = {"enabled": sight.enabled, **shape}
        numbers: dict[str, Any] = {f"number of {key}": len(each) for key, each in lists.items()}
        task = self.config.task
        return numbers | {
            "task.observations.groups": task.observations.groups,
            **{f"task.observations.depth.{key}": value for key, value in camera.items()},
            "task.gait.frequency (above 0)": task.gait.frequency > 0.0,
        }

    def evaluate(
        self,
        policy: ActorCritic,
        episodes: int,
        seed: int,
        *,
        stochastic: bool = False,
        terrain: str | None = None,
        level: int | None = None,
        by_cell: bool = False,
    ) -> dict[str, Any]:
        """Figures as `summarize_by_terrain`."""
        config, place = restricted(self.config, terrain, level)
        return evaluate_policy(
            policy, config, episodes, seed, stochastic=stochastic, place=place, by_cell=by_cell
        )

    def evaluate_gait(self, policy: ActorCritic, episodes: int, seed: int) -> dict[str, Any]:
        return gait_report(policy, self.config, seed, robots=min(episodes, MOST_ROBOTS))

    def score(self, policy: ActorCritic, episodes: int, seed: int) -> PolicyScore:
        """Success rate less the tracking errors; of a run with `sim.engine=simd` on MuJoCo C, the reference."""
        config = self.config
        if config.sim.engine == "simd":
            config = replace(config, sim=replace(config.sim, engine="mujoco_c"))
        figures = evaluate_policy(policy, config, episodes, seed)["overall"]
        errors = figures["lin_vel_error"], figures["yaw_rate_error"]
        score = -math.inf  # everybody fell in the first step
        if None not in errors:
            score = figures["success_rate"] - errors[0] - 0.5 * errors[1]
        return PolicyScore(
            score, _metrics(figures, "success_rate", "lin_vel_error", "yaw_rate_error")
        )


class ReturnsTask(Task):
    """An environment of any kind, evaluated by the returns of whole episodes."""

    @abstractmethod
    def make_plain_env(
        self, num_envs: int, seed: int, device: torch.device | str = "cpu", *, drawn: bool = False
    ) -> Environment:
        """The environment with its own rewards, in this process.

        Args:
            drawn: `render` will be called.
        """

    def evaluate(
        self,
        policy: ActorCritic,
        episodes: int,
        seed: int,
        *,
        stochastic: bool = False,
        **of_robots: Any,
    ) -> dict[str, Any]:
        """Figures as `evaluate_returns`."""
        for key, value in of_robots.items():
            if value is not None and value is not False:
                expected = f"left out for {self.config.subject}: it is for robots"
                raise ConfigError(key, value, expected)
        make = self.make_plain_env
        return evaluate_returns(policy, make, episodes, seed, stochastic, self.config.subject)

    def score(self, policy: ActorCritic, episodes: int, seed: int) -> PolicyScore:
        """The mean return."""
        figures = self.evaluate(policy, episodes, seed)["overall"]
        return PolicyScore(figures["mean_return"], _metrics(figures, "success_rate", "mean_return"))


class GymnasiumTask(ReturnsTask):
    """A Gymnasium environment, on the CPU."""

    sections = ("gym", "extensions", _FUSED_GRU)

    def _training_env(self, num_envs: int, seed: int, device: torch.device | str) -> Environment:
        gym = self.config.gym
        if gym.normalize_reward and distributed.world_size() > 1:
            expected = "false with several processes, each of which would have a scale of its own"
            raise ConfigError("gym.normalize_reward", True, expected)
        if torch.device(device).type != "cpu":
            _log.info("%s runs on the CPU, and so does its training", gym.id)
        return self._make(num_envs, seed)

    def make_plain_env(
        self, num_envs: int, seed: int, device: torch.device | str = "cpu", *, drawn: bool = False
    ) -> Environment:
        gym = self.config.gym
        kwargs = gym.kwargs | ({"render_mode": "rgb_array"} if drawn else {})
        return self._make(num_envs, seed, kwargs=kwargs, normalize_reward=False, processes=False)

    def _make(self, num_envs: int, seed: int, **changes: Any) -> Environment:
        gym = replace(self.config.gym, **changes)
        if importlib.util.find_spec("gymnasium") is None:
            raise UsageError(f"gym.id={gym.id} needs gymnasium", f"install it: {_INSTALL_GYM}")
        from legged_ppo.interop.gymnasium import GymnasiumEnv

        return GymnasiumEnv(gym, num_envs, seed, self.config.ppo.gamma)

    def inputs(self) -> dict[str, Any]:
        """What the policy observes, and keys that no evaluation reads."""
        names = ("id", "observe", "image_size", "grayscale", "normalize_reward", "processes")
        return {f"gym.{name}": getattr(self.config.gym, name) for name in names}


class CustomTask(ReturnsTask):
    """An environment of the recipe's extensions that is no `LocomotionEnv`."""

    sections = RobotTask.sections

    def _training_env(self, num_envs: int, seed: int, device: torch.device | str) -> Environment:
        return factory.make_extension_env(self.config, num_envs, seed, device)

    def make_plain_env(
        self, num_envs: int, seed: int, device: torch.device | str = "cpu", *, drawn: bool = False
    ) -> Environment:
        env = factory.make_extension_env(self.config, num_envs, seed, device)
        env.begin_whole_episodes()
        return env

    def inputs(self) -> dict[str, Any]:
        return {}


def task_of(config: Config) -> Task:
    """What `config` trains on.

    Raises:
        ConfigError: no extension defines the environment.
    """
    if config.gym.id:
        return GymnasiumTask(config)
    return RobotTask(config) if factory.is_locomotion(config) else CustomTask(config)


def make_env(
    config: Config,
    num_envs: int | None = None,
    seed: int | None = None,
    device: torch.device | str = "cpu",
) -> Environment:
    """The environment to train in, of whatever kind the recipe names.

    Args:
        num_envs, seed: None takes those of `training`.

    Raises:
        ConfigError: the environment cannot be built.
    """
    training = config.training
    num_envs = training.num_envs if num_envs is None else num_envs
    seed = training.seed if seed is None else seed
    return task_of(config).make_env(num_envs, seed, device)


def score_policy(policy: ActorCritic, config: Config, episodes: int, seed: int) -> PolicyScore:
    """The score of the config's task: the scorer of every run that is given no other."""
    return task_of(config).score(policy, episodes, seed)


def _metrics(figures: dict[str, Any], *names: str) -> dict[str, float]:
    return {f"Eval/{name}": figures[name] for name in names if figures.get(name) is not None}


def _check_distance(config: Config) -> None:
    """A curriculum must be able to move robots up: not in `validate`, because evaluation has none. The
    commands of an extension's sampler are not known.

    Raises:
        ConfigError: the fastest command does not lead as far as the curriculum demands.
    """
    curriculum, commands = config.terrain.curriculum, config.task.commands
    forward, sideways = (
        max(map(abs, bounds)) for bounds in (commands.lin_vel_x, commands.lin_vel_y)
    )
    others = [
        *commands.flat_velocity,
        *(commands.forward_velocity if commands.forward_types else []),
    ]
    fastest = max([math.hypot(forward, sideways), *map(abs, others)])
    reach = fastest * config.task.episode_length_s
    if curriculum.rule != "none" and not commands.sampler and curriculum.distance > reach:
        expected = f"at most {reach:.1f} m, as far as an episode's fastest command leads"
        raise ConfigError("terrain.curriculum.distance", curriculum.distance, expected)

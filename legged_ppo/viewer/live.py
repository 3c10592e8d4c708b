"""Robots that walk in real time while a person watches and steers them; what all live viewers share."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch

from legged_ppo.config.schema import Config
from legged_ppo.env.factory import make_locomotion_env
from legged_ppo.evaluation.evaluator import evaluation_config
from legged_ppo.evaluation.returns import check_fit
from legged_ppo.evaluation.rollout import on_device, rollout
from legged_ppo.interface import Observations, StepResult
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.models.recurrent_policy import RecurrentPolicy
from legged_ppo.viewer.driving import Command, Driver

_ENDLESS = 86400.0
"""Time limit [s] of an episode that only a fall or a person ends."""
_LATEST_START = 0.2
"""Lag [s] behind real time that is not caught up with."""


class LiveRollout:
    """`num_envs` robots under a policy, under the conditions of evaluations.

    Args:
        command: of every robot; None: drawn as in training.
        place: terrain type and level of all robots; None: the first.
        stochastic: sample the actions instead of taking the distribution's mode.
        endless: without a time limit, so that only falls end episodes.

    Raises:
        ConfigError: no such terrain; the environment cannot be built.
    """

    def __init__(
        self,
        policy: ActorCritic,
        config: Config,
        num_envs: int = 1,
        *,
        command: Command | None = None,
        place: tuple[str, int] | None = None,
        seed: int = 0,
        stochastic: bool = False,
        endless: bool = False,
    ) -> None:
        config = evaluation_config(config)
        if endless:
            config.task.episode_length_s = _ENDLESS
        self.env = make_locomotion_env(config, num_envs, seed)
        self.driver = Driver(config.task.commands, command)
        self._chance = torch.Generator(self.env.device).manual_seed(seed)
        self._noise = self._chance if stochastic else None
        self.env.commands.fix(command)
        self._actor = self._actor_of(policy)
        self._obs: Observations = {}
        self._results: Iterator[StepResult] = iter(())
        self.place(*(place or (self.env.terrain.types[0], 0)))

    @property
    def ended(self) -> torch.Tensor:
        """[N] bool, robots whose episode ended in the last step."""
        return self._actor.starts

    @property
    def place_name(self) -> tuple[str, int]:
        """Terrain type and level of the robots."""
        return self.env.terrain.types[int(self.env.terrain_type[0])], int(self.env.terrain_level[0])

    def step(self) -> StepResult:
        """One control step of every robot, with the command that holds now."""
        self._obs["commands"] = self.env.observed_commands()  # read by the step that `next` makes
        result = next(self._results)
        self._obs = result.obs
        return result

    def restart(self) -> None:
        """Begin new episodes of all robots."""
        self._actor.restart()
        self._begin(self.env.start_episodes_together())

    def place(self, terrain: str, level: int) -> None:
        """Begin new episodes on this tile.

        Raises:
            ConfigError: no such type or level.
        """
        self.env.place(*self.env.terrain.place(terrain, level))
        self.restart()

    def command(self, command: Command | None) -> None:
        """Change the command of every robot now; None draws commands from now on."""
        commands = self.env.commands
        commands.fix(command if command is None else self.driver.set(command))
        if command is None:
            self.driver.command = None
            everyone = torch.ones(self.env.num_envs, dtype=torch.bool, device=self.env.device)
            commands.resample(everyone)
            commands.steer(self.env.survey.yaw)

    def push(self, speed: float) -> None:
        """Add `speed` m/s in a random horizontal direction to the base of every robot."""
        n, device = self.env.num_envs, self.env.device
        angle = 2.0 * torch.pi * torch.rand(n, generator=self._chance, device=device)
        self.env.simulator.push(speed * torch.stack([angle.cos(), angle.sin()], dim=1))

    def load(self, policy: ActorCritic) -> None:
        """Let another policy act from now on, with empty memory; the robots go on where they are.

        Raises:
            ConfigError: it reads other observations; the policy before acts on.
        """
        check_fit(policy, self.env, self.env.robot.config.name)
        self._actor = self._actor_of(policy)
        self._begin(self._obs)

    def _actor_of(self, policy: ActorCritic) -> RecurrentPolicy:
        network = on_device(policy, self.env.device)
        return RecurrentPolicy(network, self.env.num_envs, self.env.device, self._noise)

    def _begin(self, obs: Observations) -> None:
        self._obs = obs
        self._results = rollout(self._actor, self.env, obs)


class Pace:
    """Keeps steps of `dt` s to real time; where they take longer, time is lost and nothing is caught up with."""

    def __init__(self, dt: float) -> None:
        self._dt, self._due = dt, time.perf_counter()
        self.lag = 0.0
        """s by which the last step was late"""

    def wait(self) -> None:
        """Sleep until the next step is due."""
        self._due += self._dt
        now = time.perf_counter()
        self.lag = max(now - self._due, 0.0)
        if self.lag > _LATEST_START:
            self._due = now
        time.sleep(max(self._due - now, 0.0))

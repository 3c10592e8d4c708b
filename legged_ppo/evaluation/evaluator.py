"""Evaluation of robots: success, tracking and cost over whole episodes that start together.

Conditions are those of training (terrain, commands, sensor noise, randomization), but without
pushes and, unless asked, without the exploration noise of the actions, and with as many episodes on
each terrain type and level.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from legged_ppo.config.extensions import load_extensions
from legged_ppo.config.schema import Config
from legged_ppo.env.factory import make_locomotion_env
from legged_ppo.env.locomotion import LocomotionEnv
from legged_ppo.evaluation.rollout import rollout
from legged_ppo.evaluation.sight import Sight
from legged_ppo.evaluation.statistics import Episodes, concatenate, summarize_by_terrain
from legged_ppo.evaluation.tiles import fill_cells
from legged_ppo.interface import StepResult
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.models.recurrent_policy import RecurrentPolicy
from legged_ppo.runtime.progress_lines import ProgressLines
from legged_ppo.terrain.curriculum import STANDING_PATH, covered_path
from legged_ppo.terrain.grid import Terrain

_log = logging.getLogger(__name__)

_MAX_ROBOTS = 512
"""Default number of robots simulated at once; more episodes take several rounds."""
_STAY = 0.5
"""m from the start within which a robot that was commanded to stand, or to turn on the spot, must end."""
_TURN_SLACK, _TURN_SHARE = 0.6, 0.3
"""rad, and share of the commanded turn, by which its turn may be wrong; 0.6 rad in 20 s are 0.03 rad/s"""


def evaluate_policy(
    policy: ActorCritic,
    config: Config,
    episodes: int,
    seed: int,
    *,
    num_envs: int | None = None,
    stochastic: bool = False,
    command: tuple[float, float, float] | None = None,
    place: tuple[str, int] | None = None,
    by_cell: bool = False,
) -> dict[str, Any]:
    """Figures of `episodes` episodes, overall and by terrain; the same seed gives the same figures.

    An episode succeeds when the robot neither falls nor breaks the physics within the time limit
    and covers at least 70 % of the commanded path: the velocity along the command times the cosine of
    the angle to `VelocityCommands.course`, integrated over the episode, against the commanded speed,
    integrated alike. Where the commanded path is under 0.5 m (standing, turning on the spot), the robot must
    end within 0.5 m of its start, and its turn must be the commanded one up to 0.6 rad and 30 %. The other
    figures are defined at `summarize`.

    Args:
        num_envs: robots at once; default `episodes`, at most 512.
        command: forward, lateral velocity [m/s] and yaw rate [rad/s] of every robot; None draws
            commands as in training.
        place: terrain type and level of all episodes; None shares them out evenly.
        by_cell: `episodes` are those of every cell (`fill_cells`) instead of all.

    Returns:
        as `summarize_by_terrain`
    """
    found, terrain = collect_episodes(
        policy,
        config,
        episodes,
        seed,
        num_envs=num_envs,
        stochastic=stochastic,
        command=command,
        place=place,
        by_cell=by_cell,
    )
    return summarize_by_terrain(found, terrain)


def collect_episodes(
    policy: ActorCritic,
    config: Config,
    episodes: int,
    seed: int,
    *,
    num_envs: int | None = None,
    stochastic: bool = False,
    command: tuple[float, float, float] | None = None,
    place: tuple[str, int] | None = None,
    by_cell: bool = False,
    pushes: bool = False,
    make_sight: Callable[[], Sight] | None = None,
) -> tuple[Episodes, Terrain]:
    """The single episodes that `evaluate_policy` summarizes, and the terrain.

    Args:
        pushes: push the robots as `config` does.
        make_sight: gives for each environment what the policy is shown of its observations; None shows all.
    """
    conditions = evaluation_config(config, pushes=pushes)
    if by_cell and place is None:
        conditions.terrain, episodes, num_envs = fill_cells(
            conditions.terrain,
            episodes,
            num_envs or _MAX_ROBOTS,
            load_extensions(config.extensions).terrains,
        )
    size = min(num_envs or _MAX_ROBOTS, episodes)
    sizes = [min(size, episodes - done) for done in range(0, episodes, size)]
    seeds = np.random.SeedSequence(seed).generate_state(len(sizes)).tolist()
    parts = []
    for robots, round_seed in zip(sizes, seeds, strict=True):
        env = make_locomotion_env(conditions, robots, round_seed, policy.device)
        env.commands.fix(command)
        if place is not None:
            env.place(*env.terrain.place(*place))
        noise = torch.Generator(env.device).manual_seed(round_seed + 1) if stochastic else None
        parts.append(run_episodes(policy, env, noise, make_sight and make_sight()))
        _warn_of_overflows(env)
    return concatenate(parts), env.terrain


def evaluation_config(config: Config, *, pushes: bool = False) -> Config:
    """A copy of `config` without curriculum, ends of stuck robots and, unless asked for, pushes, with the
    episodes shared out evenly over all terrain types and levels, and with one control step more than the time
    limit.

    Robots that end are reset inside `step`, which hides their last state. With the extra step those
    that last until the time limit are never reset while they are measured.
    """
    config = copy.deepcopy(config)
    if not pushes:
        config.task.randomization.push_interval_s = 0.0
    config.task.stuck_after_s = 0.0
    terrain = config.terrain
    terrain.curriculum.rule, terrain.max_initial_level = "none", None
    terrain.proportions = {name: 1.0 for name, share in terrain.proportions.items() if share > 0}
    config.task.episode_length_s += config.sim.dt * config.sim.decimation
    return config


def run_episodes(
    policy: ActorCritic,
    env: LocomotionEnv,
    generator: torch.Generator | None = None,
    sight: Sight | None = None,
) -> Episodes:
    """The first episode of every robot, from start to fall or time limit.

    Args:
        env: an environment of `evaluation_config`.
        generator: source of the actions' randomness; None acts deterministically.
        sight: as in `RecurrentPolicy`.
    """
    resamples = env.config.task.episode_length_s / env.config.task.commands.resample_time_s
    env.commands.plan(2 + math.ceil(resamples))
    obs = env.start_episodes_together()
    actor = RecurrentPolicy(policy, env.num_envs, env.device, generator, sight)
    meter = EpisodeMeter(env)
    steps = env.max_episode_length - 1
    progress = ProgressLines(_log, f"evaluation of {env.num_envs} robots", steps)
    for step, result in zip(range(steps), rollout(actor, env, obs), strict=False):
        progress.update(step)
        meter.add(env, result)
        if not bool(meter.alive.any()):
            break
    return meter.episodes(env)


def _warn_of_overflows(env: LocomotionEnv) -> None:
    """Warn that contacts were lost: robots sank into the ground, and the figures are not valid."""
    lost = int(env.simulator.metrics().get("Sim/overflows", 0))
    if lost:
        _log.warning(
            "contacts of %d of %d robots did not fit into the physics' buffers: raise "
            "sim.contacts, sim.constraints and sim.convex_pairs",
            lost,
            env.num_envs,
        )


class EpisodeMeter:
    """Measures the first episode of every robot of an environment that has just been started.

    A fallen robot was reset inside the step, so the sums run over the steps before its fall.
    """

    def __init__(self, env: LocomotionEnv) -> None:
        def zeros() -> torch.Tensor:
            return torch.zeros(env.num_envs, dtype=torch.float64, device=env.device)

        self.alive = torch.ones(env.num_envs, dtype=torch.bool, device=env.device)
        self._start = env.position.double()  # [N, 2]
        self._position = self._start
        yaw = env.survey.yaw.double()
        self._ahead = torch.stack([torch.cos(yaw), torch.sin(yaw)], dim=1)  # [N, 2]
        self._mass = env.robot.total_mass + env.randomization.parameters.added_mass.double()
        self._begun, self._steps, self._return = zeros(), zeros(), zeros()
        self._lin_vel_error, self._yaw_rate_error = zeros(), zeros()
        self._path, self._work = zeros(), zeros()
        self._path_distance, self._commanded = zeros(), zeros()
        self._turn_error, self._commanded_turn = zeros(), zeros()
        self._columns = [env.episode_metrics.index(name) for name in ("path_distance", "commanded")]

    def add(self, env: LocomotionEnv, result: StepResult) -> None:
        """Count the step that `env` has just made."""
        self._begun += self.alive  # the step of a fall too
        self._return += self.alive * result.reward
        self.alive = alive = self.alive & ~result.terminated
        state = env.simulator.state
        position = torch.where(alive[:, None], env.position.double(), self._position)
        power = (state.joint_torque * state.joint_vel).abs().sum(1)
        self._steps += alive
        self._lin_vel_error += torch.where(alive, env.statistics.lin_vel_error, 0.0)
        self._yaw_rate_error += torch.where(alive, env.statistics.yaw_rate_error, 0.0)
        self._work += torch.where(alive, power * env.dt, 0.0)
        self._path += (position - self._position).norm(dim=1)
        self._position = position
        yaw_rate, asked = state.base_ang_vel[:, 2], env.commands.command[:, 2]
        self._turn_error += torch.where(alive, (yaw_rate - asked) * env.dt, 0.0)
        self._commanded_turn += torch.where(alive, asked.abs() * env.dt, 0.0)
        path_distance, commanded = env.statistics.totals[:, self._columns].double().unbind(1)
        self._path_distance = torch.where(alive, path_distance, self._path_distance)
        self._commanded = torch.where(alive, commanded, self._commanded)

    def episodes(self, env: LocomotionEnv) -> Episodes:
        """The measurements, one entry per robot."""
        walked = covered_path(self._path_distance, self._commanded)
        moved = self._position - self._start
        stayed = (moved.norm(dim=1) <= _STAY) & (
            self._turn_error.abs() <= _TURN_SLACK + _TURN_SHARE * self._commanded_turn
        )
        obeyed = torch.where(self._commanded < STANDING_PATH, stayed, walked)
        return Episodes(
            terrain_type=env.terrain_type.cpu().numpy(),
            terrain_level=env.terrain_level.cpu().numpy(),
            success=(self.alive & obeyed).cpu().numpy(),
            fell=(~self.alive).cpu().numpy(),
            duration=self._begun.cpu().numpy() * env.dt,
            episode_return=self._return.cpu().numpy(),
            displacement=moved.norm(dim=1).cpu().numpy(),
            forward=(moved * self._ahead).sum(1).cpu().numpy(),
            steps=self._steps.cpu().numpy(),
            lin_vel_error=self._lin_vel_error.cpu().numpy(),
            yaw_rate_error=self._yaw_rate_error.cpu().numpy(),
            path=self._path.cpu().numpy(),
            work=self._work.cpu().numpy(),
            mass=self._mass.cpu().numpy(),
        )

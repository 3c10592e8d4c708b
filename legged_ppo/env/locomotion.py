"""LocomotionEnv: robots that follow velocity commands. One control step reads top to bottom in `step`."""

from __future__ import annotations

import math
from typing import Any

import torch

from legged_ppo.config.extensions import load_extensions
from legged_ppo.config.schema import Config
from legged_ppo.env import rewards
from legged_ppo.env.commands import VelocityCommands
from legged_ppo.env.extension_groups import ExtensionGroups
from legged_ppo.env.extension_terms import ExtensionTerms
from legged_ppo.env.observations import ObservationBuilder, ObservationInputs
from legged_ppo.env.randomization import Randomization
from legged_ppo.env.symmetry import make_symmetry
from legged_ppo.interface import Environment, Observations, StepResult, Symmetry
from legged_ppo.robots.spec import RobotSpec
from legged_ppo.runtime import distributed
from legged_ppo.runtime.device import any_without_sync
from legged_ppo.sensors.height_scan import Scandots
from legged_ppo.sim.rotations import rotation_matrix
from legged_ppo.sim.simulator import Simulator
from legged_ppo.terrain.curriculum import EpisodeOutcome, TerrainCurriculum
from legged_ppo.terrain.grid import Terrain
from legged_ppo.terrain.height_map import HeightMap

_DUTY_TIME = 1.0
"""Time constant [s] of the running average of each foot's contact."""
_START_DUTY = 0.5
_FOOT_REACH = 0.1
"""Distance [m] from its place in the default pose within which a foot may begin."""
_EPISODE_METRICS = ["count", "return", "length", "Episode/fall_rate", "path_distance", "commanded"]
_STEP_METRICS = ["Track/lin_vel_error", "Track/yaw_rate_error", "Sim/nonfinite_resets"]
_STATE = (
    "action",
    "last_joint_vel",
    "last_foot_force",
    "air_time",
    "contact",
    "duty",
    "episode_length",
    "totals",
    "wrapped",
    "start",
    "farthest",
)
"""Attributes that an episode carries from step to step and a checkpoint keeps."""


class LocomotionEnv(Environment):
    """`Environment` of one robot type on one terrain, in front of any `Simulator`.

    Args:
        config: the whole recipe (robot, terrain, task).
        generator: source of all randomness, on the simulator's device.
    """

    generator: torch.Generator
    fits_graphs = True  # see `Environment`

    def __init__(
        self,
        config: Config,
        robot: RobotSpec,
        terrain: Terrain,
        simulator: Simulator,
        generator: torch.Generator,
    ) -> None:
        self.config, self.robot, self.terrain, self.simulator = config, robot, terrain, simulator
        self.num_envs, self.device = simulator.num_envs, simulator.device
        self.num_actions = robot.num_joints
        self.generator = generator
        task = config.task
        self.dt = config.sim.dt * config.sim.decimation
        self.max_episode_length = round(task.episode_length_s / self.dt)
        sampler = load_extensions(config.extensions).commands.get(task.commands.sampler)
        self.commands = VelocityCommands(task.commands, self.num_envs, self.dt, generator, sampler)
        self.randomization = Randomization(
            task.randomization, robot, self.num_envs, self.dt, config.sim.dt, generator
        )
        sight = task.observations
        self.scandots = Scandots(sight.scandots, self.num_envs, self.dt, generator, sight.noise)
        self.observations = ObservationBuilder(sight, robot, self.scandots.size, self.device)
        self.extension_groups = ExtensionGroups(config, robot, self.num_envs, self.device)
        self.obs_dims = self.extension_groups.dims(self.observations.dims)
        self.extension_terms = ExtensionTerms(config, self.num_envs, self.device)
        self.reward_terms = rewards.active_terms(task.rewards)
        self.episode_metrics = _EPISODE_METRICS + [f"Episode/rew_{n}" for n in self.reward_terms]
        self.step_metrics = _STEP_METRICS
        names = ("length", "path_distance", "commanded")
        self._outcome_columns = [self.episode_metrics.index(name) for name in names]
        self._load_constants()
        self._place_robots()
        self._stance = self._find_stance()
        self._start_episode_state()

    def _load_constants(self) -> None:
        """Tensors that stay as they are."""
        robot, terrain, device = self.robot, self.terrain, self.device

        def tensor(values: Any) -> torch.Tensor:
            return torch.as_tensor(values, dtype=torch.float32, device=device)

        self._weights = tensor(list(self.reward_terms.values())) * self.dt
        self._default = tensor(robot.default_joint_pos)
        share = self.config.task.rewards.soft_joint_limit
        self._soft_limits = _soft_limits(robot, share).to(device)
        self.heights = HeightMap(terrain, device)
        self._origins = tensor(terrain.origins).view(-1, 3)  # [tiles, 3]
        self._spawn_radius = tensor(terrain.spawn_radius).view(-1)  # [tiles]

    def _find_stance(self) -> torch.Tensor:
        """[P, 2] m from the base: where the default pose may touch the ground. An engine begins with all
        robots in that pose."""
        state = self.simulator.state
        feet = (state.foot_pos[0] - state.base_pos[0])[:, None, :2]
        around = torch.tensor([-_FOOT_REACH, 0.0, _FOOT_REACH], device=self.device)
        points = feet + torch.cartesian_prod(around, around)
        return torch.cat([points.flatten(0, 1), torch.zeros(1, 2, device=self.device)])

    def _place_robots(self) -> None:
        """Give every robot its terrain type and level."""
        types, levels = self.terrain.assign(self.num_envs)
        self.curriculum = TerrainCurriculum(
            self.config.terrain.curriculum,
            torch.as_tensor(types, device=self.device),
            torch.as_tensor(levels, device=self.device),
            torch.Size(self.terrain.heights.shape[:2]),
        )
        self.tile = torch.zeros_like(self.terrain_type)
        """[N] int64, counted along the levels of one type after the other"""
        self._origin = torch.zeros(self.num_envs, 3, device=self.device)
        self._find_tiles()

    def place(self, column: int, level: int) -> None:
        """Put every robot on this tile, from the next reset on."""
        self.curriculum.types.fill_(column)
        self.curriculum.levels.fill_(level)
        self._find_tiles()

    def _find_tiles(self) -> None:
        """Look up the robots' tiles, which their types and levels decide, and tell the engine."""
        self.tile.copy_(self.terrain_type * self.terrain.num_levels + self.terrain_level)
        self.simulator.assign(self.tile)
        self._origin.copy_(self._origins[self.tile])
        if "flat" in self.terrain.types:
            self.commands.on_flat.copy_(self.terrain_type == self.terrain.types.index("flat"))

    def _start_episode_state(self) -> None:
        n, j, f = self.num_envs, self.num_actions, self.robot.num_feet

        def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
            return torch.zeros(shape, dtype=dtype, device=self.device)

        self.action, self.last_action = zeros(n, j), zeros(n, j)
        self.last_joint_vel, self.last_foot_force = zeros(n, j), zeros(n, f)
        self.air_time, self.contact = zeros(n, f), zeros(n, f, dtype=torch.bool)
        self.duty = torch.full((n, f), _START_DUTY, device=self.device)
        self.episode_length = zeros(n, dtype=torch.int64)
        self.totals = zeros(n, len(self.episode_metrics))
        self.wrapped, self.start, self.farthest = zeros(n, 2), zeros(n, 2), zeros(n)
        self.failed = zeros(n, dtype=torch.bool)

    @property
    def symmetry(self) -> Symmetry:
        """See `Environment`. Masses and centres of mass are not compared between the sides.

        Raises:
            ConfigError: joints, their axes, the default pose, feet or the scandots' grid have no mirror
                image, or an extension's observation group has none.
        """
        found = make_symmetry(self.robot, self.scandots.grid.cpu(), self.device)
        return self.extension_groups.mirrored(found)

    @property
    def terrain_type(self) -> torch.Tensor:
        """[N] int64, column of each robot's tile"""
        return self.curriculum.types

    @property
    def env_groups(self) -> torch.Tensor | None:
        """The terrain types, where there are several."""
        return self.terrain_type if len(self.terrain.types) > 1 else None

    @property
    def terrain_level(self) -> torch.Tensor:
        """[N] int64, row of each robot's tile"""
        return self.curriculum.levels

    @property
    def position(self) -> torch.Tensor:
        """[N, 2] m, where the robot has walked to on its endless tile; no jumps at the tile's edges"""
        return self.simulator.state.base_pos[:, :2] - self.wrapped

    def reset(self) -> Observations:
        """Start every robot anew, with episode clocks spread over the episode's length.

        Without the spread all robots would time out in the same step for ever.
        """
        everyone = torch.ones(self.num_envs, dtype=torch.bool, device=self.device)
        self._reset(everyone)
        shape, device = self.episode_length.shape, self.device
        clocks = torch.randint(
            self.max_episode_length, shape, generator=self.generator, device=device
        )
        self.episode_length.copy_(clocks)
        return self._observe()

    def start_episodes_together(self) -> Observations:
        """Start every robot at the beginning of an episode, as evaluation wants it."""
        obs = self.reset()
        self.episode_length.zero_()
        return obs

    def step(self, actions: torch.Tensor) -> StepResult:
        """One control step of every robot.

        Args:
            actions: [N, J]; joint targets are the default pose plus `action_scale` times the action.
                An action that is not finite, as a state or a reward, fails its robot alone: its episode
                terminates.
        """
        sound = actions.isfinite().all(1) & ~self.extension_groups.unsound
        self.extension_groups.unsound.zero_()
        actions = torch.where(sound[:, None], actions, 0.0)
        clip = self.config.task.action_clip
        actions = actions.clamp(-clip, clip)
        targets = self._default + self.robot.config.action_scale * actions
        push = self.randomization.pushes()
        if push is not None:
            self.simulator.push(push)
        self.simulator.step(targets, self.randomization.latency)
        self._stay_on_tile()
        self.last_action.copy_(self.action)
        self.action.copy_(actions)
        self.episode_length += 1

        self._measure()
        state = self.simulator.state
        tilted = self.projected_gravity[:, 2] > -math.cos(self.config.task.max_tilt)
        self.failed.copy_(state.failed | ~sound | ~self._measured_finite())
        terminated = state.termination_contact | tilted | self.failed
        inputs = self._reward_inputs(terminated)
        inputs.fell = self.extension_terms.ended(inputs)
        reward, terms, terminated = self._reward(inputs)
        truncated = (self.episode_length >= self.max_episode_length) & ~terminated
        self._account(reward, terms, terminated)

        self.commands.step(self.yaw)
        self.last_joint_vel.copy_(state.joint_vel)
        self.last_foot_force.copy_(state.foot_force)
        final_obs = obs = {k: _zero_rows(v, self.failed) for k, v in self._observe().items()}
        done = terminated | truncated
        info = self._info(done)
        if any_without_sync(done):
            self._move_levels(done, terminated)
            self._reset(done)
            # Only where an episode ended: the others must not see a second draw of noise.
            first = self._observe(done)
            obs = {k: torch.where(done[:, None], first[k], last) for k, last in final_obs.items()}
        return StepResult(obs, reward, terminated, truncated, final_obs, info)

    def state_dict(self) -> dict[str, Any]:
        extra = self.extension_terms.state_dict() | self.extension_groups.state_dict()
        return ({"extensions": extra} if extra else {}) | {
            "simulator": self.simulator.state_dict(),
            "commands": self.commands.state_dict(),
            "randomization": self.randomization.state_dict(),
            "scandots": self.scandots.state_dict(),
            "curriculum": self.curriculum.state_dict(),
            "buffers": {name: getattr(self, name).clone() for name in _STATE},
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.curriculum.load_state_dict(state["curriculum"])
        self._find_tiles()  # first: the engine rebuilds itself when robots change columns
        self.simulator.load_state_dict(state["simulator"])
        self.commands.load_state_dict(state["commands"])
        self.randomization.load_state_dict(state["randomization"])
        self.scandots.load_state_dict(state["scandots"])
        self.extension_terms.load_state_dict(state.get("extensions", {}))
        self.extension_groups.load_state_dict(state.get("extensions", {}))
        for name in _STATE:
            getattr(self, name).copy_(state["buffers"][name])
        self.generator.set_state(state["generator"])

    def load_levels(self, states: list[dict[str, Any]]) -> None:
        """Take over the robots' levels alone, from as many ranks as there were."""
        found = [state["curriculum"] for state in states]
        self.curriculum.load_share(found, distributed.rank(), distributed.world_size())
        self._find_tiles()

    def set_progress(self, progress: float) -> None:
        """Take over the training's progress in [0, 1], for the command ranges."""
        self.commands.set_progress(progress)

    def metrics(self) -> dict[str, torch.Tensor]:
        """Scalars of the engine and of the curriculum, if there is one, to be read once an iteration."""
        metrics = self.simulator.metrics()
        if self.config.terrain.curriculum.rule != "none":
            metrics |= self.curriculum.metrics(self.terrain.types)
        return metrics

    def curriculum_report(self) -> dict[str, Any] | None:
        """`TerrainCurriculum.report`; None on ground that has no levels to climb."""
        if self.config.terrain.curriculum.rule == "none":
            return None
        return self.curriculum.report(self.terrain.types)

    def _stay_on_tile(self) -> None:
        """Robots that crossed an edge of their tile come in at the opposite one, so that their ground
        goes on for ever at their own type and level. Rims are flat, so nothing else changes."""
        size = self.config.terrain.tile_size
        local = self.simulator.state.base_pos[:, :2] - self._origin[:, :2]
        shift = torch.round(local / size) * -size
        if any_without_sync(shift):
            self.simulator.translate(shift)
            self.wrapped += shift

    def _measure(self) -> None:
        """Quantities derived from the physics' state that rewards and observations share."""
        state = self.simulator.state
        threshold = self.config.task.observations.contact_threshold
        touching = state.foot_force > threshold
        self.landed = touching & ~self.contact
        self.contact.copy_(touching)
        self.duty.lerp_(touching.float(), self.dt / _DUTY_TIME)
        self.swing_time = self.air_time + self.dt
        torch.mul(self.swing_time, ~touching, out=self.air_time)
        torch.maximum(self.farthest, (self.position - self.start).abs().amax(1), out=self.farthest)
        self.scandots.step(self._survey())
        command = self.commands.command[:, :2]
        along = (state.base_lin_vel[:, :2] * command).sum(1) / command.norm(dim=1).clamp(min=1e-6)
        # Without the course angle, circling in the base frame would count as distance.
        self.path_velocity = along * torch.cos(self.yaw - self.commands.course)

    def _survey(self) -> torch.Tensor:
        """Take gravity, heading and the heights of base and feet above the ground; returns the base's
        height [N, D] m above each scandot."""
        state = self.simulator.state
        self.projected_gravity = -state.base_rotation[:, 2]
        self.yaw = torch.atan2(state.base_rotation[:, 1, 0], state.base_rotation[:, 0, 0])
        base = state.base_pos[:, None, :2]
        points = self.scandots.points(base, self.yaw)
        ground = self.heights(torch.cat([base, state.foot_pos[..., :2], points], 1), self.tile)
        feet = state.foot_pos.shape[1]
        self.base_height = state.base_pos[:, 2] - ground[:, 0]
        self.foot_height = state.foot_pos[..., 2] - ground[:, 1 : 1 + feet]
        return state.base_pos[:, 2:3] - ground[:, 1 + feet :]

    def _measured_finite(self) -> torch.Tensor:
        """[N] bool: what rewards and observations read of a robot is finite."""
        state = self.simulator.state
        parts = (
            state.base_pos,
            state.base_lin_vel,
            state.base_ang_vel,
            state.joint_pos,
            state.joint_vel,
            state.foot_force,
            self.projected_gravity,
            self.base_height[:, None],
            self.foot_height,
            self.scandots.reading,
        )
        return torch.cat(parts, dim=1).isfinite().all(1)

    def _reward_inputs(self, fell: torch.Tensor) -> rewards.RewardInputs:
        return rewards.RewardInputs(
            state=self.simulator.state,
            config=self.config.task.rewards,
            command=self.commands.command,
            path_velocity=self.path_velocity,
            projected_gravity=self.projected_gravity,
            action=self.action,
            last_action=self.last_action,
            last_joint_vel=self.last_joint_vel,
            last_foot_force=self.last_foot_force,
            air_time=self.swing_time,
            duty=self.duty,
            landed=self.landed,
            contact=self.contact,
            base_height=self.base_height,
            foot_height=self.foot_height,
            default_joint_pos=self._default,
            soft_limits=self._soft_limits,
            fell=fell,
            dt=self.dt,
        )

    def _reward(
        self, inputs: rewards.RewardInputs
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Reward [N], its weighted terms [N, terms] and `inputs.fell` [N] with the robots whose terms are not
        finite, which fail; terms of failed robots are 0."""
        config, extra = inputs.config, self.extension_terms
        values = [
            extra.reward(name, inputs) if name in extra.rewards else rewards.TERMS[name](inputs)
            for name in self.reward_terms
        ]
        terms = torch.stack(values, dim=1) * self._weights
        self.failed |= ~terms.isfinite().all(1)
        fell = inputs.fell | self.failed
        terms = _zero_rows(terms, self.failed)
        reward = terms.sum(1)
        if config.only_positive:
            reward = reward.clamp(min=0.0)
        return reward + config.termination * fell, terms, fell

    def _account(self, reward: torch.Tensor, terms: torch.Tensor, fell: torch.Tensor) -> None:
        """Add this step to the episodes' totals and take the tracking errors."""
        command, state = self.commands.command, self.simulator.state
        speed = command[:, :2].norm(dim=1)
        # What a failed robot did is not known, and NaN would spread over the sums of all.
        advance = torch.where(self.failed, 0.0, self.path_velocity * self.dt)
        one = torch.ones_like(reward)
        columns = [one, reward, one, fell.float(), advance, speed * self.dt]
        self.totals += torch.cat([torch.stack(columns, dim=1), terms], dim=1)
        lin_vel_error = (state.base_lin_vel[:, :2] - command[:, :2]).norm(dim=1)
        yaw_rate_error = (state.base_ang_vel[:, 2] - command[:, 2]).abs()
        self.lin_vel_error = torch.where(self.failed, 0.0, lin_vel_error)
        self.yaw_rate_error = torch.where(self.failed, 0.0, yaw_rate_error)

    def _info(self, done: torch.Tensor) -> dict[str, torch.Tensor]:
        ended = (self.totals * done[:, None]).sum(0)
        ended[0] = done.sum()
        errors = [self.lin_vel_error, self.yaw_rate_error, self.failed.float()]
        return {"episode": ended, "step": torch.stack(errors).sum(1)}

    def _move_levels(self, done: torch.Tensor, fell: torch.Tensor) -> None:
        """Let the curriculum decide where the robots that ended start again."""
        steps, path_distance, commanded = (self.totals[:, i] for i in self._outcome_columns)
        outcome = EpisodeOutcome(
            path_distance, commanded, self.farthest, fell, steps / self.max_episode_length
        )
        self.curriculum.update(done, outcome, self.generator)
        self._find_tiles()

    def _observe(self, mask: torch.Tensor | None = None) -> Observations:
        """The observations; with a mask [N] bool, those of the masked robots count, and lasting state of the
        others' groups stays."""
        inputs = ObservationInputs(
            state=self.simulator.state,
            config=self.config.task.observations,
            command=self.commands.command,
            projected_gravity=self.projected_gravity,
            yaw=self.yaw,
            action=self.action,
            contact=self.contact,
            air_time=self.air_time,
            foot_height=self.foot_height,
            base_height=self.base_height,
            scandots=self.scandots.reading,
            parameters=self.randomization.privileged,
            default_joint_pos=self._default,
            dt=self.dt,
            generator=self.generator,
        )
        return self.extension_groups.extend(self.observations(inputs), inputs, mask)

    def _ground_under(self, qpos: torch.Tensor) -> torch.Tensor:
        """Height [N] m of the highest ground under the base and around the feet of robots in the default
        pose at these positions, so that no foot begins in the ground."""
        turn = rotation_matrix(qpos[:, 3:7])[:, :2, :2]
        points = qpos[:, None, :2] + self._stance @ turn.transpose(1, 2)
        return self.heights(points, self.tile).amax(1)

    def _reset(self, mask: torch.Tensor) -> None:
        """Start new episodes of the masked robots [N] bool; the others are untouched."""
        self.randomization.resample(mask)
        self.simulator.randomize(mask, self.randomization.parameters)
        spread = self._spawn_radius[self.tile]
        qpos, qvel = self.randomization.initial_state(self._origin, spread)
        qpos[:, 2] += self._ground_under(qpos) - self._origin[:, 2]
        self.simulator.reset(mask, qpos, qvel)
        keep = ~mask
        for name in ("action", "last_action", "air_time", "totals", "wrapped"):
            getattr(self, name).masked_fill_(mask[:, None], 0.0)  # a product keeps NaN
        self.episode_length *= keep
        self.farthest.masked_fill_(mask, 0.0)
        self.commands.resample(mask)
        state = self.simulator.state
        chosen = mask[:, None]
        torch.where(chosen, state.joint_vel, self.last_joint_vel, out=self.last_joint_vel)
        torch.where(chosen, state.foot_force, self.last_foot_force, out=self.last_foot_force)
        self.contact &= keep[:, None]
        self.duty.masked_fill_(chosen, _START_DUTY)
        torch.where(chosen, self.position, self.start, out=self.start)
        self.extension_terms.reset(mask)
        self.extension_groups.reset(mask)
        self.scandots.reset(mask, self._survey())
        self.commands.steer(self.yaw)


def _zero_rows(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """`values` [N, ...] with 0 in the masked rows [N] bool, whatever they hold."""
    return torch.where(mask[:, None], 0.0, values)


def _soft_limits(robot: RobotSpec, share: float) -> torch.Tensor:
    """The middle `share` of each joint's range, [J, 2] rad."""
    low, high = torch.as_tensor(robot.joint_range, dtype=torch.float32).unbind(1)
    middle, half = (low + high) / 2, (high - low) / 2 * share
    return torch.where(
        torch.isfinite(half)[:, None],
        torch.stack([middle - half, middle + half], dim=1),
        torch.stack([low, high], dim=1),
    )

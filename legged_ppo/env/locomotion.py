"""LocomotionEnv: robots that follow velocity commands. One control step reads top to bottom in `step`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from legged_ppo.config.extensions import load_extensions
from legged_ppo.config.schema import Config
from legged_ppo.env import rewards
from legged_ppo.env.commands import VelocityCommands
from legged_ppo.env.episode_statistics import EpisodeStatistics
from legged_ppo.env.extension_groups import ExtensionGroups
from legged_ppo.env.extension_terms import ExtensionTerms
from legged_ppo.env.foot_contacts import FootContacts
from legged_ppo.env.gait_clock import GaitClock
from legged_ppo.env.kernels import compiled, fusable, fusable_for_all, make_kernels
from legged_ppo.env.observations import ObservationBuilder, ObservationInputs
from legged_ppo.env.pace import Pace
from legged_ppo.env.placement import Placement
from legged_ppo.env.randomization import Randomization
from legged_ppo.env.survey import Survey
from legged_ppo.env.symmetry import make_symmetry
from legged_ppo.interface import Environment, Observations, StepResult, Symmetry, TensorFunction
from legged_ppo.robots.front import camera_mount
from legged_ppo.robots.spec import RobotSpec
from legged_ppo.runtime import distributed
from legged_ppo.runtime.device import any_without_sync, finite_rows, rows_without_sync
from legged_ppo.runtime.owned_state import OwnedState
from legged_ppo.sensors.depth_camera import BasePose, DepthCamera
from legged_ppo.sensors.height_scan import Scandots
from legged_ppo.sim.simulator import KeepsBodies, Simulator
from legged_ppo.terrain.grid import Terrain

if TYPE_CHECKING:
    from legged_ppo.runtime.fusion.fused import Fused


class LocomotionEnv(OwnedState, Environment):
    """`Environment` of one robot type on one terrain, in front of any `Simulator`.

    Args:
        config: the whole recipe (robot, terrain, task).
        generator: source of all randomness, on the simulator's device.
    """

    generator: torch.Generator
    fits_graphs = True  # see `Environment`
    owned = ("action", "last_joint_vel", "episode_length")

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
        bodies = simulator.num_bodies if isinstance(simulator, KeepsBodies) else 0
        self.randomization = Randomization(
            task.randomization, robot, self.num_envs, self.dt, config.sim.dt, generator, bodies
        )
        if isinstance(simulator, KeepsBodies) and self.randomization.bodies is not None:
            simulator.keep_bodies(self.randomization.bodies)
        self.clock = GaitClock(task.gait, self.num_envs, robot.num_feet, self.dt, generator)
        sight = task.observations
        self.feet = FootContacts(self.num_envs, robot.num_feet, self.dt, self.device)
        self.pace = Pace(task.stuck_after_s, self.num_envs, self.dt, self.device, task.stuck_from)
        self.scandots = Scandots(sight.scandots, self.num_envs, self.dt, generator, sight.noise)
        self.depth = self.make_camera() if sight.depth.enabled else None
        self.observations = ObservationBuilder(
            sight, robot, self.scandots.size, self.clock.size, self.device
        )
        self.extension_groups = ExtensionGroups(config, robot, self.num_envs, self.device)
        image = {"depth": self.depth.shape} if self.depth else {}
        self.obs_dims = {**self.extension_groups.dims(self.observations.dims), **image}
        self.extension_terms = ExtensionTerms(config, self.num_envs, self.device)
        self.reward_terms = rewards.active_terms(task.rewards)
        self.statistics = EpisodeStatistics(
            list(self.reward_terms), self.max_episode_length, self.num_envs, self.device
        )
        self.episode_metrics = self.statistics.episode_metrics
        self.step_metrics = self.statistics.step_metrics
        self.placement = Placement(terrain, simulator, task.commands.forward_types)
        self.commands.on_flat = self.placement.on_flat
        self.commands.on_forward = self.placement.on_forward
        self.survey = Survey(simulator, self.placement, self.scandots)
        self._buffers = self.feet, self.placement, self.statistics
        self._load_constants()
        self._start_episode_state()
        self.kernels = self._make_kernels()

    def _load_constants(self) -> None:
        """Tensors that stay as they are."""
        weights = torch.tensor(list(self.reward_terms.values()), dtype=torch.float32)
        self._weights = (weights * self.dt).to(self.device)
        default = torch.as_tensor(self.robot.default_joint_pos, dtype=torch.float32)
        self._default = default.to(self.device)
        self._foot_radius = torch.tensor(
            self.robot.foot_radius, dtype=torch.float32, device=self.device
        )
        share = self.config.task.rewards.soft_joint_limit
        self._soft_limits = rewards.soft_limits(self.robot, share).to(self.device)

    def _make_kernels(self) -> dict[str, Fused]:
        """None of a subclass, or of what calls an extension's functions: they may do what cannot be compiled."""
        if type(self) is not LocomotionEnv:
            return {}
        refused = {"_judge"} if self.extension_terms else set()
        if not self.commands.draws_itself:
            refused |= {"_restart", "_command"}
        return make_kernels(self, refused)

    def compiled(self, function: TensorFunction, rows: int) -> TensorFunction:
        """See `Environment`."""
        return compiled(self, function, rows)

    def make_camera(self, robots: int | None = None) -> DepthCamera:
        """Depth cameras of `task.observations.depth`, apart from the observations; None: one for each robot."""
        sight, generator = self.config.task.observations, self.generator
        mount = camera_mount(self.robot, sight.depth.position)
        return DepthCamera(
            sight.depth,
            mount,
            self.terrain,
            robots or self.num_envs,
            self.dt,
            generator,
            sight.noise,
        )

    def place(self, column: int, level: int) -> None:
        """Put every robot on this tile, from the next reset on."""
        self.placement.place(column, level)

    def _start_episode_state(self) -> None:
        n, j = self.num_envs, self.num_actions

        def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
            return torch.zeros(shape, dtype=dtype, device=self.device)

        self.action, self.last_action = zeros(n, j), zeros(n, j)
        self.last_joint_vel = zeros(n, j)
        self.episode_length = zeros(n, dtype=torch.int64)
        self.failed = zeros(n, dtype=torch.bool)

    @property
    def symmetry(self) -> Symmetry:
        """See `Environment`. Masses and centres of mass are not compared between the sides.

        Raises:
            ConfigError: joints, their axes, the default pose, feet or the scandots' grid have no mirror
                image, or an extension's observation group has none.
        """
        sight = self.config.task.observations.depth
        found = make_symmetry(
            self.robot,
            self.scandots.grid.cpu(),
            self.config.task.gait,
            self.device,
            depth_columns=sight.columns if sight.enabled else 0,
        )
        return self.extension_groups.mirrored(found)

    @property
    def terrain_type(self) -> torch.Tensor:
        """[N] int64, column of each robot's tile"""
        return self.placement.curriculum.types

    @property
    def env_groups(self) -> torch.Tensor | None:
        """The terrain types, where there are several."""
        return self.terrain_type if len(self.terrain.types) > 1 else None

    @property
    def terrain_level(self) -> torch.Tensor:
        """[N] int64, row of each robot's tile"""
        return self.placement.curriculum.levels

    @property
    def position(self) -> torch.Tensor:
        """[N, 2] m, where the robot has walked to on its endless tile; no jumps at the tile's edges"""
        return self.placement.position

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
        """Start every robot at the beginning of an episode, as evaluation requires."""
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
        sound, targets, push = self._take_command(actions)
        if push is not None and any_without_sync(push):
            self.simulator.push(push)
        self.simulator.step(targets, self.randomization.latency)
        shift = self._stay_on_tile()
        if any_without_sync(shift):
            self.simulator.translate(shift)
        self._measure()
        if self.depth:
            self.depth.step(self.base_pose())
        reward, terminated, truncated, due = self._judge(sound)
        if any_without_sync(due):
            self._command(due)
        final_obs = obs = self._conclude()
        done = terminated | truncated
        info = self.statistics.info(done, self.failed)
        if any_without_sync(done):
            self._move_levels(done, terminated)
            self._reset(done)
            # Only where an episode ended: the others must not see a second draw of noise.
            first = self._observe(done)
            chosen = self._choose(done, *first.values(), *(final_obs[name] for name in first))
            obs = dict(zip(first, chosen, strict=True))
        return StepResult(obs, reward, terminated, truncated, final_obs, info)

    @fusable
    def _take_command(
        self, actions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Which robots' actions are finite [N] bool, joint targets [N, J] rad, and a push [N, 2] m/s if there are
        pushes."""
        sound = finite_rows(actions) & ~self.extension_groups.unsound
        self.extension_groups.unsound.zero_()
        actions = torch.where(sound[:, None], actions, 0.0)
        clip = self.config.task.action_clip
        actions = actions.clamp(-clip, clip)
        self.last_action.copy_(self.action)
        self.action.copy_(actions)
        self.episode_length += 1
        targets = self._default + self.robot.config.action_scale * actions
        return sound, targets, self.randomization.pushes()

    @fusable_for_all
    def _stay_on_tile(self) -> torch.Tensor:
        """See `Placement.find_shift`."""
        return self.placement.find_shift()

    @fusable_for_all
    def _command(self, due: torch.Tensor) -> None:
        """Give new commands to the robots that are due [N] bool."""
        self.commands.resample(due)

    @fusable
    def _judge(
        self, sound: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Reward [N]; terminated, truncated and due for a new command, [N] bool each."""
        state = self.simulator.state
        tilted = self.survey.projected_gravity[:, 2] > -math.cos(self.config.task.max_tilt)
        self.failed.copy_(state.failed | ~sound | ~self._measured_finite())
        terminated = state.termination_contact | tilted | self.failed
        if self.pace.watched:
            self.pace.step(self.path_velocity, self.commands.command)
            terminated = terminated | self.pace.stuck()
        inputs = self._reward_inputs(terminated)
        inputs.fell = self.extension_terms.ended(inputs)
        reward, terms, terminated = self._reward(inputs)
        truncated = (self.episode_length >= self.max_episode_length) & ~terminated
        self.statistics.add(inputs, reward, terms, terminated, self.failed)
        return reward, terminated, truncated, self.commands.advance(self.survey.yaw)

    def _conclude(self) -> Observations:
        """The last observations of the step, 0 of failed robots."""
        obs = self._extended(self._observe_end())
        if self.depth or self.extension_groups:
            obs = {name: _zero_rows(values, self.failed) for name, values in obs.items()}
        return obs

    @fusable
    def _observe_end(self) -> Observations:
        """The observations after a step, without those of extensions and cameras."""
        state = self.simulator.state
        self.commands.steer(self.survey.yaw)
        self.clock.step()
        self.last_joint_vel.copy_(state.joint_vel)
        self.feet.remember(state.foot_force)
        obs = self.observations(self._observation_inputs())
        return {name: _zero_rows(values, self.failed) for name, values in obs.items()}

    def observed_commands(self) -> torch.Tensor:
        """[N, 3 or 5], the observation group `commands`."""
        command = self.commands.command
        return torch.cat([command, self.clock.observation(rewards.moving(command))], dim=1)

    def state_dict(self) -> dict[str, Any]:
        buffers: dict[str, Any] = super().state_dict()
        for part in self._buffers:
            buffers |= part.state_dict()
        state = {
            "simulator": self.simulator.state_dict(),
            "commands": self.commands.state_dict(),
            "randomization": self.randomization.state_dict(),
            "scandots": self.scandots.state_dict(),
            "curriculum": self.placement.curriculum.state_dict(),
            "buffers": buffers,
            "generator": self.generator.get_state(),
        }
        if self.clock.size:
            state["clock"] = self.clock.state_dict()
        if self.pace.watched:
            state["pace"] = self.pace.state_dict()
        if self.depth:
            state["depth"] = self.depth.state_dict()
        if extra := self.extension_terms.state_dict() | self.extension_groups.state_dict():
            state["extensions"] = extra
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.placement.curriculum.load_state_dict(state["curriculum"])
        self.placement.find_tiles()  # first: the engine rebuilds itself when robots change columns
        self.simulator.load_state_dict(state["simulator"])
        self.commands.load_state_dict(state["commands"])
        if self.clock.size:
            self.clock.load_state_dict(state["clock"])
        if self.pace.watched:
            self.pace.load_state_dict(state["pace"])
        self.randomization.load_state_dict(state["randomization"])
        self.scandots.load_state_dict(state["scandots"])
        if self.depth:
            self.depth.load_state_dict(state["depth"])
        self.extension_terms.load_state_dict(state.get("extensions", {}))
        self.extension_groups.load_state_dict(state.get("extensions", {}))
        super().load_state_dict(state["buffers"])
        for part in self._buffers:
            part.load_state_dict(state["buffers"])
        self.generator.set_state(state["generator"])

    def load_levels(self, states: list[dict[str, Any]]) -> None:
        """Take over the robots' levels alone, from as many ranks as there were."""
        found = [state["curriculum"] for state in states]
        self.placement.load_levels(found, distributed.rank(), distributed.world_size())

    def set_progress(self, progress: float) -> None:
        """Take over the training's progress in [0, 1], for the command ranges and robots that are stuck."""
        self.commands.set_progress(progress)
        self.pace.set_progress(progress)

    def metrics(self) -> dict[str, torch.Tensor]:
        """Scalars of the engine and of the curriculum, if there is one, to be read once an iteration."""
        metrics = self.simulator.metrics()
        if self.config.terrain.curriculum.rule != "none":
            metrics |= self.placement.curriculum.metrics(self.terrain.types)
        return metrics

    def curriculum_report(self) -> dict[str, Any] | None:
        """`TerrainCurriculum.report`; None on ground that has no levels to climb."""
        if self.config.terrain.curriculum.rule == "none":
            return None
        return self.placement.curriculum.report(self.terrain.types)

    @fusable
    def _measure(self) -> None:
        """Quantities derived from the physics' state that rewards and observations share."""
        state = self.simulator.state
        self.feet.step(state.foot_force, self.config.task.observations.contact_threshold)
        self.placement.measure()
        self.survey.take()
        self.scandots.step(self.survey.clearance)
        command = self.commands.command[:, :2]
        along = (state.base_lin_vel[:, :2] * command).sum(1) / command.norm(dim=1).clamp(min=1e-6)
        # Without the course angle, circling in the base frame would count as distance.
        self.path_velocity = along * torch.cos(self.survey.yaw - self.commands.course)

    def base_pose(self) -> BasePose:
        """Where the bases are now."""
        state, where = self.simulator.state, self.placement
        return BasePose(state.base_pos, state.base_rotation, where.wrapped, where.tile)

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
            self.survey.projected_gravity,
            self.survey.base_height[:, None],
            self.survey.foot_height,
            self.scandots.reading,
        )
        return finite_rows(torch.cat(parts, dim=1))

    def _reward_inputs(self, fell: torch.Tensor) -> rewards.RewardInputs:
        return rewards.RewardInputs(
            state=self.simulator.state,
            config=self.config.task.rewards,
            command=self.commands.command,
            path_velocity=self.path_velocity,
            projected_gravity=self.survey.projected_gravity,
            action=self.action,
            last_action=self.last_action,
            last_joint_vel=self.last_joint_vel,
            last_foot_force=self.feet.last_foot_force,
            air_time=self.feet.swing_time,
            duty=self.feet.duty,
            landed=self.feet.landed,
            contact=self.feet.contact,
            base_height=self.survey.base_height,
            foot_height=self.survey.foot_height,
            default_joint_pos=self._default,
            soft_limits=self._soft_limits,
            gait=self.clock,
            foot_radius=self._foot_radius,
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
        self.failed |= ~finite_rows(terms)
        fell = inputs.fell | self.failed
        terms = _zero_rows(terms, self.failed)
        reward = terms.sum(1)
        if config.only_positive:
            reward = reward.clamp(min=0.0)
        return reward + config.termination * fell, terms, fell

    def _observe(self, mask: torch.Tensor | None = None) -> Observations:
        """The observations; with a mask [N] bool, those of the masked robots count, and lasting state of the
        others' groups stays."""
        return self._extended(self._observe_now(), mask)

    @fusable
    def _observe_now(self) -> Observations:
        """The observations without those of extensions and cameras."""
        return self.observations(self._observation_inputs())

    def _extended(self, obs: Observations, mask: torch.Tensor | None = None) -> Observations:
        """Observations with those of extensions and cameras; see `_observe`."""
        if self.extension_groups:
            obs = self.extension_groups.extend(obs, self._observation_inputs(), mask)
        return obs | {"depth": self.depth.reading.clone()} if self.depth else obs

    def _observation_inputs(self) -> ObservationInputs:
        return ObservationInputs(
            state=self.simulator.state,
            config=self.config.task.observations,
            command=self.commands.command,
            observed_commands=self.observed_commands(),
            projected_gravity=self.survey.projected_gravity,
            yaw=self.survey.yaw,
            action=self.action,
            contact=self.feet.contact,
            air_time=self.feet.air_time,
            foot_height=self.survey.foot_height,
            base_height=self.survey.base_height,
            scandots=self.scandots.reading,
            parameters=self.randomization.privileged,
            default_joint_pos=self._default,
            dt=self.dt,
            generator=self.generator,
        )

    def _reset(self, mask: torch.Tensor) -> None:
        """Start new episodes of the masked robots [N] bool; the others are untouched."""
        qpos, qvel = self._draw_starts(mask)
        robots = rows_without_sync(mask)
        everyone = len(robots) == self.num_envs
        if everyone:
            self._lift(qpos)
        else:
            self.placement.lift(qpos, robots)
        self.simulator.reset(mask, qpos, qvel, self.randomization.parameters)
        self._restart(mask)
        self.extension_terms.reset(mask)
        self.extension_groups.reset(mask)
        if everyone:
            self._survey()
        else:
            self.survey.take(robots)
        self._settle(mask)
        if self.depth:
            self.depth.reset(mask, self.base_pose())

    @fusable
    def _draw_starts(self, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw parameters of the masked robots [N] bool, and where each robot would start: positions [N, 7 + J]
        above the tile's middle, and velocities [N, 6 + J]."""
        self.randomization.resample(mask)
        return self.randomization.initial_state(self.placement.origin, self.placement.spawn_radius)

    @fusable_for_all
    def _lift(self, qpos: torch.Tensor) -> None:
        """See `Placement.lift_all`."""
        self.placement.lift_all(qpos)

    @fusable_for_all
    def _survey(self) -> None:
        """See `Survey.take`."""
        self.survey.take()

    def _move_levels(self, done: torch.Tensor, terminated: torch.Tensor) -> None:
        """Let the curriculum decide where the robots that ended, `done` [N] bool, start again."""
        curriculum = self.placement.curriculum
        curriculum.count(*self._move(done, terminated))
        self.simulator.assign(self.placement.tile)

    @fusable_for_all
    def _move(
        self, done: torch.Tensor, terminated: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Take robots to the tiles where they start again; returns what the curriculum counts."""
        outcome = self.statistics.outcome(self.placement.farthest, terminated)
        counted = self.placement.curriculum.counted(done, outcome.solved)
        self.placement.curriculum.move(done, outcome, self.generator)
        self.placement.look_up_tiles()
        return counted

    @fusable_for_all
    def _choose(self, mask: torch.Tensor, *groups: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Rows [N, ...] of the first half of the groups where the mask [N] bool holds, else of the other half."""
        half = len(groups) // 2
        pairs = zip(groups[:half], groups[half:], strict=True)
        return tuple(_chosen_rows(mask, first, last) for first, last in pairs)

    @fusable
    def _restart(self, mask: torch.Tensor) -> None:
        """Start the episodes of the masked robots [N] bool from the physics' state."""
        chosen, state = mask[:, None], self.simulator.state
        for tensor in (self.action, self.last_action):
            tensor.masked_fill_(chosen, 0.0)  # a product keeps NaN
        self.episode_length *= ~mask
        self.commands.resample(mask)
        self.clock.reset(mask)
        if self.pace.watched:
            self.pace.reset(mask)
        torch.where(chosen, state.joint_vel, self.last_joint_vel, out=self.last_joint_vel)
        self.feet.reset(mask, state.foot_force)
        self.placement.begin(mask)
        self.statistics.reset(mask)

    @fusable
    def _settle(self, mask: torch.Tensor) -> None:
        """Let the masked robots [N] bool see where they are."""
        self.scandots.reset(mask, self.survey.clearance)
        self.commands.steer(self.survey.yaw)


def _zero_rows(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """`values` [N, ...] with 0 in the masked rows [N] bool, whatever they hold."""
    return torch.where(mask.view(-1, *(1,) * (values.dim() - 1)), 0.0, values)


def _chosen_rows(mask: torch.Tensor, chosen: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Rows [N, ...] of `chosen` where the mask [N] bool holds, else of `others`."""
    return torch.where(mask.view(-1, *(1,) * (chosen.dim() - 1)), chosen, others)

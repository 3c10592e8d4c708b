"""LocomotionEnv: robots that follow velocity commands. One control step reads top to bottom in `step`."""

from __future__ import annotations

import math
from typing import Any

import torch

from legged_ppo.config.schema import Config
from legged_ppo.env import rewards
from legged_ppo.env.commands import VelocityCommands
from legged_ppo.env.environment import Observations, StepResult
from legged_ppo.env.observations import ObservationBuilder
from legged_ppo.env.randomization import Randomization
from legged_ppo.robots.spec import RobotSpec
from legged_ppo.sim.rotations import rotate_inverse, yaw
from legged_ppo.sim.simulator import Simulator
from legged_ppo.terrain.grid import HeightMap, Terrain

_SPAWN_MARGIN = 1.5
"""Distance [m] that robots keep from the edge of their tile at a reset."""
_DUTY_TIME = 1.0
"""Time constant [s] of the running average of each foot's contact."""
_START_DUTY = 0.5
_EPISODE_METRICS = ["count", "return", "length", "Episode/fall_rate", "progress", "commanded"]
_STEP_METRICS = ["Track/lin_vel_error", "Track/yaw_rate_error", "Sim/nonfinite_resets"]
_STATE = (
    "action",
    "last_action",
    "last_joint_vel",
    "last_foot_force",
    "air_time",
    "contact",
    "duty",
    "episode_length",
    "totals",
    "terrain_type",
    "terrain_level",
)
"""Attributes that an episode carries from step to step and a checkpoint keeps."""


class LocomotionEnv:
    """`Environment` of one robot type on one terrain, in front of any `Simulator`.

    Args:
        config: the whole recipe (robot, terrain, task).
        generator: source of all randomness, on the simulator's device.
    """

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
        self.commands = VelocityCommands(task.commands, self.num_envs, self.dt, generator)
        self.randomization = Randomization(
            task.randomization, robot, self.num_envs, self.dt, config.sim.dt, generator
        )
        self.heights = HeightMap(terrain, self.device)
        self.observations = ObservationBuilder(
            task.observations, robot, self.heights, generator, self.num_envs
        )
        self.obs_dims = self.observations.dims
        self.reward_terms = rewards.active_terms(task.rewards)
        weights = torch.tensor(list(self.reward_terms.values()), device=self.device)
        self._weights = weights * self.dt
        self.episode_metrics = _EPISODE_METRICS + [f"Episode/rew_{n}" for n in self.reward_terms]
        self.step_metrics = _STEP_METRICS
        n, j, f = self.num_envs, self.num_actions, robot.num_feet

        def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
            return torch.zeros(shape, dtype=dtype, device=self.device)

        self.action, self.last_action = zeros(n, j), zeros(n, j)
        self.last_joint_vel, self.last_foot_force = zeros(n, j), zeros(n, f)
        self.air_time, self.contact = zeros(n, f), zeros(n, f, dtype=torch.bool)
        self.duty = torch.full((n, f), _START_DUTY, device=self.device)
        self.episode_length = zeros(n, dtype=torch.int64)
        self.totals = zeros(n, len(self.episode_metrics))
        types, levels = terrain.assign(n)
        self.terrain_type = torch.as_tensor(types, device=self.device)
        self.terrain_level = torch.as_tensor(levels, device=self.device)
        self._origins = torch.as_tensor(terrain.origins, dtype=torch.float32, device=self.device)
        self._default = torch.as_tensor(
            robot.default_joint_pos, dtype=torch.float32, device=self.device
        )
        self._gravity = torch.tensor([0.0, 0.0, -1.0], device=self.device).expand(n, 3)
        self._soft_limits = _soft_limits(robot, task.rewards.soft_joint_limit).to(self.device)
        self.projected_gravity, self.yaw = self._gravity, zeros(n)

    def reset(self) -> Observations:
        """Start every robot anew, with episode clocks spread over the episode's length.

        Without the spread all robots would time out in the same step for ever.
        """
        everyone = torch.ones(self.num_envs, dtype=torch.bool, device=self.device)
        self._reset(everyone)
        self.episode_length = torch.randint(
            self.max_episode_length,
            (self.num_envs,),
            generator=self.generator,
            device=self.device,
        )
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
        """
        clip = self.config.task.action_clip
        actions = actions.clamp(-clip, clip)
        targets = self._default + self.robot.config.action_scale * actions
        push = self.randomization.pushes()
        if push is not None:
            self.simulator.push(push)
        self.simulator.step(targets, self.randomization.latency)
        self.last_action, self.action = self.action, actions
        self.episode_length += 1

        self._measure()
        state = self.simulator.state
        tilted = self.projected_gravity[:, 2] > -math.cos(self.config.task.max_tilt)
        terminated = state.termination_contact | tilted | state.failed
        truncated = (self.episode_length >= self.max_episode_length) & ~terminated
        reward, terms = self._reward(terminated)
        self._account(reward, terms, terminated)

        self.commands.step(self.yaw)
        self.last_joint_vel, self.last_foot_force = state.joint_vel, state.foot_force
        final_obs = obs = self._observe()
        done = terminated | truncated
        info = self._info(done)
        # On a GPU asking would stall the stream, so there every step resets (a mask of) robots.
        if self.device.type != "cpu" or bool(done.any()):
            self._reset(done)
            # Only where an episode ended: the others must not see a second draw of noise.
            first = self._observe()
            obs = {k: torch.where(done[:, None], first[k], last) for k, last in final_obs.items()}
        return StepResult(obs, reward, terminated, truncated, final_obs, info)

    def state_dict(self) -> dict[str, Any]:
        return {
            "simulator": self.simulator.state_dict(),
            "commands": self.commands.state_dict(),
            "randomization": self.randomization.state_dict(),
            "buffers": {name: getattr(self, name).clone() for name in _STATE},
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.simulator.load_state_dict(state["simulator"])
        self.commands.load_state_dict(state["commands"])
        self.randomization.load_state_dict(state["randomization"])
        for name in _STATE:
            setattr(self, name, state["buffers"][name].clone())
        self.generator.set_state(state["generator"])

    def _measure(self) -> None:
        """Quantities derived from the physics' state that rewards and observations share."""
        state = self.simulator.state
        threshold = self.config.task.observations.contact_threshold
        touching = state.foot_force > threshold
        self.landed = touching & ~self.contact
        self.contact = touching
        self.duty = torch.lerp(self.duty, touching.float(), self.dt / _DUTY_TIME)
        self.air_time += self.dt
        self.swing_time = self.air_time
        self.air_time = self.air_time * ~touching
        self.projected_gravity = rotate_inverse(state.base_quat, self._gravity)
        self.yaw = yaw(state.base_quat)

    def _reward(self, fell: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Reward [N] and its weighted terms [N, terms]."""
        state, config = self.simulator.state, self.config.task.rewards
        inputs = rewards.RewardInputs(
            state=state,
            config=config,
            command=self.commands.command,
            projected_gravity=self.projected_gravity,
            action=self.action,
            last_action=self.last_action,
            last_joint_vel=self.last_joint_vel,
            last_foot_force=self.last_foot_force,
            air_time=self.swing_time,
            duty=self.duty,
            landed=self.landed,
            contact=self.contact,
            heights=self.heights,
            default_joint_pos=self._default,
            soft_limits=self._soft_limits,
            fell=fell,
            dt=self.dt,
        )
        values = [rewards.TERMS[name](inputs) for name in self.reward_terms]
        terms = torch.stack(values, dim=1) * self._weights
        terms = torch.where(state.failed[:, None], 0.0, terms)
        reward = terms.sum(1)
        if config.only_positive:
            reward = reward.clamp(min=0.0)
        return reward + config.termination * fell, terms

    def _account(self, reward: torch.Tensor, terms: torch.Tensor, fell: torch.Tensor) -> None:
        """Add this step to the episodes' totals and take the tracking errors."""
        command, state = self.commands.command, self.simulator.state
        velocity = state.base_lin_vel[:, :2]
        speed = command[:, :2].norm(dim=1)
        # Velocity along the command; progress over an episode is measured in the base frame, so
        # commands that change or turn the robot count as walked.
        along = (velocity * command[:, :2]).sum(1) / speed.clamp(min=1e-6)
        one = torch.ones_like(reward)
        columns = [one, reward, one, fell.float(), along * self.dt, speed * self.dt]
        self.totals += torch.cat([torch.stack(columns, dim=1), terms], dim=1)
        self.lin_vel_error = (velocity - command[:, :2]).norm(dim=1)
        self.yaw_rate_error = (state.base_ang_vel[:, 2] - command[:, 2]).abs()

    def _info(self, done: torch.Tensor) -> dict[str, torch.Tensor]:
        ended = (self.totals * done[:, None]).sum(0)
        ended[0] = done.sum()
        errors = [self.lin_vel_error, self.yaw_rate_error, self.simulator.state.failed.float()]
        return {"episode": ended, "step": torch.stack(errors).sum(1)}

    def _observe(self) -> Observations:
        return self.observations(
            self.simulator.state,
            self.projected_gravity,
            self.commands.command,
            self.action,
            self.contact,
            self.yaw,
            self.randomization.privileged,
        )

    def _reset(self, mask: torch.Tensor) -> None:
        """Start new episodes of the masked robots [N] bool; the others are untouched."""
        self.randomization.resample(mask)
        self.simulator.randomize(mask, self.randomization.parameters)
        origins = self._origins[self.terrain_type, self.terrain_level]  # [N, 3]
        spread = max(self.config.terrain.tile_size / 2 - _SPAWN_MARGIN, 0.0)
        qpos, qvel = self.randomization.initial_state(origins, spread)
        qpos[:, 2] += self.heights(qpos[:, :2]) - origins[:, 2]
        self.simulator.reset(mask, qpos, qvel)
        keep = ~mask
        for name in ("action", "last_action", "air_time", "totals"):
            setattr(self, name, getattr(self, name) * keep[:, None])
        self.episode_length = self.episode_length * keep
        self.commands.resample(mask)
        state = self.simulator.state
        self.last_joint_vel = torch.where(mask[:, None], state.joint_vel, self.last_joint_vel)
        self.last_foot_force = torch.where(mask[:, None], state.foot_force, self.last_foot_force)
        self.contact = self.contact & keep[:, None]
        self.duty = torch.where(mask[:, None], _START_DUTY, self.duty)
        self.projected_gravity = rotate_inverse(state.base_quat, self._gravity)
        self.yaw = yaw(state.base_quat)
        self.commands.steer(self.yaw)


def _soft_limits(robot: RobotSpec, share: float) -> torch.Tensor:
    """The middle `share` of each joint's range, [J, 2] rad."""
    low, high = torch.as_tensor(robot.joint_range, dtype=torch.float32).unbind(1)
    middle, half = (low + high) / 2, (high - low) / 2 * share
    return torch.where(
        torch.isfinite(half)[:, None],
        torch.stack([middle - half, middle + half], dim=1),
        torch.stack([low, high], dim=1),
    )

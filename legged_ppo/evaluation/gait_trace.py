"""Recordings of robots that follow given commands on flat ground."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from legged_ppo.config.schema import Config, TerrainConfig
from legged_ppo.env.factory import make_locomotion_env
from legged_ppo.env.locomotion import LocomotionEnv
from legged_ppo.evaluation.evaluator import evaluation_config
from legged_ppo.evaluation.rollout import rollout
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.models.recurrent_policy import RecurrentPolicy

_TRANSIENT_S, _RECORDED_S = 2.0, 8.0
"""Time [s] before the recording, and its length."""


@dataclass
class GaitTrace:
    """A recording of T control steps of N robots with F feet and J joints."""

    dt: float
    """s, control step"""
    contact: np.ndarray
    """[T, N, F] bool"""
    foot_height: np.ndarray
    """[T, N, F] m of the feet's centres above the ground"""
    foot_speed: np.ndarray
    """[T, N, F] m/s, horizontal"""
    velocity: np.ndarray
    """[T, N, 3] forward and lateral velocity [m/s], yaw rate [rad/s], base frame"""
    position: np.ndarray
    """[T, N, 2] m"""
    base_height: np.ndarray
    """[T, N] m above the ground"""
    pitch: np.ndarray
    """[T, N] rad, positive with the nose down"""
    action: np.ndarray
    """[T, N, J]"""
    torque: np.ndarray
    """[T, N, J] N m"""
    joint_velocity: np.ndarray
    """[T, N, J] rad/s"""
    torque_limit: np.ndarray
    """[J] N m"""
    velocity_limit: np.ndarray
    """[J] rad/s; inf where it is not known"""
    fell: np.ndarray
    """[N] bool, the robot fell during the test"""
    joints: list[str]
    feet: list[str]

    @property
    def duration(self) -> float:
        """s"""
        return len(self.contact) * self.dt

    def select(self, keep: np.ndarray) -> GaitTrace:
        """The robots of a mask [N] bool."""
        per_robot = (
            name
            for name, value in vars(self).items()
            if isinstance(value, np.ndarray) and value.ndim > 1
        )
        rows = {name: getattr(self, name)[:, keep] for name in per_robot}
        return replace(self, fell=self.fell[keep], **rows)


def record_gaits(
    policy: ActorCritic,
    config: Config,
    commands: Sequence[tuple[float, float, float]],
    robots: int,
    seed: int,
) -> list[GaitTrace]:
    """One recording of `robots` robots per command [m/s, m/s, rad/s], on flat ground."""
    conditions = evaluation_config(config)
    conditions.terrain = TerrainConfig(
        tile_size=config.terrain.tile_size, border=config.terrain.border
    )
    conditions.task.episode_length_s = _TRANSIENT_S + _RECORDED_S + 1.0
    env = make_locomotion_env(conditions, robots * len(commands), seed, policy.device)
    env.commands.fix(torch.tensor(commands).repeat_interleave(robots, dim=0))
    obs = env.start_episodes_together()
    actor = RecurrentPolicy(policy, env.num_envs, env.device)
    start, end = round(_TRANSIENT_S / env.dt), round((_TRANSIENT_S + _RECORDED_S) / env.dt)
    fell = torch.zeros(env.num_envs, dtype=torch.bool, device=env.device)
    frames = []
    for step, result in zip(range(end), rollout(actor, env, obs), strict=False):
        fell |= result.terminated
        if step >= start:
            frames.append(_frame(env))
    columns = {name: np.stack([frame[name] for frame in frames]) for name in frames[0]}
    robot = env.robot
    everyone = GaitTrace(
        dt=env.dt,
        torque_limit=robot.torque_limit,
        velocity_limit=robot.velocity_limit,
        fell=fell.cpu().numpy(),
        joints=list(robot.config.joints),
        feet=list(robot.config.foot_geoms),
        **columns,
    )
    group = np.arange(env.num_envs) // robots
    return [everyone.select(group == index) for index in range(len(commands))]


def _frame(env: LocomotionEnv) -> dict[str, np.ndarray]:
    """One control step of a `GaitTrace`."""
    state = env.simulator.state
    forward = state.base_rotation[:, 2, 0]  # vertical part of the base's x axis
    tensors = {
        "contact": env.feet.contact,
        "foot_height": env.survey.foot_height,
        "foot_speed": state.foot_vel[..., :2].norm(dim=-1),
        "velocity": torch.cat([state.base_lin_vel[:, :2], state.base_ang_vel[:, 2:]], dim=1),
        "position": env.position,
        "base_height": env.survey.base_height,
        "pitch": -torch.asin(forward.clamp(-1.0, 1.0)),
        "action": env.action,
        "torque": state.joint_torque,
        "joint_velocity": state.joint_vel,
    }
    return {name: tensor.cpu().numpy().copy() for name, tensor in tensors.items()}

"""Reward terms: plain functions of named tensors, each [N] per second of simulated time.

Their weights are `RewardConfig`'s fields of the same names; a term of weight 0 is not computed.
Sources: [LG] legged_gym (Rudin et al., 2022), [AG] Agarwal et al., 2022, [EP] Extreme Parkour (Cheng
et al., 2023).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch

from legged_ppo.config.schema import RewardConfig
from legged_ppo.env.gait_clock import GaitClock
from legged_ppo.robots.spec import RobotSpec
from legged_ppo.sim.simulator import SimState

_STANDING = 0.1
"""Sum of the absolute values of a command [m/s, rad/s] up to which it counts as standing."""
_MISSED = 0.03
"""Depth [m] below a hole's edge from which a foot counts as in the hole."""


@dataclass
class RewardInputs:
    """Inputs of the reward terms in one control step. N robots, J joints, F feet."""

    state: SimState
    config: RewardConfig
    command: torch.Tensor
    """[N, 3] forward, lateral velocity [m/s] and yaw rate [rad/s]"""
    path_velocity: torch.Tensor
    """[N] m/s along the command, times the cosine of the angle to `VelocityCommands.course`"""
    projected_gravity: torch.Tensor
    """[N, 3] unit vector of gravity in the base frame"""
    action: torch.Tensor
    """[N, J]"""
    last_action: torch.Tensor
    """[N, J]"""
    last_joint_vel: torch.Tensor
    """[N, J] rad/s"""
    last_foot_force: torch.Tensor
    """[N, F] N"""
    air_time: torch.Tensor
    """[N, F] s since the foot left the ground, before this step's landings are cleared"""
    duty: torch.Tensor
    """[N, F] duty factor: share of about the last second in which each foot was in contact"""
    landed: torch.Tensor
    """[N, F] bool, first contact after a swing"""
    contact: torch.Tensor
    """[N, F] bool"""
    base_height: torch.Tensor
    """[N] m of the base above the ground; over a hole, above the ground beside it"""
    foot_height: torch.Tensor
    """[N, F] m of the feet's centres above the ground; in and over a hole, above the ground beside it"""
    default_joint_pos: torch.Tensor
    """[J] rad"""
    soft_limits: torch.Tensor
    """[J, 2] rad"""
    gait: GaitClock
    foot_radius: torch.Tensor
    """[F] m"""
    fell: torch.Tensor
    """[N] bool, the episode ended by a fall in this step; for terminations, by one of those before it"""
    dt: float
    """s, control step"""

    @property
    def moving(self) -> torch.Tensor:
        """[N] bool, the command is not to stand still."""
        return moving(self.command)

    @cached_property
    def swing(self) -> torch.Tensor:
        """[N, F] progress of each foot's swing by the gait clock, see `GaitClock.swing`."""
        return self.gait.swing()


def moving(command: torch.Tensor) -> torch.Tensor:
    """[N] bool, whether the commands [N, 3] ask for motion."""
    return command.abs().sum(1) > _STANDING


def tracking(x: RewardInputs) -> torch.Tensor:
    """v_cmd - |v_cmd - v_x| - |w_cmd - w_z|, of forward velocity and yaw rate alone [AG]."""
    forward = (x.command[:, 0] - x.state.base_lin_vel[:, 0]).abs()
    turn = (x.command[:, 2] - x.state.base_ang_vel[:, 2]).abs()
    return x.command[:, 0] - forward - turn


def tracking_lin_vel(x: RewardInputs) -> torch.Tensor:
    """exp(-|v_xy - v_cmd|^2 / sigma) [LG]."""
    error = (x.command[:, :2] - x.state.base_lin_vel[:, :2]).square().sum(1)
    return torch.exp(-error / x.config.tracking_sigma)


def tracking_ang_vel(x: RewardInputs) -> torch.Tensor:
    """exp(-(w_z - w_cmd)^2 / sigma) [LG]."""
    error = (x.command[:, 2] - x.state.base_ang_vel[:, 2]).square()
    return torch.exp(-error / x.config.tracking_sigma)


def progress(x: RewardInputs) -> torch.Tensor:
    """Velocity along the commanded path as a share of the commanded speed, -1 to 1; [EP] does so towards a
    goal.

    A robot that does not move loses as much at a slow command as at a fast one, unlike with the
    exponential terms. Circling earns nothing, because the path does not turn with the robot. A robot whose
    velocity varies gains by walking too fast in the mean, unless `overshoot_cost` is 1."""
    speed = x.command[:, :2].norm(dim=1)
    share = x.path_velocity / speed.clamp(min=1e-3)
    beyond = (share - 1.0).clamp(0.0, 2.0)
    return (share.clamp(-1.0, 1.0) - x.config.overshoot_cost * beyond) * (speed > 0.1)


def lin_vel_z(x: RewardInputs) -> torch.Tensor:
    """Squared vertical base velocity [LG]."""
    return x.state.base_lin_vel[:, 2].square()


def ang_vel_xy(x: RewardInputs) -> torch.Tensor:
    """Squared roll and pitch rates [LG]."""
    return x.state.base_ang_vel[:, :2].square().sum(1)


def orientation(x: RewardInputs) -> torch.Tensor:
    """Squared horizontal part of the projected gravity [LG]."""
    return x.projected_gravity[:, :2].square().sum(1)


def base_height(x: RewardInputs) -> torch.Tensor:
    """Squared distance of the base from its target height above the ground [LG]."""
    return (x.base_height - x.config.base_height_target).square()


def torques(x: RewardInputs) -> torch.Tensor:
    """Squared joint torques [LG]."""
    return x.state.joint_torque.square().sum(1)


def work(x: RewardInputs) -> torch.Tensor:
    """Absolute mechanical power of the joints [AG]."""
    return (x.state.joint_torque * x.state.joint_vel).abs().sum(1)


def joint_acceleration(x: RewardInputs) -> torch.Tensor:
    """Squared change of joint velocity over time [LG]."""
    return ((x.state.joint_vel - x.last_joint_vel) / x.dt).square().sum(1)


def action_rate(x: RewardInputs) -> torch.Tensor:
    """Squared change of the action [LG]."""
    return (x.action - x.last_action).square().sum(1)


def feet_air_time(x: RewardInputs) -> torch.Tensor:
    """Swing time beyond the target, up to as much again, paid when a foot lands under a command
    to move. [LG] pays (t - 0.5 s) unbounded: then the short steps of early policies cost more than
    tracking can earn, and the reward of long leaps has no limit."""
    target = x.config.air_time_target
    swing = (x.air_time - target).clamp(0.0, target) * x.landed
    return swing.sum(1) * x.moving / x.dt


def feet_balance(x: RewardInputs) -> torch.Tensor:
    """Variance of the duty factor over the feet: penalises using one leg less than the others."""
    return x.duty.var(dim=1, correction=0)


def feet_slip(x: RewardInputs) -> torch.Tensor:
    """Squared horizontal velocity of the feet in contact."""
    return (x.state.foot_vel[..., :2].square().sum(-1) * x.contact).sum(1)


def feet_drag(x: RewardInputs) -> torch.Tensor:
    """|v_x| + |v_y| of the feet in contact [AG]."""
    return (x.state.foot_vel[..., :2].abs().sum(-1) * x.contact).sum(1)


def foot_jerk(x: RewardInputs) -> torch.Tensor:
    """Change of the feet's contact forces [AG]."""
    return (x.state.foot_force - x.last_foot_force).abs().sum(1)


def foot_clearance(x: RewardInputs) -> torch.Tensor:
    """Squared height error of the swinging feet, weighted with their horizontal speed."""
    speed = x.state.foot_vel[..., :2].norm(dim=-1)
    return ((x.foot_height - x.config.clearance_target).square() * speed).sum(1)


def collision(x: RewardInputs) -> torch.Tensor:
    """Penalised bodies in contact with the terrain [LG]."""
    return x.state.penalized_contact.float().sum(1)


def joint_limits(x: RewardInputs) -> torch.Tensor:
    """Joint angles beyond the soft limits [rad] [LG]."""
    low, high = x.soft_limits.unbind(1)
    q = x.state.joint_pos
    return ((low - q).clamp(min=0.0) + (q - high).clamp(min=0.0)).sum(1)


def survival(x: RewardInputs) -> torch.Tensor:
    """1 while the robot has not fallen [AG]."""
    return (~x.fell).float()


def posture(x: RewardInputs) -> torch.Tensor:
    """Squared distance of the joints from the default pose."""
    return (x.state.joint_pos - x.default_joint_pos).square().sum(1)


def stand_still(x: RewardInputs) -> torch.Tensor:
    """Distance of the joints from the default pose while the command is to stand [LG]."""
    return (x.state.joint_pos - x.default_joint_pos).abs().sum(1) * ~x.moving


def stand_contact(x: RewardInputs) -> torch.Tensor:
    """Feet off the ground while the command is to stand."""
    return (~x.contact).float().sum(1) * ~x.moving


def gait_phase(x: RewardInputs) -> torch.Tensor:
    """Share of the feet that are in contact in stance and off the ground in swing, by the gait clock, under a
    command to move; smooth over the change from one to the other."""
    swing = x.swing
    up = torch.sin(torch.pi * swing.clamp(min=0.0)).sqrt()
    agreement = torch.where(x.contact, 1.0 - up, (swing >= 0.0).float())
    return agreement.mean(1) * x.moving


def swing_height(x: RewardInputs) -> torch.Tensor:
    """Squared error of the height of swinging feet from a half sine over the swing, as a share of its height,
    summed over feet, under a command to move."""
    swing, height = x.swing, x.gait.config.swing_height
    target = height * torch.sin(torch.pi * swing.clamp(min=0.0))
    error = (x.foot_height - x.foot_radius - target) / height
    return (error.square() * (swing >= 0.0)).sum(1) * x.moving


def foothold(x: RewardInputs) -> torch.Tensor:
    """Feet in contact in a hole: more than 3 cm below the edge of a gap."""
    low = x.foot_height - x.foot_radius < -_MISSED
    return (low & x.contact).float().sum(1)


def landing(x: RewardInputs) -> torch.Tensor:
    """Squared velocity of feet that land."""
    return (x.state.foot_vel.square().sum(-1) * x.landed).sum(1)


TERMS: dict[str, Callable[[RewardInputs], torch.Tensor]] = {
    term.__name__: term
    for term in (
        tracking,
        tracking_lin_vel,
        tracking_ang_vel,
        progress,
        lin_vel_z,
        ang_vel_xy,
        orientation,
        base_height,
        torques,
        work,
        joint_acceleration,
        action_rate,
        feet_air_time,
        feet_balance,
        feet_slip,
        feet_drag,
        foot_jerk,
        foot_clearance,
        collision,
        joint_limits,
        survival,
        posture,
        stand_still,
        stand_contact,
        gait_phase,
        swing_height,
        foothold,
        landing,
    )
}


def active_terms(config: RewardConfig) -> dict[str, float]:
    """Names and weights of the terms with a non-zero weight: those of `TERMS`, then those of extensions."""
    weights = {name: float(getattr(config, name)) for name in TERMS} | config.extra
    return {name: weight for name, weight in weights.items() if weight != 0.0}


def soft_limits(robot: RobotSpec, share: float) -> torch.Tensor:
    """The middle `share` of each joint's range, [J, 2] rad."""
    low, high = torch.as_tensor(robot.joint_range, dtype=torch.float32).unbind(1)
    middle, half = (low + high) / 2, (high - low) / 2 * share
    return torch.where(
        torch.isfinite(half)[:, None],
        torch.stack([middle - half, middle + half], dim=1),
        torch.stack([low, high], dim=1),
    )

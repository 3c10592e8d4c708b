"""The `task` section: commands, observations, rewards and randomization."""

from __future__ import annotations

from dataclasses import dataclass, field

from legged_ppo.config.schema.bounds import (
    coordinates,
    low_high,
    names,
    not_negative,
    number,
    open_share,
    positive,
    share,
    weights,
)
from legged_ppo.config.schema.depth import DepthConfig


@dataclass
class CommandConfig:
    """Velocity commands in the base frame."""

    sampler: str = ""
    """Command sampler of the extensions, in place of the ranges, `min_speed` and `standing_fraction` below;
    empty: these."""
    lin_vel_x: list[float] = low_high([-1.0, 1.0])
    """Range of the forward velocity [m/s]."""
    lin_vel_y: list[float] = low_high([-0.6, 0.6])
    """Range of the lateral velocity [m/s]."""
    yaw_rate: list[float] = low_high([-1.0, 1.0])
    """Range of the yaw rate [rad/s]; in heading mode its clip."""
    heading: bool = False
    """Command a heading; the yaw rate follows `heading_gain` times its error."""
    heading_range: list[float] = low_high([-3.14159, 3.14159])
    """Range of the commanded heading [rad] about that of the robot at the time."""
    heading_gain: float = not_negative(0.5)
    """Yaw rate per heading error [1/s]."""
    resample_time_s: float = positive(10.0)
    """Time [s] between new commands."""
    standing_fraction: float = share(0.1)
    """Share of commands that ask the robot to stand still."""
    min_speed: float = not_negative(0.2)
    """Planar commands shorter than this [m/s] become 0, as in legged_gym."""
    flat_velocity: list[float] = low_high([], empty=True)
    """Range of the forward velocity [m/s] on `flat` tiles, where a third of the commands follow a curve,
    a third turn on the spot and a third stand (Agarwal et al.); empty: the same commands everywhere."""
    flat_heading: list[float] = low_high([-1.0472, 1.0472])
    """Range of the heading [rad] of those curves; turns take any."""
    forward_types: list[str] = names([])
    """Terrain types whose commands lead forward, those that are not to stand: beside a gap a robot must see where
    it steps, and scandots and cameras look ahead."""
    forward_velocity: list[float] = low_high([0.3, 1.0])
    """Range of the forward velocity [m/s] there; the lateral one is 0."""
    forward_heading: list[float] = low_high([-0.5, 0.5])
    """Range of the heading [rad] there, about that of the robot at the time."""
    initial_scale: float = share(1.0)
    """Share of the velocity ranges that commands are drawn from at the start of training."""
    ramp: float = open_share(0.5)
    """Share of the training after which they are drawn from the whole ranges."""


@dataclass
class ScandotsConfig:
    """The height sensor: a grid in the base's yaw frame."""

    x: list[float] = coordinates([0.1, 0.35, 0.6, 0.85])
    """Forward coordinates [m]."""
    y: list[float] = coordinates([-0.3, -0.1, 0.1, 0.3])
    """Lateral coordinates [m]."""
    noise: float = not_negative(0.02)
    """Standard deviation [m] of each height; 0 for none."""
    period_s: list[float] = low_high([], empty=True)
    """Range of the time [s] between updates; empty: every control step."""
    latency_s: list[float] = low_high([], low=0, empty=True)
    """Range of each robot's delay [s]; between two control steps heights are interpolated; empty: none."""


@dataclass
class ObservationConfig:
    """Scales and noise of the observations (noise: standard deviation, before scaling)."""

    groups: list[str] = names([])
    """Observation groups of the extensions, by name, beside the built-in ones."""
    noise: bool = True
    """Add sensor noise to the policy's observations (never to `privileged`)."""
    ang_vel_scale: float = not_negative(0.25)
    """Scale of the base angular velocity."""
    joint_vel_scale: float = not_negative(0.05)
    """Scale of the joint velocities."""
    height_scale: float = not_negative(5.0)
    """Scale of the scandots' heights."""
    ang_vel_noise: float = not_negative(0.05)
    """[rad/s]"""
    gravity_noise: float = not_negative(0.02)
    """[-]"""
    joint_pos_noise: float = not_negative(0.01)
    """[rad]"""
    joint_vel_noise: float = not_negative(0.5)
    """[rad/s]"""
    contact_threshold: float = not_negative(1.0)
    """Foot force [N] above which a foot counts as in contact."""
    scandots: ScandotsConfig = field(default_factory=ScandotsConfig)
    """The height sensor."""
    depth: DepthConfig = field(default_factory=DepthConfig)
    """The depth camera."""


@dataclass
class RewardConfig:
    """Weights of the reward terms (per second: each is multiplied by the control step) and their constants.

    The terms are the functions of the same names in `legged_ppo/env/rewards.py`.
    """

    tracking: float = number(0.0)
    tracking_lin_vel: float = number(1.5)
    tracking_ang_vel: float = number(0.75)
    progress: float = number(0.0)
    lin_vel_z: float = number(-2.0)
    ang_vel_xy: float = number(-0.05)
    orientation: float = number(-1.0)
    base_height: float = number(0.0)
    torques: float = number(-1.0e-4)
    work: float = number(0.0)
    joint_acceleration: float = number(-2.5e-7)
    action_rate: float = number(-0.01)
    feet_air_time: float = number(0.5)
    feet_balance: float = number(0.0)
    feet_slip: float = number(-0.1)
    feet_drag: float = number(0.0)
    foot_jerk: float = number(0.0)
    foot_clearance: float = number(0.0)
    collision: float = number(-1.0)
    joint_limits: float = number(-5.0)
    survival: float = number(0.0)
    posture: float = number(0.0)
    stand_still: float = number(0.0)
    stand_contact: float = number(0.0)
    gait_phase: float = number(0.0)
    swing_height: float = number(0.0)
    foothold: float = number(0.0)
    landing: float = number(0.0)
    extra: dict[str, float] = weights({})
    """Weights of reward terms of the extensions, by name; a term of weight 0 is not computed."""
    termination: float = number(0.0)
    """Reward of an episode's end by a fall, given once and not multiplied by the control step."""
    only_positive: bool = False
    """Clip the sum of the terms at 0 from below (the termination reward is added after it)."""
    tracking_sigma: float = positive(0.25)
    """Scale [m^2/s^2, rad^2/s^2] of the exponential tracking terms."""
    overshoot_cost: float = not_negative(0.0)
    """What `progress` takes off for each commanded speed too much; 1 takes as much as it pays below."""
    air_time_target: float = not_negative(0.15)
    """Swing duration [s] from which air time is rewarded."""
    clearance_target: float = not_negative(0.08)
    """Height [m] of a swinging foot above the ground."""
    base_height_target: float = not_negative(0.30)
    """Height [m] of the base above the ground."""
    soft_joint_limit: float = open_share(0.9)
    """Share of the joint range that is free of cost."""


@dataclass
class GaitConfig:
    """A clock that asks for a periodic gait (`env/gait_clock.py`); the reward terms `gait_phase` and
    `swing_height` follow it."""

    frequency: float = not_negative(0.0)
    """Strides per second [Hz]; 0: no clock, and nothing of it is observed."""
    swing_share: float = open_share(0.5)
    """Share of a stride in which a foot swings."""
    swing_height: float = positive(0.07)
    """Height [m] of the middle of a swing, of a foot's lowest point above the ground."""
    offsets: list[float] = coordinates([0.0, 0.5, 0.5, 0.0])
    """Phase of each foot, in the order of `robot.foot_geoms`; the default is a trot."""


@dataclass
class RandomizationConfig:
    """Per-robot parameters, drawn anew at each reset; an empty list leaves the parameter as it is."""

    friction: list[float] = low_high([0.5, 1.25], low=0, empty=True)
    """Range of the foot friction coefficient."""
    added_mass: list[float] = low_high([-1.0, 2.0], empty=True)
    """Range of the mass [kg] added to the base."""
    com_shift: list[float] = low_high([-0.03, 0.03], empty=True)
    """Range of the shift [m] of the base's centre of mass, each axis."""
    kp_scale: list[float] = low_high([0.9, 1.1], low=0, empty=True)
    """Range of the factor on kp."""
    kd_scale: list[float] = low_high([0.8, 1.2], low=0, empty=True)
    """Range of the factor on kd."""
    motor_strength: list[float] = low_high([0.9, 1.1], low=0, empty=True)
    """Range of the factor on every joint torque."""
    armature_scale: list[float] = low_high([], above=0, empty=True)
    """Range of the factor on every joint's armature, which the critic does not observe."""
    latency_s: list[float] = low_high([], low=0, empty=True)
    """Range of the delay [s] from action to joint target, within one control step."""
    push_interval_s: float = not_negative(8.0)
    """Time [s] between pushes of a robot (at a random phase); 0 switches them off."""
    push_velocity: float = not_negative(0.5)
    """Largest planar velocity [m/s] of a push, each axis."""
    init_joint_pos: float = not_negative(0.1)
    """Half range [rad] of the joint angles about the default pose at a reset."""
    init_velocity: float = not_negative(0.3)
    """Half range [m/s, rad/s] of the base velocity at a reset."""


@dataclass
class TaskConfig:
    """The velocity-tracking task."""

    episode_length_s: float = positive(20.0)
    """Time limit [s] of an episode."""
    max_tilt: float = positive(1.0)
    """Angle [rad] between base and gravity that counts as a fall."""
    stuck_after_s: float = not_negative(0.0)
    """Time [s] in which a robot that stops although it is commanded to move counts as fallen in training: stuck
    in a gap, or afraid of it, it would see nothing new until the time limit; 0: it stays. Slower than a fifth of
    the command in the average of lately is stuck too."""
    stuck_from: float = share(0.0)
    """Share of the training from which `stuck_after_s` counts: robots that still learn to walk are slow."""
    terminations: list[str] = names([])
    """Ends of episodes of the extensions, by name; an episode that ends so counts as a fall."""
    action_clip: float = positive(10.0)
    """Actions are clipped to +- this before they become joint targets."""
    commands: CommandConfig = field(default_factory=CommandConfig)
    observations: ObservationConfig = field(default_factory=ObservationConfig)
    rewards: RewardConfig = field(default_factory=RewardConfig)
    gait: GaitConfig = field(default_factory=GaitConfig)
    randomization: RandomizationConfig = field(default_factory=RandomizationConfig)

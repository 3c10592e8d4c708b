"""The `task` section: commands, observations, rewards and randomization."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class CommandConfig:
    """Velocity commands in the base frame."""

    lin_vel_x: list[float] = field(default_factory=lambda: [-1.0, 1.0])
    """Range of the forward velocity [m/s]."""
    lin_vel_y: list[float] = field(default_factory=lambda: [-0.6, 0.6])
    """Range of the lateral velocity [m/s]."""
    yaw_rate: list[float] = field(default_factory=lambda: [-1.0, 1.0])
    """Range of the yaw rate [rad/s]; in heading mode its clip."""
    heading: bool = False
    """Command a heading; the yaw rate follows `heading_gain` times its error."""
    heading_range: list[float] = field(default_factory=lambda: [-3.14159, 3.14159])
    """Range of the commanded heading [rad] about that of the robot at the time."""
    heading_gain: float = 0.5
    """Yaw rate per heading error [1/s]."""
    resample_time_s: float = 10.0
    """Time [s] between new commands."""
    standing_fraction: float = 0.1
    """Share of commands that ask the robot to stand still."""
    min_speed: float = 0.2
    """Planar commands shorter than this [m/s] become 0, as in legged_gym."""
    flat_velocity: list[float] = field(default_factory=list)
    """Range of the forward velocity [m/s] on `flat` tiles, where a third of the commands follow a curve,
    a third turn on the spot and a third stand (Agarwal et al.); empty: the same commands everywhere."""
    flat_heading: list[float] = field(default_factory=lambda: [-1.0472, 1.0472])
    """Range of the heading [rad] of those curves; turns take any."""
    initial_scale: float = 1.0
    """Share of the velocity ranges that commands are drawn from at the start of training."""
    ramp: float = 0.5
    """Share of the training after which they are drawn from the whole ranges."""


@dataclass
class ScandotsConfig:
    """The height sensor: a grid in the base's yaw frame."""

    x: list[float] = field(default_factory=lambda: [0.1, 0.35, 0.6, 0.85])
    """Forward coordinates [m]."""
    y: list[float] = field(default_factory=lambda: [-0.3, -0.1, 0.1, 0.3])
    """Lateral coordinates [m]."""
    noise: float = 0.02
    """Standard deviation [m] of each height; 0 for none."""
    period_s: list[float] = field(default_factory=list)
    """Range of the time [s] between updates; empty: every control step."""
    latency_s: list[float] = field(default_factory=list)
    """Range of each robot's delay [s], rounded to control steps; empty: none."""


@dataclass
class ObservationConfig:
    """Scales and noise of the observations (noise: standard deviation, before scaling)."""

    noise: bool = True
    """Add sensor noise to what the policy sees (never to `privileged`)."""
    ang_vel_scale: float = 0.25
    """Scale of the base angular velocity."""
    joint_vel_scale: float = 0.05
    """Scale of the joint velocities."""
    height_scale: float = 5.0
    """Scale of the scandots' heights."""
    ang_vel_noise: float = 0.05
    """[rad/s]"""
    gravity_noise: float = 0.02
    """[-]"""
    joint_pos_noise: float = 0.01
    """[rad]"""
    joint_vel_noise: float = 0.5
    """[rad/s]"""
    contact_threshold: float = 1.0
    """Foot force [N] above which a foot counts as in contact."""
    scandots: ScandotsConfig = field(default_factory=ScandotsConfig)
    """The height sensor."""


@dataclass
class RewardConfig:
    """Weights of the reward terms (per second: each is multiplied by the control step) and their constants.

    The terms are the functions of the same names in `legged_ppo/env/rewards.py`.
    """

    tracking: float = 0.0
    tracking_lin_vel: float = 1.5
    tracking_ang_vel: float = 0.75
    progress: float = 0.0
    lin_vel_z: float = -2.0
    ang_vel_xy: float = -0.05
    orientation: float = -1.0
    base_height: float = 0.0
    torques: float = -1.0e-4
    work: float = 0.0
    joint_acceleration: float = -2.5e-7
    action_rate: float = -0.01
    feet_air_time: float = 0.5
    feet_balance: float = 0.0
    feet_slip: float = -0.1
    feet_drag: float = 0.0
    foot_jerk: float = 0.0
    foot_clearance: float = 0.0
    collision: float = -1.0
    joint_limits: float = -5.0
    survival: float = 0.0
    posture: float = 0.0
    stand_still: float = 0.0
    stand_contact: float = 0.0
    termination: float = 0.0
    """Reward of an episode's end by a fall, given once and not multiplied by the control step."""
    only_positive: bool = False
    """Clip the sum of the terms at 0 from below (the termination reward is added after it)."""
    tracking_sigma: float = 0.25
    """Scale [m^2/s^2, rad^2/s^2] of the exponential tracking terms."""
    air_time_target: float = 0.15
    """Swing duration [s] from which air time is rewarded."""
    clearance_target: float = 0.08
    """Height [m] of a swinging foot above the ground."""
    base_height_target: float = 0.30
    """Height [m] of the base above the ground."""
    soft_joint_limit: float = 0.9
    """Share of the joint range that is free of cost."""


@dataclass
class RandomizationConfig:
    """Per-robot parameters, drawn anew at each reset; an empty list leaves the parameter as it is."""

    friction: list[float] = field(default_factory=lambda: [0.5, 1.25])
    """Range of the foot friction coefficient."""
    added_mass: list[float] = field(default_factory=lambda: [-1.0, 2.0])
    """Range of the mass [kg] added to the base."""
    com_shift: list[float] = field(default_factory=lambda: [-0.03, 0.03])
    """Range of the shift [m] of the base's centre of mass, each axis."""
    kp_scale: list[float] = field(default_factory=lambda: [0.9, 1.1])
    """Range of the factor on kp."""
    kd_scale: list[float] = field(default_factory=lambda: [0.8, 1.2])
    """Range of the factor on kd."""
    motor_strength: list[float] = field(default_factory=lambda: [0.9, 1.1])
    """Range of the factor on every joint torque."""
    armature_scale: list[float] = field(default_factory=list)
    """Range of the factor on every joint's armature, of which the critic is not told."""
    latency_s: list[float] = field(default_factory=list)
    """Range of the delay [s] from action to joint target, within one control step."""
    push_interval_s: float = 8.0
    """Time [s] between pushes of a robot (at a random phase); 0 switches them off."""
    push_velocity: float = 0.5
    """Largest planar velocity [m/s] of a push, each axis."""
    init_joint_pos: float = 0.1
    """Half range [rad] of the joint angles about the default pose at a reset."""
    init_velocity: float = 0.3
    """Half range [m/s, rad/s] of the base velocity at a reset."""


@dataclass
class TaskConfig:
    """The velocity-tracking task."""

    episode_length_s: float = 20.0
    """Time limit [s] of an episode."""
    max_tilt: float = 1.0
    """Angle [rad] between base and gravity that counts as a fall."""
    action_clip: float = 10.0
    """Actions are clipped to +- this before they become joint targets."""
    commands: CommandConfig = field(default_factory=CommandConfig)
    observations: ObservationConfig = field(default_factory=ObservationConfig)
    rewards: RewardConfig = field(default_factory=RewardConfig)
    randomization: RandomizationConfig = field(default_factory=RandomizationConfig)

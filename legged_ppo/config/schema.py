"""The configuration schema: one dataclass per section, every field with its unit and meaning.

Values are SI units and radians. `legged_ppo.config.load_config` composes a recipe onto this schema,
so a key that is not here is an error, and `validate` (in `validation.py`) checks the ranges.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class RobotConfig:
    """A quadruped: its MJCF and how it is driven. Names refer to the MJCF."""

    name: str = "go2"
    """Label used in runs, checkpoints and videos."""
    mjcf: str = "go2"
    """Built-in model (go2, a1) or the path of an MJCF file."""
    base_body: str = "base"
    """Body that carries the free joint."""
    joints: list[str] = field(
        default_factory=lambda: [
            f"{leg}_{part}_joint"
            for leg in ("FL", "FR", "RL", "RR")
            for part in ("hip", "thigh", "calf")
        ]
    )
    """Actuated joints in policy order: legs FL, FR, RL, RR, each hip, thigh, calf."""
    default_joint_pos: list[float] = field(
        default_factory=lambda: [
            *(0.1, 0.8, -1.5),
            *(-0.1, 0.8, -1.5),
            *(0.1, 1.0, -1.5),
            *(-0.1, 1.0, -1.5),
        ]
    )
    """Joint angles [rad] of the standing pose, in the order of `joints`; action 0 means this pose."""
    spawn_height: float = 0.35
    """Height [m] of the base above the ground at a reset."""
    kp: float = 25.0
    """Proportional gain [N m/rad] of the joint PD law."""
    kd: float = 0.5
    """Derivative gain [N m s/rad] of the joint PD law."""
    action_scale: float = 0.25
    """Joint angle [rad] per unit of action."""
    foot_geoms: list[str] = field(
        default_factory=lambda: ["FL_foot", "FR_foot", "RL_foot", "RR_foot"]
    )
    """Collision geoms of the feet, in leg order FL, FR, RL, RR."""
    mirror: list[list[str]] = field(default_factory=lambda: [["FL", "FR"], ["RL", "RR"]])
    """Parts of names that tell left from right, in pairs."""
    penalized_bodies: list[str] = field(
        default_factory=lambda: [
            f"{leg}_{part}" for part in ("thigh", "calf") for leg in ("FL", "FR", "RL", "RR")
        ]
    )
    """Bodies whose contact with the terrain costs reward; a foot on the body does not count."""
    termination_bodies: list[str] = field(default_factory=lambda: ["base"])
    """Bodies whose contact with the terrain ends the episode."""


@dataclass
class CurriculumConfig:
    """How robots move between the levels of their terrain type (`terrain/curriculum.py`)."""

    rule: str = "none"
    """none (levels stay), progress (by the share of the commanded path) or success (solved or not)."""
    promote: float = 0.8
    """Rule progress: share of the commanded path from which a robot goes up."""
    demote: float = 0.4
    """Rule progress: share of the whole episode's path below which it goes down."""
    distance: float = 2.5
    """Distance [m] from its start, along x or y, that a robot must have reached to go up."""
    window: int = 50
    """Episodes that a cell's solve rate is averaged over, about."""


@dataclass
class TerrainConfig:
    """The ground: a grid with one column per type and one row per level."""

    proportions: dict[str, float] = field(default_factory=dict)
    """Share of the robots that start on each terrain type (normalised to sum 1); empty: flat."""
    num_levels: int = 1
    """Rows of the grid; level l has difficulty l / (num_levels - 1)."""
    max_initial_level: int | None = None
    """Robots start on levels 0 to this; null: on all."""
    curriculum: CurriculumConfig = field(default_factory=CurriculumConfig)
    """Promotion and demotion."""
    tile_size: float = 8.0
    """Edge [m] of a square tile."""
    border: float = 2.0
    """Width [m] of the flat ground around the grid, and around those of its parts that an engine simulates
    alone; robots reach over it before they re-enter at the opposite edge."""
    platform: float = 2.0
    """Edge [m] of the flat square in the middle of a tile where robots start."""
    cell_size: float = 0.1
    """Edge [m] of a height field's cell; `stepping_stones` have finer ones of their own."""
    height_map_cell: float = 0.1
    """Edge [m] of a cell of the height map that scandots are read from."""
    seed: int = 1
    """Seed of the terrain, apart from the run's: the same seed gives the same ground."""
    fractal_height: list[float] = field(default_factory=lambda: [0.0, 0.0])
    """`flat`: peak-to-peak height [m] of its fractal roughness at difficulty 0 and 1."""
    roughness: list[float] = field(default_factory=lambda: [0.01, 0.05])
    """`rough`: peak-to-peak height [m] at difficulty 0 and 1."""
    slope: list[float] = field(default_factory=lambda: [0.0, 0.4])
    """`slope_up`, `slope_down`, `rough_slope`: rise over run at difficulty 0 and 1."""
    slope_roughness: float = 0.06
    """`rough_slope`: peak-to-peak height [m] of the roughness on the slope."""
    stair_height: list[float] = field(default_factory=lambda: [0.02, 0.2])
    """`stairs_up`, `stairs_down`: height [m] of a step at difficulty 0 and 1."""
    stair_tread: float = 0.3
    """`stairs_up`, `stairs_down`: depth [m] of a step."""
    curb_height: list[float] = field(default_factory=lambda: [0.02, 0.2])
    """`curbs`: height [m] of the obstacles at difficulty 0 and 1."""
    stone_size: list[float] = field(default_factory=lambda: [0.9, 0.3])
    """`stepping_stones`: edge [m] of a stone at difficulty 0 and 1."""
    stone_gap: list[float] = field(default_factory=lambda: [0.1, 0.3])
    """`stepping_stones`: gap [m] between the tops of stones at difficulty 0 and 1."""
    gap_width: list[float] = field(default_factory=lambda: [0.05, 0.5])
    """`gaps`: width [m] of a gap at difficulty 0 and 1."""
    gap_depth: float = 0.6
    """`gaps`, `stepping_stones`: depth [m]."""
    pit_depth: list[float] = field(default_factory=lambda: [0.02, 0.3])
    """`pits`: depth [m] at difficulty 0 and 1."""
    hurdle_height: list[float] = field(default_factory=lambda: [0.02, 0.25])
    """`hurdles`: height [m] of the bars at difficulty 0 and 1."""
    wave_height: list[float] = field(default_factory=lambda: [0.02, 0.3])
    """`wave`: height [m] from trough to crest at difficulty 0 and 1."""


@dataclass
class SimConfig:
    """The physics engine."""

    engine: str = "auto"
    """mujoco_c (on a CPU), mujoco_warp (on a GPU; also on a CPU, slowly), or auto: what suits the device."""
    dt: float = 0.005
    """Physics time step [s]."""
    decimation: int = 4
    """Physics substeps per control step."""
    threads: int = 0
    """Physics threads on the CPU; 0 takes one per core."""
    iterations: int = 10
    """Most Newton iterations per substep."""
    ls_iterations: int = 20
    """Most line-search iterations per Newton iteration."""
    tolerance: float = 1e-6
    """Improvement at which the constraint solver stops."""
    integrator: str = "implicitfast"
    """MuJoCo integrator: implicitfast or euler."""
    cone: str = "pyramidal"
    """MuJoCo friction cone: pyramidal or elliptic."""
    contacts: int = 0
    """MuJoCo Warp: contacts per robot that fit into the buffers; 0 for these three measures them at the start."""
    constraints: int = 0
    """MuJoCo Warp: constraint rows per robot."""
    convex_pairs: int = 0
    """MuJoCo Warp: pairs of geoms per robot in the convex collider (height fields)."""
    max_velocity: float = 200.0
    """Generalised velocity [m/s, rad/s] above which a robot counts as blown up and is re-initialised."""


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


@dataclass
class PolicyConfig:
    """The recurrent actor-critic."""

    architecture: str = "monolithic"
    """monolithic (one GRU over everything) or rma (a GRU over the terrain, an encoder of the physical
    parameters, a base policy without memory)."""
    scandots_hidden: list[int] = field(default_factory=lambda: [64, 32])
    """Hidden layers of the scandots encoder."""
    scandots_latent: int = 16
    """Width of the scandots latent (rma: of the terrain latent); 0 makes the policy blind."""
    image_channels: list[int] = field(default_factory=lambda: [32, 64, 64])
    """Channels of the three convolutions over a Gymnasium environment's pictures."""
    image_latent: int = 128
    """Width of the pictures' latent."""
    extrinsics_hidden: list[int] = field(default_factory=lambda: [64, 32])
    """rma: hidden layers of the encoder of the physical parameters."""
    extrinsics_latent: int = 8
    """rma: width of their latent."""
    gru_hidden: int = 256
    """Width of the GRU."""
    gru_layers: int = 1
    """Layers of the GRU; 0 makes a policy without memory."""
    actor_hidden: list[int] = field(default_factory=lambda: [128, 64])
    """Hidden layers of the action MLP."""
    actor_skip: bool = False
    """Feed the action MLP the GRU's input beside its output."""
    critic_hidden: list[int] = field(default_factory=list)
    """Hidden layers of the value head."""
    critic_memory: str = "shared"
    """What the critic remembers with: shared (the actor's GRU), own (a second GRU) or none (an MLP)."""
    critic_privileged: bool = False
    """Feed the value head the `privileged` observations too (asymmetric critic)."""
    activation: str = "elu"
    """elu, relu, tanh or silu."""
    distribution: str = "gaussian"
    """gaussian (learned log-std), fixed_gaussian, state_gaussian (std from the state), beta, or for the
    discrete actions of a Gymnasium environment categorical."""
    init_std: float = 1.0
    """Initial (or fixed) standard deviation of the actions."""
    min_std: float = 0.05
    """Lower bound of a learned standard deviation."""
    max_std: float = 2.0
    """Upper bound of a learned standard deviation."""
    action_bound: float = 4.0
    """Half width of the action interval of the beta distribution."""
    normalize_observations: bool = True
    """Running mean and variance of the observations but scandots and images, frozen during a rollout and
    its epochs."""


@dataclass
class PPOConfig:
    """Proximal policy optimisation (Schulman et al., 2017) with truncated BPTT."""

    rollout_length: int = 24
    """Control steps per robot and iteration."""
    bptt_length: int = 24
    """Steps of back-propagation through time; divides `rollout_length`."""
    num_epochs: int = 5
    """Passes over the rollout."""
    num_minibatches: int = 4
    """Minibatches per epoch; used when `sequences_per_minibatch` is 0."""
    sequences_per_minibatch: int = 0
    """Chunks of `bptt_length` steps in a minibatch, or about as many where the rollout does not divide;
    0 leaves it to `num_minibatches`."""
    gradient_accumulation: int = 1
    """Parts into which a minibatch is split to save memory; the gradient is the same."""
    gamma: float = 0.99
    """Discount per control step."""
    gae_lambda: float = 0.95
    """Lambda of generalised advantage estimation."""
    clip_range: float = 0.2
    """Clip of the probability ratio."""
    value_clip_range: float | None = 0.2
    """Clip of the value's change, in units of the reward; null switches it off."""
    value_coef: float = 0.5
    """Weight of the value loss."""
    entropy_coef: float = 0.01
    """Weight of the entropy bonus at the start."""
    entropy_coef_final: float | None = None
    """Weight at the end, reached linearly; null keeps it constant."""
    max_grad_norm: float = 1.0
    """Clip of the gradient's norm."""
    learning_rate: float = 3e-4
    """Learning rate at the start."""
    schedule: str = "cosine"
    """cosine (to `final_lr_fraction`), linear (to the same), constant or adaptive (by KL)."""
    final_lr_fraction: float = 0.1
    """Learning rate at the end as a share of that at the start."""
    desired_kl: float = 0.01
    """KL divergence that the adaptive schedule aims at, at the start."""
    desired_kl_final: float | None = None
    """The same at the end, reached linearly; null keeps it constant."""
    target_kl: float | None = None
    """Stop the epochs of an update when an epoch's mean KL exceeds this; null never stops."""
    weight_decay: float = 0.0
    """AdamW's decoupled weight decay of the weight matrices."""
    normalize_advantages: bool = True
    """Advantages to mean 0 and standard deviation 1 over the whole rollout."""
    symmetry: str = "none"
    """Use of left-right symmetry: none; loss (every robot has a mirrored twin with a memory of its own, and the
    policy's actions for it are drawn to the mirrored ones for the robot); or augmentation (both are learned from
    as well)."""
    symmetry_coef: float = 0.5
    """Weight of that loss, in either."""
    precision: str = "float32"
    """Of the network, in rollout and update alike: float32, tf32 (float32 whose products a GPU rounds to 10
    bits first) or bfloat16."""


@dataclass
class TrainingConfig:
    """The run."""

    num_envs: int = 4096
    """Robots simulated in parallel."""
    total_timesteps: int = 15_000_000_000
    """Environment steps (robots times control steps) of the run."""
    seed: int = 1
    """Seed of everything random in the run but the terrain."""
    cuda_graphs: bool = True
    """On a GPU, launch rollouts and optimizer steps as CUDA graphs, without Python between their operators."""
    log_dir: str = "logs"
    """Folder of the runs."""
    run_name: str = ""
    """Name of the run's folder; empty takes recipe, robot and time."""
    checkpoint_freq: int = 1_000_000
    """Environment steps between checkpoints."""
    keep_checkpoints: int = 5
    """Step checkpoints kept; older ones are deleted, latest, best and final never."""
    evaluation_freq: int = 0
    """Environment steps between evaluations that choose the best checkpoint; 0 takes `checkpoint_freq`."""
    evaluation_episodes: int = 64
    """Episodes of such an evaluation."""
    average_decay: float = 0.0
    """Decay per iteration of the running average of the policy's weights, which evaluations judge and
    `phase1_best.pth` holds; 0 takes the weights of the last iteration."""
    log_interval: int = 10
    """Iterations between rows of the console table."""
    wandb: str = "auto"
    """auto (only with an account set up), online, offline or disabled."""
    wandb_project: str = "legged_ppo"
    """Project of the wandb run."""
    report: bool = True
    """At the end evaluate the best checkpoint, draw the learning curves and render a video."""
    report_episodes: int = 256
    """Episodes of that evaluation."""


@dataclass
class GymConfig:
    """A Gymnasium environment, which is trained on instead of robots where `id` is not empty."""

    id: str = ""
    """Registered name, such as LunarLander-v3."""
    kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of the environment."""
    observe: list[int] = field(default_factory=list)
    """Indices of the observation's entries that the policy sees; empty shows all."""
    image_size: int = 0
    """Edge [pixels] of the square to which pictures are shrunk; 0 leaves their size."""
    grayscale: bool = False
    """Show pictures' luminance alone."""
    frame_skip: int = 1
    """Frames that an action is repeated for; rewards are summed, of the last two pictures the brighter
    pixels are seen."""
    normalize_reward: bool = False
    """Divide rewards by the running standard deviation of the discounted return."""
    success_return: float = 0.0
    """Return from which an episode counts as a success."""
    processes: bool = False
    """One process per environment, for those that are slow to step."""


@dataclass
class Config:
    """A whole recipe."""

    robot: RobotConfig = field(default_factory=RobotConfig)
    terrain: TerrainConfig = field(default_factory=TerrainConfig)
    sim: SimConfig = field(default_factory=SimConfig)
    task: TaskConfig = field(default_factory=TaskConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    ppo: PPOConfig = field(default_factory=PPOConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    gym: GymConfig = field(default_factory=GymConfig)

    @property
    def subject(self) -> str:
        """What is trained: the robot, or the Gymnasium environment."""
        return self.gym.id or self.robot.name

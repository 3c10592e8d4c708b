"""Ranges and relations of the configuration's values, beyond their types."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from legged_ppo.config.schema import Config
from legged_ppo.errors import ConfigError
from legged_ppo.terrain.checks import check_curriculum, check_terrain

Check = tuple[Callable[[Any], bool], str]

_POSITIVE: Check = (lambda x: x > 0, "a number > 0")
_NOT_NEGATIVE: Check = (lambda x: x >= 0, "a number >= 0")
_SHARE: Check = (lambda x: 0 <= x <= 1, "a number from 0 to 1")
_OPEN_SHARE: Check = (lambda x: 0 < x <= 1, "a number above 0, at most 1")
_WIDTHS: Check = (lambda x: all(w > 0 for w in x), "layer widths > 0")
_RANGE: Check = (lambda x: len(x) == 2 and x[0] <= x[1], "[low, high] with low <= high")
_HARDER: Check = (
    lambda x: len(x) == 2 and 0 <= x[0] <= x[1],
    "[easiest, hardest] with 0 <= easiest <= hardest",
)
_RANGE_OR_EMPTY: Check = (
    lambda x: not x or (len(x) == 2 and x[0] <= x[1]),
    "[low, high] with low <= high, or [] for none",
)
_POSITIVE_RANGE_OR_EMPTY: Check = (
    lambda x: not x or (len(x) == 2 and 0 < x[0] <= x[1]),
    "[low, high] with 0 < low <= high, or [] for none",
)
_OPTIONAL_POSITIVE: Check = (lambda x: x is None or x > 0, "a number > 0, or null")


def _one_of(*choices: str) -> Check:
    return (lambda x: x in choices, f"one of {', '.join(choices)}")


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _numbers(value: Any) -> bool:
    """Whether this is a finite number or a list of at least one."""
    each = _listed(value)
    return bool(each) and all(type(x) in (int, float) and math.isfinite(x) for x in each)


_CHECKS: dict[str, Check] = {
    "robot.kp": (
        lambda x: _numbers(x) and all(gain > 0 for gain in _listed(x)),
        "a number > 0, or a list of them in the order of robot.joints",
    ),
    "robot.kd": (
        lambda x: _numbers(x) and all(gain >= 0 for gain in _listed(x)),
        "a number >= 0, or a list of them in the order of robot.joints",
    ),
    "robot.action_scale": _POSITIVE,
    "robot.spawn_height": _POSITIVE,
    "terrain.num_levels": _POSITIVE,
    "terrain.tile_size": _POSITIVE,
    "terrain.border": (lambda x: x >= 1.0, "a width >= 1 m, which robots reach over"),
    "terrain.max_initial_level": (lambda x: x is None or x >= 0, "an integer >= 0, or null"),
    "terrain.platform": _POSITIVE,
    "terrain.curriculum.rule": _one_of("none", "progress", "success"),
    "terrain.curriculum.promote": _OPEN_SHARE,
    "terrain.curriculum.demote": _NOT_NEGATIVE,
    "terrain.curriculum.distance": _NOT_NEGATIVE,
    "terrain.curriculum.window": (lambda x: x >= 1, "an integer >= 1"),
    "terrain.cell_size": _POSITIVE,
    "terrain.height_map_cell": _POSITIVE,
    "terrain.fractal_height": _HARDER,
    "terrain.roughness": _HARDER,
    "terrain.slope": _HARDER,
    "terrain.slope_roughness": _NOT_NEGATIVE,
    "terrain.stair_height": _HARDER,
    "terrain.stair_tread": _POSITIVE,
    "terrain.curb_height": _HARDER,
    "terrain.stone_size": (
        lambda x: len(x) == 2 and x[0] >= x[1] > 0,
        "[easiest, hardest] with easiest >= hardest > 0",
    ),
    "terrain.stone_gap": _HARDER,
    "terrain.gap_width": _HARDER,
    "terrain.gap_depth": _POSITIVE,
    "terrain.pit_depth": _HARDER,
    "terrain.hurdle_height": _HARDER,
    "terrain.wave_height": _HARDER,
    "terrain.seed": _NOT_NEGATIVE,
    "sim.dt": _POSITIVE,
    "sim.decimation": _POSITIVE,
    "sim.threads": _NOT_NEGATIVE,
    "sim.iterations": _POSITIVE,
    "sim.ls_iterations": _POSITIVE,
    "sim.tolerance": _NOT_NEGATIVE,
    "sim.max_velocity": _POSITIVE,
    "sim.contacts": _NOT_NEGATIVE,
    "sim.constraints": _NOT_NEGATIVE,
    "sim.convex_pairs": _NOT_NEGATIVE,
    "sim.engine": _one_of("auto", "mujoco_c", "mujoco_warp"),
    "sim.integrator": _one_of("implicitfast", "euler"),
    "sim.cone": _one_of("pyramidal", "elliptic"),
    "task.episode_length_s": _POSITIVE,
    "task.max_tilt": _POSITIVE,
    "task.action_clip": _POSITIVE,
    "task.commands.lin_vel_x": _RANGE,
    "task.commands.lin_vel_y": _RANGE,
    "task.commands.yaw_rate": _RANGE,
    "task.commands.resample_time_s": _POSITIVE,
    "task.commands.standing_fraction": _SHARE,
    "task.commands.min_speed": _NOT_NEGATIVE,
    "task.commands.heading_range": _RANGE,
    "task.commands.flat_velocity": _RANGE_OR_EMPTY,
    "task.commands.flat_heading": _RANGE,
    "task.commands.initial_scale": _SHARE,
    "task.commands.ramp": _OPEN_SHARE,
    "task.observations.scandots.x": (lambda x: len(x) > 0, "at least one coordinate"),
    "task.observations.scandots.y": (lambda x: len(x) > 0, "at least one coordinate"),
    "task.observations.scandots.noise": _NOT_NEGATIVE,
    "task.observations.scandots.period_s": _RANGE_OR_EMPTY,
    "task.observations.scandots.latency_s": _RANGE_OR_EMPTY,
    "task.rewards.tracking_sigma": _POSITIVE,
    "task.rewards.air_time_target": _NOT_NEGATIVE,
    "task.rewards.soft_joint_limit": _OPEN_SHARE,
    "task.randomization.friction": _RANGE_OR_EMPTY,
    "task.randomization.added_mass": _RANGE_OR_EMPTY,
    "task.randomization.com_shift": _RANGE_OR_EMPTY,
    "task.randomization.kp_scale": _RANGE_OR_EMPTY,
    "task.randomization.kd_scale": _RANGE_OR_EMPTY,
    "task.randomization.motor_strength": _RANGE_OR_EMPTY,
    "task.randomization.armature_scale": _POSITIVE_RANGE_OR_EMPTY,
    "task.randomization.latency_s": _RANGE_OR_EMPTY,
    "task.randomization.push_interval_s": _NOT_NEGATIVE,
    "task.randomization.push_velocity": _NOT_NEGATIVE,
    "task.randomization.init_joint_pos": _NOT_NEGATIVE,
    "task.randomization.init_velocity": _NOT_NEGATIVE,
    "policy.architecture": _one_of("monolithic", "rma"),
    "policy.extrinsics_hidden": _WIDTHS,
    "policy.extrinsics_latent": _POSITIVE,
    "policy.scandots_hidden": _WIDTHS,
    "policy.scandots_latent": _NOT_NEGATIVE,
    "policy.image_channels": (
        lambda x: len(x) == 3 and min(x) > 0,
        "three widths above 0",
    ),
    "policy.image_latent": _POSITIVE,
    "policy.gru_hidden": _POSITIVE,
    "policy.gru_layers": _NOT_NEGATIVE,
    "policy.actor_hidden": _WIDTHS,
    "policy.critic_hidden": _WIDTHS,
    "policy.critic_memory": _one_of("shared", "own", "none"),
    "policy.activation": _one_of("elu", "relu", "tanh", "silu"),
    "policy.distribution": _one_of(
        "gaussian", "fixed_gaussian", "state_gaussian", "beta", "categorical"
    ),
    "policy.init_std": _POSITIVE,
    "policy.min_std": _POSITIVE,
    "policy.max_std": _POSITIVE,
    "policy.action_bound": _POSITIVE,
    "ppo.rollout_length": _POSITIVE,
    "ppo.bptt_length": _POSITIVE,
    "ppo.num_epochs": _POSITIVE,
    "ppo.num_minibatches": _POSITIVE,
    "ppo.sequences_per_minibatch": _NOT_NEGATIVE,
    "ppo.gradient_accumulation": _POSITIVE,
    "ppo.gamma": _OPEN_SHARE,
    "ppo.gae_lambda": _SHARE,
    "ppo.clip_range": _POSITIVE,
    "ppo.value_clip_range": _OPTIONAL_POSITIVE,
    "ppo.value_coef": _NOT_NEGATIVE,
    "ppo.entropy_coef": _NOT_NEGATIVE,
    "ppo.max_grad_norm": _POSITIVE,
    "ppo.learning_rate": _POSITIVE,
    "ppo.schedule": _one_of("cosine", "linear", "constant", "adaptive"),
    "ppo.final_lr_fraction": _SHARE,
    "ppo.desired_kl": _POSITIVE,
    "ppo.desired_kl_final": _OPTIONAL_POSITIVE,
    "ppo.target_kl": _OPTIONAL_POSITIVE,
    "ppo.weight_decay": _NOT_NEGATIVE,
    "ppo.symmetry": _one_of("none", "augmentation", "loss"),
    "ppo.symmetry_coef": _NOT_NEGATIVE,
    "ppo.precision": _one_of("float32", "tf32", "bfloat16"),
    "gym.image_size": _NOT_NEGATIVE,
    "gym.frame_skip": _POSITIVE,
    "training.num_envs": _POSITIVE,
    "training.total_timesteps": _POSITIVE,
    "training.seed": _NOT_NEGATIVE,
    "training.checkpoint_freq": _POSITIVE,
    "training.keep_checkpoints": _POSITIVE,
    "training.evaluation_freq": _NOT_NEGATIVE,
    "training.evaluation_episodes": _POSITIVE,
    "training.average_decay": (lambda x: 0 <= x < 1, "a number from 0 to below 1"),
    "training.log_interval": _POSITIVE,
    "training.wandb": _one_of("auto", "online", "offline", "disabled"),
    "training.report_episodes": _POSITIVE,
}


def validate(config: Config) -> None:
    """Check every range and the relations between keys.

    Raises:
        ConfigError: for the first value that is out of range.
    """
    for key, (allowed, expected) in _CHECKS.items():
        value = _get(config, key)
        if not allowed(value):
            raise ConfigError(key, value, expected)
    ppo, policy, sim = config.ppo, config.policy, config.sim
    if ppo.rollout_length % ppo.bptt_length:
        raise ConfigError(
            "ppo.bptt_length",
            ppo.bptt_length,
            f"a divisor of ppo.rollout_length ({ppo.rollout_length})",
        )
    if policy.distribution in ("gaussian", "state_gaussian") and not (
        policy.min_std < policy.init_std < policy.max_std
    ):
        raise ConfigError(
            "policy.init_std",
            policy.init_std,
            f"a number between policy.min_std ({policy.min_std}) and policy.max_std ({policy.max_std})",
        )
    sizes = {key: getattr(sim, key) for key in ("contacts", "constraints", "convex_pairs")}
    if any(sizes.values()) and not all(sizes.values()):
        missing = next(key for key, value in sizes.items() if not value)
        expected = "above 0, or sim.contacts, sim.constraints and sim.convex_pairs all 0"
        raise ConfigError(f"sim.{missing}", 0, expected)
    if policy.architecture == "rma":
        for key, only, reason in (
            ("critic_memory", "shared", "its critic reads the base policy's inputs"),
            ("actor_skip", False, "its base policy reads the observations anyway"),
        ):
            if getattr(policy, key) != only:
                expected = f"{str(only).lower()} with policy.architecture=rma: {reason}"
                raise ConfigError(f"policy.{key}", getattr(policy, key), expected)
        if policy.scandots_latent == 0:
            expected = "above 0 with policy.architecture=rma, whose memory is of the terrain"
            raise ConfigError("policy.scandots_latent", 0, expected)
        if policy.gru_layers == 0:
            raise ConfigError("policy.gru_layers", 0, expected)
    if policy.distribution == "categorical" and not config.gym.id:
        expected = "another distribution for robots, whose actions are continuous"
        raise ConfigError("policy.distribution", policy.distribution, expected)
    widest = policy.action_bound / 3.1**0.5
    if policy.distribution == "beta" and policy.init_std > widest:
        raise ConfigError(
            "policy.init_std",
            policy.init_std,
            f"at most {widest:.2f}, the std of an almost uniform beta within policy.action_bound",
        )
    check_terrain(config.terrain)
    rewards, commands = config.task.rewards, config.task.commands
    check_curriculum(config.terrain)
    if commands.flat_velocity and not commands.heading:
        raise ConfigError(
            "task.commands.flat_velocity",
            commands.flat_velocity,
            "[] unless task.commands.heading is true: the curves are headings",
        )
    if not (rewards.tracking or rewards.tracking_lin_vel or rewards.tracking_ang_vel):
        raise ConfigError(
            "task.rewards.tracking_lin_vel", 0.0, "a tracking weight other than 0; nothing to learn"
        )
    sensor_latency = config.task.observations.scandots.latency_s
    if sensor_latency and sensor_latency[0] < 0:
        key = "task.observations.scandots.latency_s"
        raise ConfigError(key, sensor_latency, "a range from 0 s up")
    latency, control_dt = config.task.randomization.latency_s, sim.dt * sim.decimation
    if latency and not (latency[0] >= 0 and latency[1] <= control_dt):
        raise ConfigError(
            "task.randomization.latency_s",
            latency,
            f"a range within one control step, 0 to {control_dt:g} s",
        )


def _get(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = getattr(config, part)
    return config

"""Bounds and relations of the configuration's values, beyond their types."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

from legged_ppo.config.schema import (
    Config,
    DepthConfig,
    PolicyConfig,
    PPOConfig,
    SimConfig,
    TaskConfig,
)
from legged_ppo.config.schema.bounds import bound_of, broken_magnitude
from legged_ppo.errors import ConfigError

_LONGEST_LATENCY = 2.0
"""Delay [s] of a depth camera up to which poses are kept."""


def validate(config: Config) -> None:
    """Check the bound of every field and the relations between keys.

    Whether the robot and the terrain can be built is checked where they are built.

    Raises:
        ConfigError: for the first value that is out of range.
    """
    _check_bounds(config, "")
    _check_ppo(config.ppo)
    _check_policy(config.policy)
    if config.gym.id and config.environment:
        expected = "empty with gym.id, which is trained on instead"
        raise ConfigError("environment", config.environment, expected)
    _check_sim(config.sim)
    _check_task(config.task, control_dt=config.sim.dt * config.sim.decimation)
    _check_depth(config.task.observations.depth, config.robot.spawn_height)


def _check_bounds(section: Any, prefix: str) -> None:
    """Each field of a section and of the sections below it against its magnitude and its bound."""
    for item in fields(section):
        key, value = f"{prefix}{item.name}", getattr(section, item.name)
        if is_dataclass(value):
            _check_bounds(value, f"{key}.")
            continue
        if expected := broken_magnitude(value):
            raise ConfigError(key, value, expected)
        bound = bound_of(item)
        if bound is not None and value is not None and not bound.allowed(value):
            nullable = ", or null" if "None" in str(item.type) else ""
            raise ConfigError(key, value, f"{bound.expected}{nullable}")


def _check_ppo(ppo: PPOConfig) -> None:
    if ppo.rollout_length % ppo.bptt_length:
        expected = f"a divisor of ppo.rollout_length ({ppo.rollout_length})"
        raise ConfigError("ppo.bptt_length", ppo.bptt_length, expected)


def _check_policy(policy: PolicyConfig) -> None:
    std = policy.init_std
    if policy.distribution in ("gaussian", "state_gaussian") and not (
        policy.min_std < std < policy.max_std
    ):
        expected = (
            f"a number between policy.min_std ({policy.min_std}) and "
            f"policy.max_std ({policy.max_std})"
        )
        raise ConfigError("policy.init_std", std, expected)
    widest = policy.action_bound / 3.1**0.5
    if policy.distribution == "beta" and std > widest:
        expected = (
            f"at most {widest:.2f}, the std of an almost uniform beta within policy.action_bound"
        )
        raise ConfigError("policy.init_std", std, expected)
    if policy.architecture == "rma":
        _check_rma(policy)
    elif policy.adaptation:
        expected = "false unless policy.architecture=rma, whose extrinsics it estimates"
        raise ConfigError("policy.adaptation", True, expected)


def _check_rma(policy: PolicyConfig) -> None:
    """What the rma architecture fixes of the other policy keys."""
    condition = "with policy.architecture=rma"
    if policy.critic_memory != "shared":
        expected = f"shared {condition}: its critic reads the base policy's inputs"
        raise ConfigError("policy.critic_memory", policy.critic_memory, expected)
    if policy.actor_skip:
        expected = f"false {condition}: its base policy reads the observations already"
        raise ConfigError("policy.actor_skip", True, expected)
    for key in ("scandots_latent", "gru_layers"):
        if getattr(policy, key) == 0:
            expected = f"above 0 {condition}, whose GRU encodes the terrain"
            raise ConfigError(f"policy.{key}", 0, expected)


def _check_sim(sim: SimConfig) -> None:
    sizes = {key: getattr(sim, key) for key in ("contacts", "constraints", "convex_pairs")}
    if any(sizes.values()) and not all(sizes.values()):
        missing = next(key for key, value in sizes.items() if not value)
        expected = "above 0, or sim.contacts, sim.constraints and sim.convex_pairs all 0"
        raise ConfigError(f"sim.{missing}", 0, expected)


def _check_task(task: TaskConfig, control_dt: float) -> None:
    rewards, commands = task.rewards, task.commands
    if commands.flat_velocity and not commands.heading:
        raise ConfigError(
            "task.commands.flat_velocity",
            commands.flat_velocity,
            "[] unless task.commands.heading is true: the curves are headings",
        )
    if commands.forward_types and not commands.heading:
        raise ConfigError(
            "task.commands.forward_types",
            commands.forward_types,
            "[] unless task.commands.heading is true: the turns are headings",
        )
    tracking = (rewards.tracking, rewards.tracking_lin_vel, rewards.tracking_ang_vel)
    if not any(tracking) and not any(rewards.extra.values()):
        expected = "a tracking weight other than 0; nothing to learn"
        raise ConfigError("task.rewards.tracking_lin_vel", 0.0, expected)
    _check_gait(task, control_dt)
    latency = task.randomization.latency_s
    if latency and latency[1] > control_dt:
        expected = f"a range within one control step, 0 to {control_dt:g} s"
        raise ConfigError("task.randomization.latency_s", latency, expected)


def _check_gait(task: TaskConfig, control_dt: float) -> None:
    """The clock is slow enough to be observed, and reward terms that follow it have one."""
    frequency = task.gait.frequency
    if frequency * control_dt >= 0.5:
        expected = f"below {0.5 / control_dt:g} Hz, two control steps a stride"
        raise ConfigError("task.gait.frequency", frequency, expected)
    for name in ("gait_phase", "swing_height"):
        weight = getattr(task.rewards, name)
        if weight and not frequency:
            raise ConfigError(f"task.rewards.{name}", weight, "0 without task.gait.frequency")


def _check_depth(depth: DepthConfig, spawn_height: float) -> None:
    """The clip range holds depths, the camera is above the ground, and its past is short enough to keep."""
    key = "task.observations.depth"
    if depth.far <= depth.near:
        expected = f"a depth above {key}.near ({depth.near:g} m)"
        raise ConfigError(f"{key}.far", depth.far, expected)
    if depth.position and depth.position[2] <= -spawn_height:
        expected = f"z above -robot.spawn_height (-{spawn_height:g} m), which is on the ground"
        raise ConfigError(f"{key}.position", depth.position, expected)
    if depth.latency_s and depth.latency_s[1] > _LONGEST_LATENCY:
        expected = f"a range of delays up to {_LONGEST_LATENCY:g} s"
        raise ConfigError(f"{key}.latency_s", depth.latency_s, expected)

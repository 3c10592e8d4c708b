"""From the arguments of play.py or evaluate.py to a policy and the conditions it acts under."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from legged_ppo.cli.options import check_import
from legged_ppo.config.keys import errors_from
from legged_ppo.config.overrides import apply_overrides
from legged_ppo.config.schema import Config
from legged_ppo.errors import ConfigError
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.runs.checkpoint import load_policy
from legged_ppo.runs.run_directory import find_checkpoint
from legged_ppo.terrain.checks import check_ground

_ROBOT_SECTIONS = ("robot", "terrain", "sim", "task", "extensions")
_GYM_SECTIONS = ("gym", "extensions")
"""What an override may change of a checkpoint's config; the network and its training are done."""
_GYM_FIXED = ("id", "observe", "image_size", "grayscale", "normalize_reward", "processes")
"""Keys of `gym` that decide what the policy sees, or that no evaluation reads."""


def load_for_evaluation(
    arguments: argparse.Namespace, conditions: Config | None = None
) -> tuple[ActorCritic, Config, dict[str, Any], Path]:
    """Policy, config with the overrides, counters and path of the checkpoint that was asked for.

    Args:
        conditions: act under this config, but for what the policy observes (grid, scales and noise of
            `task.observations`), which is the checkpoint's own.

    Raises:
        ConfigError: a bad checkpoint or override, or inputs that the policy was not made for.
    """
    path = find_checkpoint(arguments.checkpoint, arguments.log_dir)
    policy, trained, counters = load_policy(path)
    check_import(trained, arguments.overrides, path)
    sections = _GYM_SECTIONS if trained.gym.id else _ROBOT_SECTIONS
    config = apply_overrides(trained, arguments.overrides, sections)
    with errors_from(str(path), arguments.overrides):
        check_ground(config)
    if conditions is not None:
        task = replace(conditions.task, observations=config.task.observations)
        config = replace(conditions, task=task)
    for name in _GYM_FIXED:
        before, now = getattr(trained.gym, name), getattr(config.gym, name)
        if now != before:
            raise ConfigError(
                f"gym.{name}", now, f"{before!r}, as the policy of {path} was trained"
            )
    for key, (old, new) in _input_sizes(trained, config).items():
        if old != new:
            raise ConfigError(key, new, f"{old}, as the policy of {path} was trained")
    return policy, config, counters, path


def _input_sizes(trained: Config, config: Config) -> dict[str, tuple[int, int]]:
    """Sizes that the network's inputs and outputs depend on, when trained and now."""
    old, new = trained.task.observations, config.task.observations
    return {
        "number of robot.joints": (len(trained.robot.joints), len(config.robot.joints)),
        "number of robot.foot_geoms": (
            len(trained.robot.foot_geoms),
            len(config.robot.foot_geoms),
        ),
        "number of task.observations.scandots.x": (len(old.scandots.x), len(new.scandots.x)),
        "number of task.observations.scandots.y": (len(old.scandots.y), len(new.scandots.y)),
    }

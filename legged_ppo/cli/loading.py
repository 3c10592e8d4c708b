"""From the arguments of play.py or evaluate.py to a policy and the conditions it acts under."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from legged_ppo.cli.options import check_import, refuse
from legged_ppo.config.keys import errors_from
from legged_ppo.config.overrides import apply_overrides
from legged_ppo.config.schema import Config
from legged_ppo.errors import ConfigError
from legged_ppo.evaluation.task import RobotTask, task_of
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.runs.checkpoint import load_policy
from legged_ppo.runs.run_directory import find_checkpoint
from legged_ppo.terrain.checks import check_ground

_OF_ROBOTS = ("command", "terrain", "level", "episodes_per_cell", "report", "protocol", "compare")
"""Options that other environments have no use for."""


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
    task = task_of(trained)
    if not isinstance(task, RobotTask):
        refuse(arguments, f"for {trained.subject}: it is for robots", *_OF_ROBOTS)
    config = apply_overrides(trained, arguments.overrides, task.sections)
    with errors_from(str(path), arguments.overrides):
        check_ground(config)
    if conditions is not None:
        observed = replace(conditions.task, observations=config.task.observations)
        config = replace(conditions, task=observed)
    now = task_of(config).inputs()
    for key, value in task.inputs().items():
        if now[key] != value:
            raise ConfigError(key, now[key], f"{value!r}, as the policy of {path} was trained")
    return policy, config, counters, path

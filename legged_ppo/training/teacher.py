"""The teacher of Phase 2: a policy of Phase 1, checked against the environment in which it labels."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from legged_ppo.config.schema import Config
from legged_ppo.errors import ConfigError
from legged_ppo.evaluation.trained_policy import check_import
from legged_ppo.interface import Environment
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.models.equivariance import Equivariance
from legged_ppo.runs import checkpoint as checkpoints
from legged_ppo.runs.robot_model import read_model, same_model

_OBSERVED = ("ang_vel_scale", "joint_vel_scale", "height_scale", "contact_threshold")
"""Keys of `task.observations` that change what an observation means."""
_EQUIVARIANT = "equivariant"


@dataclass(frozen=True)
class Teacher:
    """A policy without gradients, and where its robots had come to."""

    policy: ActorCritic
    path: Path
    """Of its checkpoint."""
    levels: list[dict[str, Any]]
    """Environment states of the ranks of its run; empty where the checkpoint holds none, or of other ground."""


def foundation_of(path: Path, overrides: Sequence[str]) -> Config:
    """What a recipe of Phase 2 need not repeat: the teacher's robot, ground, physics, task and network, and
    whether it commutes with the mirror. Robots of a teacher whose levels are not known begin on all levels.

    Raises:
        ConfigError: a bad checkpoint, or one that imports modules that the overrides do not name.
    """
    saved = checkpoints.load_checkpoint(path)
    config = checkpoints.checkpoint_config(saved, path)
    check_import(config, overrides, path)
    config = checkpoints.use_stored_model(config, saved, path)
    defaults = Config()
    task = replace(config.task, commands=replace(config.task.commands, initial_scale=1.0))
    terrain, ppo = config.terrain, defaults.ppo
    if not _levels_of(saved):
        terrain = replace(terrain, max_initial_level=terrain.num_levels - 1)
    if config.ppo.symmetry == _EQUIVARIANT and config.policy.architecture == "monolithic":
        ppo = replace(ppo, symmetry=_EQUIVARIANT)
    return replace(
        config,
        task=task,
        terrain=terrain,
        ppo=ppo,
        training=defaults.training,
        distillation=defaults.distillation,
    )


def load_teacher(path: Path, config: Config, env: Environment) -> Teacher:
    """The teacher of a run of `config` in `env`, on its device.

    Raises:
        ConfigError: a bad checkpoint; another robot, action, clock or observation than the environment's.
    """
    saved = checkpoints.load_checkpoint(path)
    trained = checkpoints.checkpoint_config(saved, path)
    _check_robot(saved, trained, config, path)
    policy = ActorCritic(saved["obs_dims"], saved["num_actions"], trained.policy)
    _check_inputs(policy, env, path)
    policy.load_state_dict(saved["policy"])
    policy.requires_grad_(False).to(env.device)
    policy.fuse_gru(config.training.fused_gru)
    if config.ppo.symmetry == _EQUIVARIANT:
        _check_equivariant(policy, env, path)
    same_ground = asdict(trained.terrain) == asdict(config.terrain)
    return Teacher(policy, path, _levels_of(saved) if same_ground else [])


def _levels_of(saved: dict[str, Any]) -> list[dict[str, Any]]:
    """Environment states of the ranks; empty where a checkpoint, as that of a policy alone, lacks them."""
    ranks = [rank["env"] for rank in saved.get("ranks", [])]
    return ranks if all(ranks) else []


def _check_equivariant(policy: ActorCritic, env: Environment, path: Path) -> None:
    """A student whose weights are averaged with their reflections would not begin as another teacher."""
    symmetry = env.symmetry
    if symmetry is None:
        return  # refused with the student
    mirrored = copy.deepcopy(policy)
    Equivariance(mirrored, symmetry).project()
    pairs = zip(policy.parameters(), mirrored.parameters(), strict=True)
    if not all(torch.allclose(own, other, rtol=1e-3, atol=1e-4) for own, other in pairs):
        expected = f"none: the teacher {path} does not commute with the mirror"
        raise ConfigError("ppo.symmetry", _EQUIVARIANT, expected)


def _check_robot(saved: dict[str, Any], trained: Config, config: Config, path: Path) -> None:
    """Compare what the same action does and the same observation means."""
    before, now = asdict(trained.robot), asdict(config.robot)
    if same_model(read_model(config), saved.get("robot_model")):
        before["mjcf"] = now["mjcf"]
    pairs = {f"robot.{key}": (before[key], now[key]) for key in now}
    tasks = trained.task, config.task
    pairs["task.action_clip"] = tasks[0].action_clip, tasks[1].action_clip
    for key in _OBSERVED:
        values = (getattr(task.observations, key) for task in tasks)
        pairs[f"task.observations.{key}"] = next(values), next(values)
    for key, value in asdict(config.task.gait).items():
        pairs[f"task.gait.{key}"] = asdict(trained.task.gait)[key], value
    steps = [round(each.sim.dt * each.sim.decimation, 9) for each in (trained, config)]
    pairs["sim.dt * sim.decimation"] = steps[0], steps[1]
    for key, (theirs, ours) in pairs.items():
        if theirs != ours:
            raise ConfigError(key, ours, f"{theirs!r}, as in the teacher {path}")


def _check_inputs(policy: ActorCritic, env: Environment, path: Path) -> None:
    """Every group that the teacher reads must be there, of the same width."""
    for group, width in policy.obs_dims.items():
        if env.obs_dims.get(group) != width:
            found = env.obs_dims.get(group, "no")
            expected = f"a teacher of this environment: it reads {group} of width {width}, there is {found}"
            raise ConfigError("--teacher", str(path), expected)
    if policy.num_actions != env.num_actions:
        expected = f"a teacher of {env.num_actions} actions, it has {policy.num_actions}"
        raise ConfigError("--teacher", str(path), expected)


def check_student(config: Config) -> None:
    """Refuse what Phase 2 cannot do.

    Raises:
        ConfigError: mirrored copies, which the distillation does not make; a distribution without a mean.
    """
    if config.ppo.mirrored_copies:
        expected = "equivariant or none: a student has no mirrored copies"
        raise ConfigError("ppo.symmetry", config.ppo.symmetry, expected)
    if config.policy.distribution == "categorical":
        expected = "a distribution over joint targets"
        raise ConfigError("policy.distribution", "categorical", expected)

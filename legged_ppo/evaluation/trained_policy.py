"""A trained policy as a library user has it: it acts, and it is evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from legged_ppo.config.extensions import check_named
from legged_ppo.config.keys import errors_from, override_values
from legged_ppo.config.overrides import apply_overrides
from legged_ppo.config.schema import Config
from legged_ppo.errors import ConfigError
from legged_ppo.evaluation.task import task_of
from legged_ppo.interface import Observations
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.runs.checkpoint import read_policy
from legged_ppo.runs.pretrained import save_policy_alone
from legged_ppo.runs.run_directory import find_checkpoint
from legged_ppo.runtime.device import find_device
from legged_ppo.terrain.checks import check_ground


@dataclass(frozen=True)
class TrainedPolicy:
    """A policy without gradients, and the recipe that it acts under."""

    network: ActorCritic
    config: Config
    env_steps: int
    """Steps that it was trained for."""
    path: Path
    """Of its checkpoint."""

    def initial_state(self, num_envs: int) -> torch.Tensor:
        """The recurrent state [layers, N, hidden] before an episode."""
        return self.network.initial_state(num_envs, self.network.device)

    def save(self, path: str | Path) -> None:
        """Write the policy and its recipe to a small checkpoint, from which no training can be resumed.

        Raises:
            OSError: it cannot be written.
        """
        save_policy_alone(self.path, Path(path))

    @torch.no_grad()
    def act(
        self, obs: Observations, state: torch.Tensor, starts: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Deterministic actions [N, A] and the state after the step.

        Args:
            obs: groups as the environment returns them, [N, width] each; those of the critic may be absent.
            state: [layers, N, hidden] after the step before.
            starts: [N] bool, the observation is the first of an episode: the state is zeroed before the step.
        """
        normalized = self.network.normalize(obs)
        distribution, state = self.network.act(normalized, state, starts)
        return distribution.mode, state


def load_policy(
    path: str | Path,
    overrides: Sequence[str] = (),
    *,
    device: str = "cpu",
    log_dir: str = "logs",
    conditions: Config | None = None,
) -> TrainedPolicy:
    """The policy of a checkpoint and the recipe of its run, changed by `overrides`.

    Args:
        path: a .pth file, a run's folder, "latest", the newest run under `log_dir`, or "pretrained:NAME".
        overrides: `key=value` as on the command line. Modules that the checkpoint would import (extensions,
            `gym.id=module:Env`) must be named here.
        device: auto, cpu or cuda:N.
        conditions: act under this recipe, but for what the policy observes (grid, scales and noise of
            `task.observations`), which is the checkpoint's own.

    Raises:
        ConfigError: a bad checkpoint or override, or inputs that the policy was not made for.
    """
    path = find_checkpoint(path, log_dir)
    network, trained, counters = read_policy(path)
    check_import(trained, overrides, path)
    task = task_of(trained)
    config = apply_overrides(trained, overrides, task.sections)
    with errors_from(str(path), overrides):
        check_ground(config)
    if conditions is not None:
        observed = replace(conditions.task, observations=config.task.observations)
        config = replace(conditions, task=observed)
    _check_inputs(trained, config, path)
    network.to(find_device(device, task.physics))
    network.fuse_gru(config.training.fused_gru)
    return TrainedPolicy(network, config, counters["env_steps"], path)


def evaluate(
    policy: TrainedPolicy | str | Path,
    config: Config | None = None,
    *,
    terrain: str | None = None,
    level: int | None = None,
    episodes: int = 256,
    seed: int = 0,
    stochastic: bool = False,
    by_cell: bool = False,
    gait: bool = False,
) -> dict[str, Any]:
    """Figures of whole episodes, as docs/evaluation.md defines them; the same seed gives the same figures.

    Args:
        policy: what `load_policy` returned or takes.
        config: conditions other than the policy's own recipe.
        terrain: of robots, this terrain type alone; all of its levels, or `level`.
        stochastic: sample the actions instead of taking the distribution's mode.
        by_cell: of robots, `episodes` on each terrain type and level instead of in all.
        gait: of robots, the figures of `gait.gait_report` too.

    Returns:
        {"overall": figures}; of robots {"terrain": {TYPE: ...}} too, as `summarize_by_terrain`.

    Raises:
        ConfigError: a bad checkpoint, a config with other inputs than the policy's, no such terrain.
    """
    loaded = policy if isinstance(policy, TrainedPolicy) else load_policy(policy)
    if config is None:
        config = loaded.config
    else:
        _check_inputs(loaded.config, config, loaded.path)
    task, network = task_of(config), loaded.network
    figures = task.evaluate(
        network,
        episodes,
        seed,
        stochastic=stochastic,
        terrain=terrain,
        level=level,
        by_cell=by_cell,
    )
    return figures | (task.evaluate_gait(network, episodes, seed) if gait else {})


def check_import(config: Config, overrides: Sequence[str], checkpoint: Path) -> None:
    """Refuse what a checkpoint would import, unless the user names it too: `gym.id=module:Env`, extensions.

    Raises:
        ConfigError: no override names the same.
    """
    name, given = config.gym.id, override_values(overrides)
    if ":" in name and given.get("gym.id") != name:
        expected = f"gym.id={name} among the overrides: a checkpoint alone imports no module"
        raise ConfigError("gym.id", name, expected, source=str(checkpoint))
    check_named(config.extensions, given.get("extensions"), checkpoint)


def _check_inputs(trained: Config, config: Config, path: Path) -> None:
    now = task_of(config).inputs()
    for key, value in task_of(trained).inputs().items():
        if now.get(key) != value:
            expected = f"{value!r}, as the policy of {path} was trained"
            raise ConfigError(key, now.get(key), expected)

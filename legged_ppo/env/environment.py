"""The seam between environments and training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch

if TYPE_CHECKING:
    from legged_ppo.env.mirror import Mirror

Observations = dict[str, torch.Tensor]
"""Named groups, each [N, width] float32; pictures [N, channels, height, width] uint8."""


@dataclass
class StepResult:
    """One step of N environments; those that ended were reset inside the step (SAME_STEP)."""

    obs: Observations
    """After the reset where an episode ended."""
    reward: torch.Tensor
    """[N]"""
    terminated: torch.Tensor
    """[N] bool, the episode ended in a state of no future value"""
    truncated: torch.Tensor
    """[N] bool, the episode was cut by its time limit (never together with `terminated`)"""
    final_obs: Observations | None
    """The true last observation where an episode ended; elsewhere the same as `obs`. None where the
    environment hides it: time limits are then bootstrapped with the value before the last step."""
    info: dict[str, torch.Tensor]
    """`episode` [K]: sums over the episodes that ended in this step, `step` [S]: sums over the robots;
    named by the environment's `episode_metrics` and `step_metrics`."""


class Environment(Protocol):
    """N environments with dictionary observations; Discrete actions are one-hot rows.

    One that also has `fits_graphs = True` promises that `step` works on one GPU's tensors without waiting for
    it, and that what lasts from step to step is in tensors that are attributes, or in lists, tuples or
    dictionaries that are: rollouts may become CUDA graphs.
    """

    num_envs: int
    num_actions: int
    device: torch.device
    episode_metrics: list[str]
    """Names of `info["episode"]`; the first three are count, return and length."""
    step_metrics: list[str]
    """Names of `info["step"]`, which are averaged over robots and steps."""

    @property
    def obs_dims(self) -> Mapping[str, int | tuple[int, int, int]]:
        """Width of every observation group; channels, height and width of pictures (uint8)."""
        ...

    @property
    def strata(self) -> torch.Tensor | None:
        """[N] int64, kind (terrain type) of each environment, of which every minibatch gets its share."""
        ...

    @property
    def mirror(self) -> Mirror | None:
        """Its left-right reflection, or None without a known one."""
        ...

    def reset(self) -> Observations: ...

    def step(self, actions: torch.Tensor) -> StepResult: ...

    def anneal(self, progress: float) -> None:
        """Called before every rollout with the share of the training that is done, in [0, 1]."""
        ...

    def metrics(self) -> dict[str, torch.Tensor]:
        """Scalars of the environment's own state (levels of a curriculum), read once an iteration."""
        ...

    def curriculum_report(self) -> dict[str, Any] | None:
        """Solve rates by type and level (`TerrainCurriculum.report`), or None without a curriculum. Every
        rank must ask."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that the environment needs to go on bit for bit, its random generator included."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...

    def load_progress(self, states: list[dict[str, Any]]) -> None:
        """Of such states, of all the ranks of a run, only what outlives the episodes (levels of a
        curriculum), shared out over the ranks that there are now."""
        ...

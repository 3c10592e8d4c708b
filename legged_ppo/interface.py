"""The contract between environments and training: observations, steps, environments, symmetry."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import torch

TensorFunction = Callable[..., tuple[torch.Tensor, ...]]
"""Of tensors to new tensors."""
Observations = dict[str, torch.Tensor]
"""Named groups, each [N, width] float32; images [N, channels, height, width] uint8; depth images [N, rows,
columns] float32."""


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
    named by the environment's `episode_metrics` and `step_metrics`. Where the environment itself tells, `success`
    [N] bool: the episode that ended in this step succeeded."""


class Environment(ABC):
    """N environments with dictionary observations; Discrete actions are one-hot rows.

    A subclass sets the attributes below, defines `reset` and `step`, and overrides what its kind has:
    the defaults describe an environment without groups, symmetry, curriculum or saved state.
    """

    num_envs: int
    num_actions: int
    device: torch.device
    obs_dims: Mapping[str, int | tuple[int, ...]]
    """Width of every observation group; channels, height and width of images (uint8); rows and columns of depth
    images."""
    episode_metrics: list[str]
    """Names of `info["episode"]`; the first three are count, return and length."""
    step_metrics: list[str]
    """Names of `info["step"]`, which are averaged over robots and steps."""
    generator: torch.Generator | None = None
    """Source of the randomness that `step` draws on the device; CUDA graphs must know it."""
    fits_graphs: bool = False
    """True: rollouts may become CUDA graphs. `step` works on one GPU's tensors without waiting for it, takes
    numbers that change from tensors, and writes what lasts into tensors that keep their memory (`OwnedState`).
    Not inherited: a subclass may break the promise, so it makes its own."""
    discrete_actions: bool = False
    """True: an action is a choice, given as a one-hot row."""
    fixed_state: bool = True
    """True: `state_dict` has the same keys, types and shapes at every step, so that a resume can check it."""
    max_episode_steps: int = 0
    """Time limit of an episode; 0: unknown, and an evaluation cuts episodes that do not end."""
    success_return: float = math.inf
    """Return from which an episode counts as a success; inf: success is not defined."""
    render_fps: float = 30.0
    """Steps a second of a recording at the environment's own speed."""
    needs_opengl: bool = False
    """True: `render` draws with MuJoCo."""

    @property
    def env_groups(self) -> torch.Tensor | None:
        """[N] int64, kind (terrain type) of each environment; every minibatch draws evenly from each. None:
        all environments are of one kind."""
        return None

    @property
    def symmetry(self) -> Symmetry | None:
        """The left-right symmetry of observations and actions, or None where none is known."""
        return None

    @abstractmethod
    def reset(self) -> Observations:
        """Start an episode in every environment; returns the first observations [N, ...]."""

    @abstractmethod
    def step(self, actions: torch.Tensor) -> StepResult:
        """One step with actions [N, A]; environments whose episode ended are reset inside."""

    def compiled(self, function: TensorFunction, rows: int) -> TensorFunction:
        """The function as the environment's device runs it fastest, up to rounding.

        Args:
            function: of tensors to new ones [rows, ...], every row of which depends on that row of the arguments
                alone, or on arguments that have none. No branch depends on a tensor's values, and random numbers
                come from one generator.
        """
        return function

    def begin_whole_episodes(self) -> None:  # noqa: B027
        """Called before `reset` where episodes are evaluated: one that spreads their clocks over the time limit
        for the training does not."""

    def set_progress(self, progress: float) -> None:  # noqa: B027
        """Receive the completed share of the training, in [0, 1], before every rollout."""

    def metrics(self) -> dict[str, torch.Tensor]:
        """Scalars of the environment's own state (levels of a curriculum), read once an iteration."""
        return {}

    def curriculum_report(self) -> dict[str, Any] | None:
        """Solve rates by type and level (`TerrainCurriculum.report`), or None without a curriculum. A
        collective operation: every rank must call it."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """The whole state, random generators included, for a bit-exact resume. Empty: the environment cannot
        be saved, and a resumed run starts new episodes."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027
        """Restore what `state_dict` returned."""

    def load_levels(self, states: list[dict[str, Any]]) -> None:  # noqa: B027
        """Restore only what outlives the episodes (levels of a curriculum) from the states of all ranks of a
        run, divided over the present ranks."""

    def render(self) -> np.ndarray | None:
        """An image of the first environment, [height, width, 3] uint8, or None: it has none."""
        return None

    def close(self) -> None:  # noqa: B027
        """Release processes and windows."""


@dataclass
class SignedPermutation:
    """x -> sign * x[..., order], which is its own inverse."""

    order: torch.Tensor
    """[W] int64"""
    sign: torch.Tensor
    """[W] of 1 and -1"""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """The reflection of [..., W]."""
        return x[..., self.order] * self.sign

    @classmethod
    def of_signs(cls, *signs: float) -> SignedPermutation:
        """Every entry stays in its place."""
        return cls(torch.arange(len(signs)), torch.tensor(signs))

    @classmethod
    def joined(cls, parts: Sequence[SignedPermutation]) -> SignedPermutation:
        """Of entries side by side."""
        starts = accumulate((len(p.order) for p in parts), initial=0)
        orders = [p.order + start for p, start in zip(parts, starts, strict=False)]
        return cls(torch.cat(orders), torch.cat([p.sign for p in parts]))

    def to(self, device: torch.device) -> SignedPermutation:
        return SignedPermutation(self.order.to(device), self.sign.to(device))


VECTOR = SignedPermutation.of_signs(1.0, -1.0, 1.0)
"""x, y, z of a velocity, a force or a direction."""
ROTATION = SignedPermutation.of_signs(-1.0, 1.0, -1.0)
"""x, y, z of an angular velocity or an axis."""


@dataclass
class Symmetry:
    """How a robot's left becomes its right."""

    actions: SignedPermutation
    observations: dict[str, SignedPermutation]

    def reflect(self, obs: Observations) -> Observations:
        return {name: self.observations[name](group) for name, group in obs.items()}

"""What every implementation is played, what is seen of it, and the interface to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import torch


@dataclass(frozen=True)
class ProbeSettings:
    """The same for every implementation."""

    steps: int = 12
    robots: int = 5
    inputs: int = 4
    actions: int = 2
    hidden: int = 16
    sequence: int = 6
    """Steps of a training sequence, where an implementation cuts the rollout into equal ones."""
    epochs: int = 2
    minibatches: int = 2
    gamma: float = 0.99
    iterations: int = 4
    """Of the training that is resumed."""
    saved_after: int = 2
    """Iterations before its checkpoint."""


PROBE = ProbeSettings()
Minibatches = list[list[frozenset[int]]]
"""Samples (t N + n) of every minibatch, by epoch"""


class NotApplicableError(Exception):
    """A probe cannot be put to an implementation; the message says why."""


@dataclass
class Script:
    """T steps of N environments; `final_obs` is what an ending step really led to."""

    obs: torch.Tensor
    """[T + 1, N, 4]"""
    rewards: torch.Tensor
    """[T, N]"""
    terminated: torch.Tensor
    """[T, N] bool"""
    truncated: torch.Tensor
    """[T, N] bool"""
    final_obs: torch.Tensor
    """[T, N, 4]"""

    @classmethod
    def random(cls, seed: int = 0) -> Script:
        g = torch.Generator().manual_seed(seed)
        ends = torch.rand(PROBE.steps, PROBE.robots, generator=g) < 0.15
        limits = torch.rand(PROBE.steps, PROBE.robots, generator=g) < 0.5
        return cls(
            obs=torch.randn(PROBE.steps + 1, PROBE.robots, PROBE.inputs, generator=g),
            rewards=torch.randn(PROBE.steps, PROBE.robots, generator=g),
            terminated=ends & ~limits,
            truncated=ends & limits,
            final_obs=torch.randn(PROBE.steps, PROBE.robots, PROBE.inputs, generator=g),
        )

    @property
    def ended(self) -> torch.Tensor:
        return self.terminated | self.truncated

    def changed(self, **places: tuple[Any, float]) -> Script:
        """A copy in which 1 is added at these places: name=(index, amount)."""
        copies = {}
        for name, (index, amount) in places.items():
            copies[name] = getattr(self, name).clone()
            copies[name][index] += amount
        return replace(self, **copies)

    def closed(self) -> Script:
        """A copy in which all episodes end with the last step and begin as the first ones did, so that
        environments and memories that start anew lose nothing."""
        terminated, truncated = self.terminated.clone(), self.truncated.clone()
        terminated[-1], truncated[-1] = True, False
        obs = torch.cat([self.obs[:-1], self.obs[:1]])
        return replace(self, obs=obs, terminated=terminated, truncated=truncated)


@dataclass
class Findings:
    """What one rollout and the training pass over it showed."""

    ratio_error: float
    """largest |new - old log-probability| before the first optimizer step"""
    values: torch.Tensor
    """[T, N], of the training pass"""
    advantages: torch.Tensor
    """[T, N], not normalised"""
    minibatches: Minibatches = field(default_factory=list)
    normalizer_moved: float = 0.0
    """change of a normalised observation over the rollout"""
    ratio_error_raw: float | None = None
    """`ratio_error` with observations that are not normalised, where that was played too"""


def played_both_ways(played: Callable[[bool], Findings]) -> Findings:
    """Values and advantages without normalising observations, because a changed observation would reach
    all others through the statistics; the normalizer's figures with it.

    Args:
        played: plays one rollout, with normalised observations where it is given True.
    """
    findings, normalized = played(False), played(True)
    findings.ratio_error_raw = findings.ratio_error
    findings.ratio_error = normalized.ratio_error
    findings.normalizer_moved = normalized.normalizer_moved
    return findings


class Subject(Protocol):
    name: str
    """With its version."""

    def play(self, script: Script) -> Findings: ...

    def uneven(self) -> Minibatches:
        """Minibatches where the samples cannot be shared out evenly.

        Raises:
            NotApplicableError: it refuses.
        """
        ...

    def train_and_save(
        self, script: Script, folder: Path, saved: Callable[[], None]
    ) -> torch.Tensor:
        """Weights after 4 iterations; what its own save writes after 2 lies in `folder`.

        Args:
            saved: to be called right after it was written.
        """
        ...

    def load_and_train(
        self, script: Script, folder: Path, loaded: Callable[[], None]
    ) -> torch.Tensor:
        """Weights after the other 2, in a process that has only `folder`.

        Args:
            loaded: to be called before the training goes on.
        """
        ...


@dataclass
class TrainingPass:
    """What went through the networks for one optimizer step."""

    actions: torch.Tensor
    """[B, 2]"""
    log_probs: torch.Tensor
    """[B]"""
    values: torch.Tensor
    """[B]"""


@dataclass
class Rollout:
    """What an implementation keeps of a rollout."""

    actions: torch.Tensor
    """[T, N, 2]"""
    log_probs: torch.Tensor
    """[T, N]"""
    values: torch.Tensor
    """[T, N]"""
    returns: torch.Tensor
    """[T, N]"""

    def findings(self, passes: list[TrainingPass], normalizer_moved: float) -> Findings:
        """Of an update's passes, whose optimizer must not have changed the weights; samples are told by
        their actions."""
        ids = [self._samples(p.actions) for p in passes]
        log_probs, values = torch.full_like(self.values, torch.nan), self.values.clone()
        for i, p in zip(ids[: PROBE.minibatches], passes[: PROBE.minibatches], strict=True):
            log_probs.view(-1)[i], values.view(-1)[i] = p.log_probs, p.values
        named = [frozenset(i.tolist()) for i in ids]
        return Findings(
            float((log_probs - self.log_probs).abs().max()),
            values,
            self.returns - self.values,
            [named[i : i + PROBE.minibatches] for i in range(0, len(named), PROBE.minibatches)],
            normalizer_moved,
        )

    def _samples(self, actions: torch.Tensor) -> torch.Tensor:
        same = (actions[:, None] == self.actions.flatten(0, 1)).all(-1)
        assert bool((same.sum(1) == 1).all()), "actions that were not taken"
        return same.int().argmax(1)


def flat(module: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])

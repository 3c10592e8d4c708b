"""When a training run has diverged, so that it stops before a checkpoint is overwritten."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

WEIGHTS_FINITE = "Policy/weights_finite"
OPTIMIZER_STEPS = "Loss/optimizer_steps"
MAX_IDLE_ITERATIONS = 10
"""Iterations in a row without a single optimizer step after which a run stops."""


class TrainingDiverged(RuntimeError):  # noqa: N818
    """The weights are not finite, or no update has been finite for a while.

    The message is one line. Checkpoints hold finite weights.
    """


class DivergenceMonitor:
    """Decides after each iteration whether the run has diverged.

    Args:
        latest: the run's latest checkpoint, for the message.
    """

    def __init__(self, latest: Path) -> None:
        self._latest, self._idle_iterations = latest, 0

    def check(self, metrics: Mapping[str, float]) -> str | None:
        """The reason to stop in one line, or None; call once an iteration with its metrics."""
        idle = metrics[OPTIMIZER_STEPS] == 0
        self._idle_iterations = self._idle_iterations + 1 if idle else 0
        if metrics[WEIGHTS_FINITE] != 1.0:
            reason = "the policy's parameters or observation statistics are not finite"
        elif self._idle_iterations >= MAX_IDLE_ITERATIONS:
            reason = f"no loss was finite for {MAX_IDLE_ITERATIONS} iterations"
        else:
            return None
        kept = f"the last finite checkpoint is {self._latest}" if self._latest.exists() else ""
        advice = "lower ppo.learning_rate, and check the rewards and observations"
        return "; ".join(
            part
            for part in (
                f"training diverged at iteration {metrics['iteration']:.0f}: {reason}",
                kept,
                advice,
            )
            if part
        )

"""What a training loop demands of the algorithm that it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch

from legged_ppo.algorithms.rollout_buffer import RolloutBuffer


class Learner(Protocol):
    """Improves a policy from full buffers: `PPO`, `Distillation`."""

    def update(
        self, buffer: RolloutBuffer, next_value: torch.Tensor, progress: float
    ) -> dict[str, torch.Tensor | float]:
        """One update; returns metrics, tensors being scalars on the device.

        Args:
            next_value: [N], value of the observation after the rollout's last step.
            progress: completed share of the training, in [0, 1].
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's state and the learning rate."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        ...

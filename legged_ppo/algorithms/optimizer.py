"""AdamW whose steps are clipped, averaged over the ranks, and skipped on the device where they are not finite."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from legged_ppo.runtime import distributed
from legged_ppo.runtime.cuda_graphs import outside_graph
from legged_ppo.runtime.owned_state import OwnedState

_RATE_TYPE = {"cpu": torch.float64, "cuda": torch.float32}
"""In which torch's fused AdamW reads a learning rate that is a tensor."""


class GuardedAdamW(OwnedState):
    """AdamW of one network, without waiting for the device.

    Args:
        parameters: those without a gradient in a step keep their values and moments in it.
        device: where they lie.
        beside: parameters of another module, numbered after those of the network in the state, without decay.
    """

    owned = ("learning_rate", "skip")

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        learning_rate: float,
        weight_decay: float,
        max_grad_norm: float,
        device: torch.device,
        beside: Iterable[nn.Parameter] = (),
    ) -> None:
        own, further = list(parameters), list(beside)
        self.parameters, self._max_grad_norm = [*own, *further], max_grad_norm
        weights, others = decayed_and_others(own)
        groups = [
            {"params": weights, "weight_decay": weight_decay},
            {"params": others, "weight_decay": 0.0},
            {"params": further, "weight_decay": 0.0},
        ]
        self.adamw = torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=learning_rate,
            eps=1e-5,
            fused=True,
            capturable=device.type == "cuda",
        )
        self.skip = torch.zeros((), device=device)
        """scalar, 1 where the last step was skipped, else 0"""
        # torch's fused optimizers read it: at 1 a step leaves parameters and moments unchanged.
        self.adamw.found_inf = self.skip  # type: ignore[attr-defined]
        self.learning_rate = torch.full_like(self.skip, learning_rate, dtype=torch.float64)
        """scalar float64 on the device, where an adaptive rule computes it without synchronisation"""

    def step(self, loss: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """One step with the gradients that the parameters hold.

        Args:
            loss: [1], of these gradients; averaged over the ranks with them, so that all skip the same steps.

        Returns:
            norm of the gradient before the clip, and `skip`.
        """
        if distributed.world_size() > 1:
            gradients = [p.grad for p in self.parameters if p.grad is not None]
            outside_graph(partial(distributed.average_, [*gradients, loss]))
        norm = nn.utils.clip_grad_norm_(self.parameters, self._max_grad_norm)
        for group in self.adamw.param_groups:
            group["lr"] = self.learning_rate.to(_RATE_TYPE[self.skip.device.type], copy=True)
        self.skip.copy_(~(loss[0].isfinite() & norm.isfinite()))
        self.adamw.step()
        return norm.detach(), self.skip

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's state and the learning rate."""
        return {"optimizer": self.adamw.state_dict(), "learning_rate": float(self.learning_rate)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned; hyperparameters other than the learning rate stay this run's."""
        # This run may use another weight decay or another device.
        groups = self.adamw.state_dict()["param_groups"]
        moments = state["optimizer"]["state"]
        self.adamw.load_state_dict({"state": moments, "param_groups": groups})
        self.learning_rate.fill_(state["learning_rate"])


def decayed_and_others(
    parameters: Iterable[nn.Parameter],
) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The optimizer's two parameter groups, in order: weights, which decay, and biases and standard
    deviations, which do not."""
    parameters = list(parameters)
    return [p for p in parameters if p.dim() > 1], [p for p in parameters if p.dim() <= 1]

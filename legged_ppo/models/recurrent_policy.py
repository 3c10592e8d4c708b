"""A policy that acts: its recurrent state is carried from step to step and zeroed at episode ends."""

from __future__ import annotations

from collections.abc import Callable

import torch

from legged_ppo.interface import Observations, StepResult
from legged_ppo.models.actor_critic import ActorCritic


class RecurrentPolicy:
    """Acts for N robots without the critic; the first observations are the first of their episodes.

    Args:
        generator: source of the actions' randomness; None acts deterministically, by the mode.
        sight: what the policy is shown of the observations [N, ...]; None shows them as they are.
    """

    def __init__(
        self,
        policy: ActorCritic,
        num_envs: int,
        device: torch.device,
        generator: torch.Generator | None = None,
        sight: Callable[[Observations], Observations] | None = None,
    ) -> None:
        self.policy, self._generator, self._sight = policy, generator, sight
        self._with_latents = policy.frame_memory()
        self.state = policy.initial_state(num_envs, device)
        self.starts = torch.ones(num_envs, dtype=torch.bool, device=device)

    def restart(self) -> None:
        """The next observations are the first of their episodes."""
        self.starts = torch.ones_like(self.starts)

    @torch.no_grad()
    def act(self, obs: Observations) -> torch.Tensor:
        """Actions [N, A] for raw observations."""
        if self._sight is not None:
            obs = self._sight(obs)
        normalized = self._with_latents(self.policy.normalize(obs))
        distribution, self.state = self.policy.act(normalized, self.state, self.starts)
        if self._generator is None:
            return distribution.mode
        return distribution.sample(self._generator)

    def note_ends(self, result: StepResult) -> None:
        """The state of robots whose episodes ended is zeroed before the next step."""
        self.starts = result.terminated | result.truncated

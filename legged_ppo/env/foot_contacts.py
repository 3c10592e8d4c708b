"""FootContacts: which feet touch the ground, since when, and what they felt a step ago."""

from __future__ import annotations

import torch

from legged_ppo.runtime.owned_state import OwnedState

_DUTY_TIME = 1.0
"""Time constant [s] of the running average of each foot's contact."""
_START_DUTY = 0.5


class FootContacts(OwnedState):
    """Contacts of F feet of N robots.

    Args:
        dt: control step [s].
    """

    owned = ("last_foot_force", "air_time", "contact", "duty")

    def __init__(self, num_envs: int, num_feet: int, dt: float, device: torch.device) -> None:
        self._dt = dt
        shape = num_envs, num_feet
        self.contact = torch.zeros(shape, dtype=torch.bool, device=device)
        self.air_time = torch.zeros(shape, device=device)
        """[N, F] s since the foot left the ground; 0 in contact"""
        self.last_foot_force = torch.zeros(shape, device=device)
        """[N, F] N, of the control step before"""
        self.duty = torch.full(shape, _START_DUTY, device=device)
        """[N, F] share of about the last second in which the foot was in contact"""

    def step(self, force: torch.Tensor, threshold: float) -> None:
        """Count a control step at whose end the feet feel `force` [N, F] N; in contact above `threshold` [N].

        Leaves `landed` [N, F] bool, and `swing_time` [N, F] s, which is `air_time` before this step's landings
        are cleared.
        """
        touching = force > threshold
        self.landed = touching & ~self.contact
        self.contact.copy_(touching)
        self.duty.lerp_(touching.float(), self._dt / _DUTY_TIME)
        self.swing_time = self.air_time + self._dt
        torch.mul(self.swing_time, ~touching, out=self.air_time)

    def remember(self, force: torch.Tensor) -> None:
        """Keep the forces [N, F] N for the step that follows."""
        self.last_foot_force.copy_(force)

    def reset(self, mask: torch.Tensor, force: torch.Tensor) -> None:
        """Begin the episodes of the masked robots [N] bool, whose feet feel `force` [N, F] N."""
        chosen = mask[:, None]
        self.air_time.masked_fill_(chosen, 0.0)  # a product keeps NaN
        self.contact &= ~chosen
        self.duty.masked_fill_(chosen, _START_DUTY)
        torch.where(chosen, force, self.last_foot_force, out=self.last_foot_force)

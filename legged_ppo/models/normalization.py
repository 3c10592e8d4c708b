"""Running observation statistics that are constant during a rollout and its epochs."""

from __future__ import annotations

import torch
from torch import nn

from legged_ppo.interface import SignedPermutation
from legged_ppo.runtime import distributed
from legged_ppo.runtime.device import finite_rows


class RunningNormalizer(nn.Module):
    """Mean and variance of each component of an observation.

    `observe` accumulates a rollout's moments separately; only `commit`, called once after the update, changes
    the statistics that `forward` uses. Statistics that change between a rollout and its epochs make
    the first ratios differ from 1, the field's most costly silent bug (rl_games #371).

    The buffers keep their memory: CUDA graphs of a rollout read and write them.
    """

    mean: torch.Tensor
    var: torch.Tensor
    count: torch.Tensor
    pending: torch.Tensor

    def __init__(self, width: int, clip: float = 10.0) -> None:
        super().__init__()
        self.clip = clip
        self.reflection: SignedPermutation | None = None
        """Of a row; with it, the statistics are those of every row and its mirrored copy."""
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("var", torch.ones(width))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        # Count, sum and sum of squares about the committed mean, in float64 against cancellation.
        self.register_buffer("pending", torch.zeros(3, width, dtype=torch.float64))

    def forward(self, x: torch.Tensor, columns: slice = slice(None)) -> torch.Tensor:
        """(x - mean) / std of [..., width], clipped; x may hold a part of the `columns`."""
        scale = torch.rsqrt(self.var[columns] + 1e-5)
        return ((x - self.mean[columns]) * scale).clamp_(-self.clip, self.clip)

    def observe(self, x: torch.Tensor) -> None:
        """Accumulate the rows of x [N, width] that are finite."""
        finite = finite_rows(x)[:, None]
        centred = (x - self.mean.double()).masked_fill_(~finite, 0.0)
        count = finite.sum().double().expand_as(self.mean)
        self.pending += torch.stack([count, centred.sum(0), centred.square().sum(0)])

    def commit(self) -> None:
        """Merge the moments of all ranks into the statistics (Chan et al., 1979)."""
        distributed.sum_(self.pending)
        new, total, squares = self.pending
        if self.reflection is not None:
            total = (total + self.reflection(total)) / 2
            squares = (squares + squares[self.reflection.order]) / 2
        count = self.count + new
        shift = total / new.clamp(min=1.0)
        batch_var = squares / new.clamp(min=1.0) - shift.square()
        weight = new / count.clamp(min=1.0)
        old_var = self.var.double()
        merged = (1 - weight) * old_var + weight * (batch_var + (1 - weight) * shift.square())
        self.var.copy_(torch.where(new > 0, merged, old_var).clamp(min=0.0))
        self.mean += (shift * weight).float()
        self.count.copy_(count.amax())
        self.pending.zero_()

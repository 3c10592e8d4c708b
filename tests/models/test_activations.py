"""ELU against PyTorch's."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from legged_ppo.models.activations import ELU


@pytest.mark.parametrize("shape", [(7,), (64,), (3, 5, 48), (400, 96)])
@pytest.mark.parametrize("threads", [1, 2])
def test_elu_equals_torchs_in_values_and_gradients(shape: tuple[int, ...], threads: int) -> None:
    before = torch.get_num_threads()
    x = torch.linspace(-30.0, 5.0, int(torch.tensor(shape).prod())).view(shape).requires_grad_()
    weights = torch.linspace(-1.0, 1.0, x.numel()).view(shape)
    try:
        torch.set_num_threads(threads)
        ours, theirs = ELU()(x), nn.ELU()(x)
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=2e-7)
        found, expected = (torch.autograd.grad((y * weights).sum(), x) for y in (ours, theirs))
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=2e-7)
        with torch.no_grad():
            assert torch.equal(ELU()(x), ours)
    finally:
        torch.set_num_threads(before)


def test_a_view_whose_numbers_are_not_side_by_side_is_right() -> None:
    x = torch.randn(16, 32).requires_grad_()
    y = ELU()(x.t())
    torch.testing.assert_close(y, nn.functional.elu(x.t()), rtol=1e-6, atol=2e-7)
    (gradient,) = torch.autograd.grad(y.sum(dim=0)[3:5].sum(), x)
    torch.testing.assert_close(gradient, (torch.where(x > 0, 1.0, x.exp()) * _rows(3, 5)))


def _rows(first: int, last: int) -> torch.Tensor:
    chosen = torch.zeros(16, 1)
    chosen[first:last] = 1.0
    return chosen


def test_what_is_not_finite_keeps_its_place() -> None:
    x = torch.zeros(32)
    x[3], x[5], x[6] = float("nan"), float("inf"), -float("inf")
    y = ELU()(x)
    assert y[3].isnan() and y[5] == float("inf") and y[6] == -1.0
    others = [i for i in range(32) if i not in (3, 5, 6)]
    assert torch.equal(y[others], torch.zeros(29))

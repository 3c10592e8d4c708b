"""Sums of two chosen entries against the same in torch."""

from __future__ import annotations

import pytest
import torch

from legged_ppo.models.compiled_sums import CompiledSums


@pytest.mark.parametrize("count", [1, 16, 37, 40_000])
def test_each_sum_is_that_of_its_two_entries(count: int) -> None:
    generator = torch.Generator().manual_seed(count)
    x = torch.randn(300, generator=generator)
    places = torch.randint(300, (2, count), generator=generator)
    factors = torch.randn(2, count, generator=generator)
    expected = factors[0] * x[places[0]] + factors[1] * x[places[1]]
    found = CompiledSums(places, factors)(x)
    assert found.shape == (count,)
    torch.testing.assert_close(found, expected)

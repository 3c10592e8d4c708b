"""Observation statistics: when they move, and to what."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from legged_ppo.models.normalization import RunningNormalizer

WIDTH = 4


def batches(offset: float, scale: float) -> list[torch.Tensor]:
    """Batches of different sizes whose distribution drifts."""
    generator = torch.Generator().manual_seed(0)
    return [
        offset + scale * (i + (1 + i) * torch.randn(size, WIDTH, generator=generator))
        for i, size in enumerate((64, 7, 33, 128))
    ]


def test_before_the_first_commit_observations_pass_unchanged_up_to_the_clip() -> None:
    x = torch.tensor([[-100.0, -1.0, 0.5, 100.0]])
    expected = torch.tensor([[-10.0, -1.0, 0.5, 10.0]])
    torch.testing.assert_close(RunningNormalizer(WIDTH)(x), expected)
    assert x[0, 0] == -100.0


def test_statistics_stand_still_until_commit() -> None:
    normalizer, (x, *others) = RunningNormalizer(WIDTH), batches(2.0, 3.0)
    before = normalizer(x)
    for batch in others:
        normalizer.observe(batch)
        assert torch.equal(normalizer(x), before)
    normalizer.commit()
    assert not torch.equal(normalizer(x), before)


@pytest.mark.parametrize(("offset", "scale"), [(2.0, 3.0), (1e4, 1.0), (-300.0, 0.01)])
def test_after_commits_statistics_equal_numpys_over_all_data(offset: float, scale: float) -> None:
    normalizer, data = RunningNormalizer(WIDTH), batches(offset, scale)
    for first, second in (data[:2], data[2:]):
        normalizer.observe(first)
        normalizer.observe(second)
        normalizer.commit()
    everything = torch.cat(data).double().numpy()
    spread = everything.std(0)
    assert normalizer.count == len(everything)
    np.testing.assert_allclose(normalizer.mean, everything.mean(0), atol=2e-3 * spread.min())
    np.testing.assert_allclose(normalizer.var, spread**2, rtol=2e-3)


def test_commit_without_data_changes_nothing() -> None:
    normalizer = RunningNormalizer(WIDTH)
    normalizer.observe(batches(2.0, 3.0)[0])
    normalizer.commit()
    before = {name: value.clone() for name, value in normalizer.state_dict().items()}
    normalizer.commit()
    assert all(torch.equal(value, before[name]) for name, value in normalizer.state_dict().items())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_are_left_out(value: float) -> None:
    clean, damaged = RunningNormalizer(WIDTH), RunningNormalizer(WIDTH)
    x = batches(2.0, 3.0)[0]
    clean.observe(x)
    damaged.observe(torch.cat([x, torch.tensor([[0.0, value, 0.0, 0.0]])]))
    for normalizer in (clean, damaged):
        normalizer.commit()
    for name, statistic in clean.state_dict().items():
        torch.testing.assert_close(damaged.state_dict()[name], statistic)

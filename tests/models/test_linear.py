"""The products by either library against PyTorch's linear layer, forward and backward."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from legged_ppo.models import linear

WAYS = ["pytorch", "onednn"]


@pytest.mark.parametrize("products", WAYS, indirect=True)
@pytest.mark.parametrize("shape", [(5,), (7, 5), (3, 4, 5)])
def test_equals_torchs_linear_layer_in_outputs_and_gradients(
    products: None, shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    layer, reference = linear.Linear(5, 3), nn.Linear(5, 3)
    reference.load_state_dict(layer.state_dict())
    x = torch.randn(shape, requires_grad=True)
    ours, theirs = layer(x), reference(x)
    torch.testing.assert_close(ours, theirs)
    weights = torch.randn_like(ours)
    torch.testing.assert_close(
        torch.autograd.grad(ours, [x, *layer.parameters()], weights),
        torch.autograd.grad(theirs, [x, *reference.parameters()], weights),
    )


@pytest.mark.parametrize("products", WAYS, indirect=True)
def test_rows_that_are_not_contiguous_and_slices_of_a_transposition_are_right(
    products: None,
) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(6, 8), torch.randn(4, 6)
    expected = expected_of(x[:, 2:], weight)
    torch.testing.assert_close(linear.product(x[:, 2:], weight), expected)
    rows = linear.transposed(x)[2:]
    torch.testing.assert_close(linear.product(rows, weight), expected_of(rows, weight))
    columns = x.t()  # whose rows are not contiguous
    torch.testing.assert_close(linear.product(columns, weight), expected_of(columns, weight))
    total = torch.randn(6, 8)
    part = total[:, :4]  # a product is added in place to what it is a view of
    before = total.clone()
    linear.add_product_(part, x[:, 2:], weight)
    torch.testing.assert_close(total[:, :4], before[:, :4] + expected)
    assert torch.equal(total[:, 4:], before[:, 4:])


def expected_of(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return (x.double() @ weight.double().t()).float()


@pytest.mark.parametrize("products", WAYS, indirect=True)
def test_autocast_chooses_the_precision(products: None) -> None:
    layer = linear.Linear(5, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(4, 5)).dtype == torch.bfloat16
    assert layer(torch.randn(4, 5)).dtype == torch.float32


def test_small_products_and_other_types_are_pytorchs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "PREFER_ONEDNN", True)
    weight = torch.zeros(192, 64)
    assert linear._by_onednn(torch.zeros(1024, 64), weight)
    assert not linear._by_onednn(torch.zeros(8, 64), weight)
    assert not linear._by_onednn(torch.zeros(1024, 64).double(), weight)
    assert not linear._by_onednn(torch.zeros(64, 1024).t(), weight)

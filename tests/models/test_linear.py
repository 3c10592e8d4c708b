"""PyTorch's and compiled products against PyTorch's linear layer, forward and backward."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from legged_ppo.models import compiled_product, linear
from legged_ppo.runtime.lanes.target import host

WAYS = ["pytorch", "compiled"]


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
def test_parts_of_longer_rows_and_columns_are_right(products: None) -> None:
    torch.manual_seed(0)
    x, weight, outer = torch.randn(6, 8), torch.randn(4, 6), torch.randn(6, 9)
    part, some = x[:, 2:], outer[:, 3:7]
    torch.testing.assert_close(linear.product(part, weight), expected_of(part, weight))
    expected = expected_of(some.t(), part.t())
    torch.testing.assert_close(linear.weight_gradient(some, part), expected)
    columns = x.t()  # whose rows do not lie in one piece
    torch.testing.assert_close(linear.product(columns, weight), expected_of(columns, weight))
    rows = outer.t()[:8]
    expected = expected_of(columns.t(), rows.t())
    torch.testing.assert_close(linear.weight_gradient(columns, rows), expected)


def expected_of(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return (x.double() @ weight.double().t()).float()


@pytest.mark.parametrize("products", WAYS, indirect=True)
def test_autocast_chooses_the_precision(products: None) -> None:
    layer = linear.Linear(5, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(4, 5)).dtype == torch.bfloat16
    assert layer(torch.randn(4, 5)).dtype == torch.float32


def test_small_products_and_other_types_are_pytorchs() -> None:
    assert linear._is_compiled(torch.zeros(1024, 64), 192)
    assert not linear._is_compiled(torch.zeros(8, 64), 192)
    assert not linear._is_compiled(torch.zeros(1024, 64).double(), 192)
    assert not linear._is_compiled(torch.zeros(64, 1024).t(), 192)


@pytest.mark.parametrize("lanes", [lanes for lanes in (4, 8, 16) if lanes <= host().lanes])
@pytest.mark.parametrize(
    ("rows", "inputs", "outputs"),
    [(1, 1, 1), (7, 3, 17), (300, 83, 31), (29, 33, 49), (131, 64, 96)],
)
def test_compiled_products_of_any_size_write_nothing_else(
    monkeypatch: pytest.MonkeyPatch, lanes: int, rows: int, inputs: int, outputs: int
) -> None:
    monkeypatch.setattr(
        compiled_product, "_functions", lambda: compiled_product.functions_of(lanes)
    )
    torch.manual_seed(0)
    x, weight = torch.randn(rows, inputs), torch.randn(outputs, inputs)
    bias, outer = torch.randn(outputs), torch.randn(rows, outputs)
    y = compiled_product.compiled_product(x, weight, bias)
    torch.testing.assert_close(y, expected_of(x, weight) + bias, rtol=1e-5, atol=1e-5)
    gradient = compiled_product.compiled_weight_gradient(outer, x)
    expected = expected_of(outer.t(), x.t())
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-4)


def test_a_row_that_is_not_finite_leaves_the_others_as_they_are() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(21, 40), torch.randn(50, 40)
    expected = compiled_product.compiled_product(x, weight, None)
    x[5, 3], x[6, 39] = float("nan"), float("inf")
    y = compiled_product.compiled_product(x, weight, None)
    others = [row for row in range(21) if row not in (5, 6)]
    assert torch.equal(y[others], expected[others])
    assert not y[5].isfinite().any() and not y[6].isfinite().any()


def test_bits_do_not_depend_on_the_number_of_threads() -> None:
    torch.manual_seed(0)
    x, weight, outer = torch.randn(301, 60), torch.randn(70, 60), torch.randn(301, 70)
    results = []
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            y = compiled_product.compiled_product(x, weight, None)
            results.append((y, compiled_product.compiled_weight_gradient(outer, x)))
    finally:
        torch.set_num_threads(threads)
    for y, gradient in results[1:]:
        assert torch.equal(y, results[0][0]) and torch.equal(gradient, results[0][1])

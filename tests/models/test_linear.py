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


@pytest.mark.parametrize(
    "shapes",
    [(1, 1, 0, 0), (5, 3, 4, 2), (7, 1, 3, 0), (0, 4, 3, 5), (4, 0, 2, 6), (33, 49, 20, 17)],
)
@pytest.mark.parametrize("rows", [0, 1, 9, 130])
def test_two_products_in_one_call_are_those_of_both_parts(
    shapes: tuple[int, int, int, int], rows: int
) -> None:
    """Of rows that are parts of longer ones, with a gap between the even and the odd parts."""
    torch.manual_seed(0)
    k, n, k_odd, n_odd = shapes
    x, outer = torch.randn(rows + 2, k + k_odd + 5)[1:-1], torch.randn(rows, n + n_odd + 4)
    even, odd = torch.randn(k, n), torch.randn(k_odd, n_odd)
    bias = torch.randn(1).expand(n + n_odd)
    tables = torch.cat([even.flatten(), odd.flatten()])
    y = compiled_product.product_of_parts(x[:, 2:], tables, shapes, bias, odd=k + 1)
    first, second = x[:, 2 : 2 + k], x[:, 3 + k : 3 + k + k_odd]
    expected = torch.cat([first @ even, second @ odd], 1) + bias
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-4)
    a, b = x[:, 3 : 3 + k + k_odd], outer[:, 1:]
    gradient = compiled_product.gradient_of_parts(a, b, shapes, odd=n + 2)
    parts = a[:, :k].t() @ b[:, :n], a[:, k:].t() @ b[:, n + 2 : n + 2 + n_odd]
    expected = torch.cat([each.flatten() for each in parts])
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-4)


def test_a_table_that_is_too_long_for_the_kernels_is_refused() -> None:
    x = torch.zeros(1, 1).expand(2**26, 2**5)
    with pytest.raises(ValueError, match=r"ppo\.gradient_accumulation"):
        compiled_product.product_of_parts(x, torch.zeros(2**5), (2**5, 1, 0, 0))


@pytest.mark.parametrize("products", WAYS, indirect=True)
def test_gradients_are_computed_of_what_needs_them(
    products: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, x = linear.Linear(5, 3), torch.randn(4, 5, requires_grad=True)
    layer.weight.requires_grad_(False)
    monkeypatch.setattr(linear, "weight_gradient", None)
    layer(x).sum().backward()
    torch.testing.assert_close(x.grad, layer.weight.sum(0).expand(4, 5))


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

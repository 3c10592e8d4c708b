"""Elementary functions and loops of kernels, run on this CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch

from legged_ppo.runtime.lanes.functions import KernelFunctions
from legged_ppo.runtime.lanes.kernel import Floats, Kernel
from legged_ppo.runtime.lanes.object_code import compile_object
from legged_ppo.runtime.lanes.target import host
from legged_ppo.runtime.lanes.values import IndexValue, Value

Elementwise = Callable[[Kernel, Value], Value]
CASES: dict[str, tuple[Elementwise, Callable[[torch.Tensor], torch.Tensor], float]] = {
    "exp": (lambda m, x: m.exp(x), torch.exp, 3e-7),
    "sigmoid": (lambda m, x: m.sigmoid(x), torch.sigmoid, 3e-7),
    "tanh": (lambda m, x: m.tanh(x), torch.tanh, 3e-7),
}


def applied(function: Elementwise, x: torch.Tensor, lanes: int) -> torch.Tensor:
    """A function of every number of x [n], n a multiple of the lanes."""
    target = host()
    m = Kernel(lanes, target.triple)

    def body(
        tables: Sequence[Floats], numbers: Sequence[IndexValue], first: IndexValue, last: IndexValue
    ) -> None:
        source, result = tables
        for row in m.loop(last, first):
            result.store(row * lanes, function(m, source.vector(row * lanes)))

    m.function("apply", 2, 0, body)
    code = compile_object(str(m.module), target)
    result = torch.empty_like(x)
    KernelFunctions(code, target, ["apply"]).run("apply", [x, result], len(x) // lanes)
    return result


@pytest.mark.parametrize("lanes", [lanes for lanes in (4, 8, 16) if lanes <= host().lanes])
@pytest.mark.parametrize("name", CASES)
def test_functions_are_exact_to_float32(name: str, lanes: int) -> None:
    function, reference, error = CASES[name]
    x = torch.cat([torch.linspace(-86.0, 86.0, 16 * 1000), torch.linspace(-1e-3, 1e-3, 160)])
    expected = reference(x.double())
    found = applied(function, x, lanes).double()
    assert ((found - expected).abs() / expected.abs().clamp(min=1.0)).max() < error
    if name == "exp":
        assert (found / expected - 1.0).abs().max() < error


@pytest.mark.parametrize("name", CASES)
def test_functions_are_right_beyond_their_range_and_pass_nan_on(name: str) -> None:
    function, _, _ = CASES[name]
    x = torch.tensor([float("inf"), -float("inf"), float("nan"), 1e38] * 4)
    most, least, nan, large = applied(function, x, 4)[:4].tolist()
    if name == "exp":
        assert most == large > 1e37 and 0.0 <= least < 1e-37
    else:
        assert most == large == 1.0
        assert least == pytest.approx(-1.0 if name == "tanh" else 0.0, abs=1e-30)
    assert nan != nan

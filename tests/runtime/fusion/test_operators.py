"""Each operator of a kernel gives what torch gives, of NaN and infinity too."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from legged_ppo.runtime.fusion import lane_backend
from legged_ppo.runtime.fusion.fused import Fused
from legged_ppo.runtime.fusion.kernel import Backend
from legged_ppo.runtime.fusion.lane_backend import LaneBackend
from legged_ppo.runtime.lanes.target import Target, host

N = 37
"""No multiple of any width."""
INF, NAN = math.inf, math.nan
ODD = torch.tensor([NAN, INF, -INF, 0.0, -0.0, 1e-42, 3e38, -3e38, 1.0, -1.0, 0.5, 1.5, 2.5, -2.5])
EXACT = 0.0
SIGNS_OPEN = ("clamp", "clamp below", "clamp above", "minimum", "maximum", "amin", "amax")
"""Of 0 and -0 either is the smaller one."""


def numbers(width: int = 5) -> SimpleNamespace:
    """Rows of robots: ordinary numbers, and every pair of odd ones somewhere."""
    g = torch.Generator().manual_seed(3)
    a = torch.randn(N, width, generator=g) * 3
    b = torch.randn(N, width, generator=g) * 3
    pairs = torch.cartesian_prod(ODD, ODD)
    picked = pairs[torch.randperm(len(pairs), generator=g)[: N * width // 2]]
    a.view(-1)[: len(picked)], b.view(-1)[: len(picked)] = picked[:, 0], picked[:, 1]
    i = torch.randint(-9, 9, (N, width), generator=g)
    j = torch.randint(1, 5, (N, width), generator=g)
    p, q = torch.rand(2, N, width, generator=g) > 0.5
    row, table = torch.randn(width, generator=g), torch.randn(7, width, generator=g)
    matrix = torch.randn(N, 3, 3, generator=g)
    wide = torch.randn(N, 20 * width, generator=g)
    values = {
        "wide": wide,
        "a": a,
        "b": b,
        "i": i,
        "j": j,
        "p": p,
        "q": q,
        "row": row,
        "table": table,
    }
    return SimpleNamespace(**values, matrix=matrix, x=a.nan_to_num(0.3, 2.0, -2.0).clamp(-9, 9))


POINTWISE: dict[str, tuple[Callable[[Any], Tensor], float]] = {
    "add": (lambda o: o.a + o.b, EXACT),
    "add a scaled one": (lambda o: torch.add(o.a, o.b, alpha=0.3), 1e-6),
    "add a row": (lambda o: o.a + o.row, EXACT),
    "add an integer": (lambda o: o.a + o.i, EXACT),
    "subtract": (lambda o: o.a - o.b, EXACT),
    "subtract from a number": (lambda o: 1.0 - o.a, EXACT),
    "multiply": (lambda o: o.a * o.b, EXACT),
    "multiply by zero": (lambda o: o.a * 0.0, EXACT),
    "multiply by a mask": (lambda o: o.a * o.p, EXACT),
    "divide": (lambda o: o.a / o.b, EXACT),
    "divide integers": (lambda o: o.i / o.j, EXACT),
    "reciprocal": (lambda o: o.a.reciprocal(), EXACT),
    "remainder": (lambda o: torch.remainder(o.x, 0.7), 2e-6),
    "remainder of a negative divisor": (lambda o: torch.remainder(o.x, -0.7), 2e-6),
    "remainder of an infinite divisor": (lambda o: torch.remainder(o.x, o.x / 0.0), EXACT),
    "negate": (lambda o: -o.a, EXACT),
    "absolute": (lambda o: o.a.abs(), EXACT),
    "square root": (lambda o: o.a.sqrt(), 2e-7),
    "square": (lambda o: o.a.square(), EXACT),
    "exponential": (lambda o: o.a.exp(), 3e-7),
    "sine": (lambda o: o.a.clamp(-1e3, 1e3).sin(), 3e-7),
    "cosine": (lambda o: o.a.clamp(-1e3, 1e3).cos(), 3e-7),
    "sine of infinity": (lambda o: (o.a * INF).sin(), EXACT),
    "angle": (lambda o: torch.atan2(o.a, o.b), 3e-7),
    "floor": (lambda o: o.a.floor(), EXACT),
    "ceil": (lambda o: o.a.ceil(), EXACT),
    "round half to even": (lambda o: o.a.round(), EXACT),
    "minimum": (lambda o: torch.minimum(o.a, o.b), EXACT),
    "maximum": (lambda o: torch.maximum(o.a, o.b), EXACT),
    "minimum of bools": (lambda o: torch.minimum(o.p, o.q), EXACT),
    "maximum of bools": (lambda o: torch.maximum(o.p, o.q), EXACT),
    "clamp": (lambda o: o.a.clamp(-1.0, 0.5), EXACT),
    "clamp below": (lambda o: o.a.clamp(min=0.0), EXACT),
    "clamp above": (lambda o: o.a.clamp(max=0.0), EXACT),
    "clamp by tensors": (lambda o: torch.clamp(o.x, o.row, o.row + 1), EXACT),
    "lerp": (lambda o: torch.lerp(o.x, o.row, 0.3), 1e-6),
    "lerp by a tensor": (lambda o: torch.lerp(o.x, o.row, o.row), 1e-6),
    "addcmul": (lambda o: torch.addcmul(o.x, o.row, o.row), 1e-6),
    "where": (lambda o: torch.where(o.p, o.a, o.b), EXACT),
    "where with a number": (lambda o: torch.where(o.p, 0.0, o.a), EXACT),
    "where of integers": (lambda o: torch.where(o.p, o.i, o.j), EXACT),
    "masked fill": (lambda o: o.a.masked_fill(o.p, 2.0), EXACT),
    "less": (lambda o: o.a < o.b, EXACT),
    "less or equal": (lambda o: o.a <= o.b, EXACT),
    "greater": (lambda o: o.a > 0.0, EXACT),
    "greater or equal": (lambda o: o.i >= 2, EXACT),
    "equal": (lambda o: o.a == o.b, EXACT),
    "not equal": (lambda o: o.a != o.b, EXACT),
    "compare an integer with a fraction": (lambda o: o.i > 1.5, EXACT),
    "finite": (lambda o: o.a.isfinite(), EXACT),
    "nan": (lambda o: o.a.isnan(), EXACT),
    "not": (lambda o: ~o.p, EXACT),
    "and": (lambda o: o.p & o.q, EXACT),
    "or": (lambda o: o.p | o.q, EXACT),
    "exclusive or": (lambda o: o.p ^ o.q, EXACT),
    "logical not of numbers": (lambda o: o.a.logical_not(), EXACT),
    "integers": (lambda o: o.i * o.j - o.i + 3, EXACT),
    "floor division": (lambda o: o.i // o.j, EXACT),
    "remainder by -1": (lambda o: (o.i * 0 - (2**31 - 1) - o.p.long()) % (o.p.long() - 2), EXACT),
    "remainder of integers": (lambda o: o.i % o.j, EXACT),
    "to float": (lambda o: o.i.float(), EXACT),
    "to integer": (lambda o: o.x.long(), EXACT),
    "to bool": (lambda o: o.a.bool(), EXACT),
    "bool to integer": (lambda o: o.p.long(), EXACT),
}
SHAPES: dict[str, tuple[Callable[[Any], Tensor], float]] = {
    "sum": (lambda o: o.x.sum(1), 1e-5),
    "two loops over the same row": (lambda o: o.wide.sum(1) * o.wide.amax(1), 1e-4),
    "sum of a constant row": (lambda o: torch.ones_like(o.wide).sum(1) + o.row[0], EXACT),
    "sum that keeps": (lambda o: o.x.sum(1, keepdim=True) * o.x, 1e-4),
    "sum of bools": (lambda o: o.p.sum(1), EXACT),
    "mean": (lambda o: o.x.mean(1), 1e-6),
    "variance": (lambda o: o.x.var(dim=1, correction=0), 1e-5),
    "norm": (lambda o: o.x.norm(dim=1), 1e-5),
    "all": (lambda o: o.p.all(1), EXACT),
    "any": (lambda o: o.p.any(1), EXACT),
    "any of no dimension": (lambda o: torch.any(o.p, dim=[]), EXACT),
    "sum of a number": (lambda o: o.x + o.row[0].sum(0), EXACT),
    "amax of bools": (lambda o: o.p.amax(1), EXACT),
    "amax": (lambda o: o.a.amax(1), EXACT),
    "amin": (lambda o: o.a.amin(1), EXACT),
    "cat": (lambda o: torch.cat([o.a, o.b[:, :2], o.x], dim=1), EXACT),
    "stack": (lambda o: torch.stack([o.a[:, 0], o.b[:, 1]], dim=1), EXACT),
    "slices": (lambda o: o.a[:, 1:4] + o.b[:, -3:], EXACT),
    "every other": (lambda o: o.a[:, ::2], EXACT),
    "split": (lambda o: o.a.split([2, 3], dim=1)[1], EXACT),
    "unbind": (lambda o: o.a.unbind(1)[3], EXACT),
    "view": (lambda o: o.matrix.flatten(1)[:, 4] + o.matrix.view(N, 9, 1)[:, 4, 0], EXACT),
    "unflatten": (lambda o: o.matrix.view(N, 9).unflatten(1, (3, 3))[:, 2], EXACT),
    "transpose": (lambda o: o.matrix.transpose(1, 2) + o.matrix, EXACT),
    "expand": (lambda o: o.a[:, :1].expand(N, 4), EXACT),
    "pad": (lambda o: torch.nn.functional.pad(o.a, (1, 2)), EXACT),
    "matrix product": (lambda o: o.matrix @ o.matrix, 1e-5),
    "einsum": (lambda o: torch.einsum("nij,nkj->nik", o.matrix, o.matrix), 1e-5),
    "product of a row and matrices": (lambda o: o.row[None, None, :3] @ o.matrix, 1e-5),
    "constant index": (lambda o: o.a[:, torch.arange(3)], EXACT),
    "computed index": (lambda o: o.table[o.j[:, 0]], EXACT),
    "index of no dimension": (lambda o: o.a.index_select(1, o.j[0, 0] - 1), EXACT),
    "column of rows of four": (lambda o: o.table[:, :4][o.j[:, 0], 3], EXACT),
    "nothing": (lambda o: o.a[:, :0], EXACT),
    "negative index": (lambda o: o.table[o.j[:, 0] - 5], EXACT),
    "embedding": (lambda o: torch.nn.functional.embedding(o.j, o.table), EXACT),
    "own entries": (lambda o: o.a[torch.arange(N), o.j[:, 0]], EXACT),
}


@pytest.mark.parametrize("name", [*POINTWISE, *SHAPES])
def test_an_operator_is_that_of_torch(name: str, backend: Backend) -> None:
    function, tolerance = (POINTWISE | SHAPES)[name]
    values = numbers()
    fused = Fused(lambda: function(values), lambda: [values], N, backend)
    found, expected = fused(), function(values)
    assert fused.compiled, "it was not compiled"
    assert found.dtype == expected.dtype
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance, equal_nan=True)
    if tolerance == EXACT and expected.is_floating_point() and name not in SIGNS_OPEN:
        known = ~expected.isnan()
        assert torch.equal(found.signbit()[known], expected.signbit()[known]), "signs of zeros"


@pytest.mark.parametrize("robots", [1, 3, 8, 16, 100])
def test_any_number_of_robots(robots: int, backend: Backend) -> None:
    values = SimpleNamespace(x=torch.randn(robots, 3), wide=torch.randn(robots, 200))

    def function() -> tuple[Tensor, Tensor]:
        return values.x.sum(1), values.wide * values.x[:, :1]

    fused = Fused(function, lambda: [values], robots, backend)
    for found, expected in zip(fused(), function(), strict=True):
        torch.testing.assert_close(found, expected)
    assert fused.compiled


@pytest.mark.parametrize("robots", [1000, 1601])
def test_threads_change_no_bit(robots: int) -> None:
    values = SimpleNamespace(x=torch.randn(robots, 3), wide=torch.randn(robots, 200))

    def function() -> tuple[Tensor, Tensor]:
        return values.x.sin().sum(1), values.wide * values.x[:, :1]

    alone = Fused(function, lambda: [values], robots, LaneBackend())()
    divided = Fused(function, lambda: [values], robots, LaneBackend(threads=3))()
    for one, other in zip(alone, divided, strict=True):
        assert torch.equal(one, other)


def test_nan_of_a_robot_changes_no_other_robot(backend: Backend) -> None:
    values = numbers()
    values.a = torch.randn(N, 5)

    def function() -> tuple[Tensor, ...]:
        wide = torch.cat([values.a] * 20, dim=1)
        return values.a.exp().sum(1), torch.remainder(values.a, 0.3), wide.amax(1), wide.sin()

    fused = Fused(function, lambda: [values], N, backend)
    before = fused()
    values.a[11] = NAN
    after = fused()
    assert fused.compiled
    others = torch.arange(N) != 11
    for old, new in zip(before, after, strict=True):
        assert torch.equal(old[others], new[others])
        assert new[11].isnan().any()


def test_an_index_out_of_bounds_reads_inside_the_table(backend: Backend) -> None:
    values = numbers()
    values.far = torch.zeros(N)
    fused = Fused(lambda: values.table[values.far.long()], lambda: [values], N, backend)
    fused()
    assert fused.compiled
    values.far = torch.tensor([10**6, -(10**6)] + [NAN] * (N - 2))
    found = fused()
    assert torch.equal(found[:2], values.table[[6, 0]])
    assert found.isfinite().all()


class Wide(Target):
    """16 lanes on any CPU: in several registers."""

    lanes = 16  # type: ignore[assignment]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names x86's CPUs")
@pytest.mark.parametrize(
    ("kind", "cpu", "features"),
    [
        (Target, "x86-64", ""),
        (Target, "x86-64-v3", "+avx,+avx2,+fma"),
        (Wide, "x86-64-v3", "+avx,+avx2,+fma"),
    ],
)
def test_every_width_and_compiler_gives_the_same_numbers(
    kind: type[Target], cpu: str, features: str, monkeypatch: pytest.MonkeyPatch, backend: Backend
) -> None:
    values = numbers(4)
    values.many = torch.randn(N, 150)

    def function() -> tuple[Tensor, ...]:
        turned = torch.remainder(values.x, 1.3).exp().sin()
        looked = torch.nn.functional.embedding(values.j, values.table)
        wide = torch.where(values.many > 0.3, values.many * turned[:, :1], 0.5)
        return turned, looked.sum(1), wide, wide.sum(1), values.p & (values.i > 0), values.i * 2

    native = Fused(function, lambda: [values], N, backend)()
    target = kind(cpu, features, host().triple)
    monkeypatch.setattr(lane_backend, "host", lambda: target)
    fused = Fused(function, lambda: [values], N, LaneBackend())
    found = fused()
    assert fused.compiled
    for one, other, expected in zip(found, native, function(), strict=True):
        assert torch.equal(one, other)
        torch.testing.assert_close(one, expected)

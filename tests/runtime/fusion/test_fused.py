"""Functions with state: what they write, assign, draw, and what is left to torch."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from legged_ppo.runtime.fusion.fused import Fused
from legged_ppo.runtime.lanes import object_code
from legged_ppo.runtime.lanes.target import Target

N = 21
SECRET = torch.ones(3)


def state(seed: int = 0) -> SimpleNamespace:
    g = torch.Generator().manual_seed(seed)
    return SimpleNamespace(
        x=torch.randn(N, 3, generator=g),
        wide=torch.randn(N, 150, generator=g),
        past=torch.randn(3, N, 150, generator=g),
        delay=torch.rand(N, generator=g) * 2,
        steps=torch.zeros(N, dtype=torch.int64),
        generator=torch.Generator().manual_seed(seed),
        scale=torch.ones(()),
        gain=2.0,
        fixed=None,
    )


def agree(function: Callable[[SimpleNamespace], Any], calls: int = 3) -> SimpleNamespace:
    """Run a function compiled and as it is, and compare results and states; returns the compiled one's state."""
    own, other = state(), state()
    fused = Fused(lambda: function(own), lambda: [own], N)
    for _ in range(calls):
        found, expected = fused(), function(other)
        torch.testing.assert_close(found, expected)
        for name, value in vars(other).items():
            if isinstance(value, Tensor):
                torch.testing.assert_close(getattr(own, name), value)
    assert torch.equal(own.generator.get_state(), other.generator.get_state())
    assert fused.compiled
    return own


def test_tensors_are_written_in_place() -> None:
    own = state()
    memory = own.x, own.steps

    def function() -> None:
        own.x[:, :2] *= 2.0
        own.x[:, 2] = own.x[:, 0]
        own.steps += 1

    before = own.x.clone()
    fused = Fused(function, lambda: [own], N)
    fused()
    assert fused.compiled
    assert (own.x is memory[0], own.steps is memory[1]) == (True, True)
    assert torch.equal(own.x, torch.cat([before[:, :2] * 2, before[:, :1] * 2], dim=1))
    assert own.steps.tolist() == [1] * N


def test_operators_in_place_and_into_out() -> None:
    def function(o: SimpleNamespace) -> Tensor:
        o.x.masked_fill_(o.x > 1.0, 0.0).clamp_(-1.0, 1.0)
        torch.where(o.steps[:, None] < 2, o.x, o.wide[:, :3], out=o.x)
        part = o.x[:, 1:]
        part.add_(1.0)
        o.wide.copy_(o.wide * o.x[:, :1])
        return part.sum(1)

    agree(function)


def test_assigned_attributes_are_new_tensors() -> None:
    own = state()

    def function() -> None:
        own.norm = own.x.norm(dim=1)
        own.x.add_(1.0)

    fused = Fused(function, lambda: [own], N)
    fused()
    first, kept = own.norm, own.norm.clone()
    fused()
    assert fused.compiled
    assert own.norm is not first
    assert torch.equal(first, kept)


def test_draws_are_those_of_torch_in_the_same_order() -> None:
    def function(o: SimpleNamespace) -> Tensor:
        noise = torch.randn((N, 3), generator=o.generator)
        unit = torch.rand((N,), generator=o.generator)
        torch.rand((5,), generator=o.generator)  # not used, but drawn
        return noise * unit[:, None] + o.x

    agree(function)


def test_a_delay_line_is_read_before_it_is_shifted() -> None:
    def function(o: SimpleNamespace) -> Tensor:
        o.past[1:] = o.past[:-1].clone()
        o.past[0] = o.wide
        robots = torch.arange(N)
        newer = o.delay.long().clamp(max=1)
        between = (o.delay - newer)[:, None]
        o.wide += 1.0
        return torch.lerp(o.past[newer, robots], o.past[newer + 1, robots], between)

    agree(function)


def test_joined_tensors_are_divided_again_in_loops() -> None:
    def function(o: SimpleNamespace) -> tuple[Tensor, Tensor]:
        joined = torch.cat([o.x[:, :1], o.wide, o.x], dim=1)
        first, rest = joined.split([2, 152], dim=1)
        return joined.abs().amax(1), rest * first[:, :1]

    agree(function)


def test_numbers_in_tensors_may_change_and_numbers_of_pythons_are_compiled_anew() -> None:
    own = state()
    fused = Fused(lambda: own.x * own.scale * own.gain, lambda: [own], N)
    fused()
    own.scale.fill_(3.0)
    assert torch.equal(fused(), own.x * 6.0)
    own.gain = 4.0
    assert torch.equal(fused(), own.x * 12.0)
    assert fused.compiled == 2


def test_an_attribute_that_becomes_a_tensor_is_seen() -> None:
    own = state()
    fused = Fused(lambda: own.x if own.fixed is None else own.x + own.fixed, lambda: [own], N)
    assert torch.equal(fused(), own.x)
    own.fixed = torch.ones(3)
    assert torch.equal(fused(), own.x + 1.0)
    assert fused.compiled == 2


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda o: o.x * 2 if bool((o.x > 0).any()) else o.x, "_local_scalar_dense"),
        (lambda o: o.x[o.x[:, 0] > 0].sum() + o.x, "nonzero|mask"),
        (lambda o: o.x.cumsum(1), "cumsum"),
        (lambda o: o.x.double(), "float64"),
        (lambda o: o.x.sum(0), "without a row"),
        (lambda o: o.x + SECRET, "no input"),
        (lambda o: o.x.copy_(o.x.flip(0)), "flip"),
        (lambda o: o.x.copy_(o.x - o.x[3]), "written"),
        (lambda o: o.x + torch.rand(N, 1), "generator"),
        (lambda o: o.wide[:, 1:].copy_(o.wide[:, :-1].clone()), "a loop writes"),
    ],
)
def test_what_cannot_be_compiled_runs_in_torch(
    function: Callable[[SimpleNamespace], Tensor], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    own, other = state(), state()
    fused = Fused(lambda: function(own), lambda: [own], N)
    with caplog.at_level(logging.DEBUG, logger="legged_ppo"):
        torch.manual_seed(0)
        found = fused()
    torch.manual_seed(0)
    torch.testing.assert_close(found, function(other))
    assert not fused.compiled
    (line,) = [r.getMessage() for r in caplog.records if "runs in torch" in r.getMessage()]
    assert any(part in line for part in reason.split("|")), line


def test_tensors_that_share_memory_run_in_torch() -> None:
    own = state()
    own.part = own.x[:, 1]

    def function() -> Tensor:
        own.x.add_(1.0)
        return own.part * 2

    fused = Fused(function, lambda: [own], N)
    expected = (own.x[:, 1] + 1) * 2
    assert torch.equal(fused(), expected)
    assert not fused.compiled


def test_an_input_in_another_layout_is_refused() -> None:
    own = state()
    fused = Fused(lambda: own.x * 2, lambda: [own], N)
    fused()
    own.x = torch.randn(3, N).T
    with pytest.raises(ValueError, match="instead of"):
        fused()


def test_code_is_compiled_once_on_a_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    texts = []

    def compile_object(text: str, target: Target) -> bytes:
        texts.append(text)
        return compiled(text, target)

    compiled = object_code.compile_object
    monkeypatch.setattr(object_code, "compile_object", compile_object)
    for _ in range(2):
        own = state()
        Fused(lambda own=own: own.x * 2, lambda own=own: [own], N)()  # type: ignore[misc]
    assert len(texts) == 1

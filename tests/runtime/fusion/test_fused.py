"""Functions with state: what they write, assign, draw, and what is left to torch."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from legged_ppo.runtime.fusion import fused as fused_module
from legged_ppo.runtime.fusion import warp_launch
from legged_ppo.runtime.fusion.fused import Fused
from legged_ppo.runtime.fusion.kernel import Backend
from legged_ppo.runtime.fusion.lane_backend import LaneBackend
from legged_ppo.runtime.fusion.warp_backend import WarpBackend
from legged_ppo.runtime.lanes import object_code
from legged_ppo.runtime.lanes.target import Target

N = 21
SECRET = torch.ones(3)


def state(seed: int = 0) -> SimpleNamespace:
    g = torch.Generator().manual_seed(seed)
    return SimpleNamespace(
        x=torch.randn(N, 3, generator=g),
        wide=torch.randn(N, 150, generator=g),
        square=torch.randn(N, 9, 9, generator=g),
        strided=torch.randn(N, 6, generator=g)[:, ::2],
        past=torch.randn(3, N, 150, generator=g),
        delay=torch.rand(N, generator=g) * 2,
        steps=torch.zeros(N, dtype=torch.int64),
        generator=torch.Generator().manual_seed(seed),
        scale=torch.ones(()),
        gain=2.0,
        fixed=None,
    )


def agree(
    function: Callable[[SimpleNamespace], Any], backend: Backend, calls: int = 3
) -> SimpleNamespace:
    """Run a function compiled and as it is, and compare results and states; returns the compiled one's state."""
    own, other = state(), state()
    fused = Fused(lambda: function(own), lambda: [own], N, backend)
    for _ in range(calls):
        found, expected = fused(), function(other)
        torch.testing.assert_close(found, expected)
        for name, value in vars(other).items():
            if isinstance(value, Tensor):
                torch.testing.assert_close(getattr(own, name), value)
    assert torch.equal(own.generator.get_state(), other.generator.get_state())
    assert fused.compiled
    return own


def test_tensors_are_written_in_place(backend: Backend) -> None:
    own = state()
    memory = own.x, own.steps

    def function() -> None:
        own.x[:, :2] *= 2.0
        own.x[:, 2] = own.x[:, 0]
        own.steps += 1

    before = own.x.clone()
    fused = Fused(function, lambda: [own], N, backend)
    fused()
    assert fused.compiled
    assert (own.x is memory[0], own.steps is memory[1]) == (True, True)
    assert torch.equal(own.x, torch.cat([before[:, :2] * 2, before[:, :1] * 2], dim=1))
    assert own.steps.tolist() == [1] * N


def test_operators_in_place_and_into_out(backend: Backend) -> None:
    def function(o: SimpleNamespace) -> Tensor:
        o.x.masked_fill_(o.x > 1.0, 0.0).clamp_(-1.0, 1.0)
        torch.where(o.steps[:, None] < 2, o.x, o.wide[:, :3], out=o.x)
        part = o.x[:, 1:]
        part.add_(1.0)
        o.wide.copy_(o.wide * o.x[:, :1])
        return part.sum(1)

    agree(function, backend)


def test_a_comparison_in_place_leaves_numbers(backend: Backend) -> None:
    def function(o: SimpleNamespace) -> None:
        o.x[:, 0].gt_(0.5)
        o.x[:, 1].logical_not_()
        o.steps.lt_(1)

    agree(function, backend)


def test_a_tensor_without_dimensions_fills_others(backend: Backend) -> None:
    def function(o: SimpleNamespace) -> None:
        o.x[:, 0] = 3
        o.x[:, 1].fill_(o.scale)

    agree(function, backend)


def test_assigned_attributes_are_new_tensors(backend: Backend) -> None:
    own = state()

    def function() -> None:
        own.norm = own.x.norm(dim=1)
        own.x.add_(1.0)

    fused = Fused(function, lambda: [own], N, backend)
    fused()
    first, kept = own.norm, own.norm.clone()
    fused()
    assert fused.compiled
    assert own.norm is not first
    assert torch.equal(first, kept)


def test_draws_are_those_of_torch_in_the_same_order(backend: Backend) -> None:
    def function(o: SimpleNamespace) -> Tensor:
        noise = torch.randn((N, 3), generator=o.generator)
        unit = torch.rand((N,), generator=o.generator)
        torch.rand((5,), generator=o.generator)  # not used, but drawn
        return noise * unit[:, None] + o.x

    agree(function, backend)


def test_a_delay_line_is_read_before_it_is_shifted(backend: Backend) -> None:
    def function(o: SimpleNamespace) -> Tensor:
        o.past[1:] = o.past[:-1].clone()
        o.past[0] = o.wide
        robots = torch.arange(N)
        newer = o.delay.long().clamp(max=1)
        between = (o.delay - newer)[:, None]
        o.wide += 1.0
        return torch.lerp(o.past[newer, robots], o.past[newer + 1, robots], between)

    agree(function, backend)


def test_joined_tensors_are_divided_again_in_loops(backend: Backend) -> None:
    def function(o: SimpleNamespace) -> tuple[Tensor, Tensor]:
        joined = torch.cat([o.x[:, :1], o.wide, o.x], dim=1)
        first, rest = joined.split([2, 152], dim=1)
        return joined.abs().amax(1), rest * first[:, :1]

    agree(function, backend)


def test_what_is_contiguous_only_in_a_copy_is_copied(backend: Backend) -> None:
    def function(o: SimpleNamespace) -> Tensor:
        return o.strided.contiguous().mul_(2.0)

    agree(function, backend)


def test_one_robot_is_written_in_place(backend: Backend) -> None:
    own = SimpleNamespace(x=torch.ones(1, 3), wide=torch.ones(1, 150))

    def function() -> Tensor:
        own.x.mul_(2.0)
        return own.wide.mul_(own.x[:, :1]).sum(1)

    fused = Fused(function, lambda: [own], 1, backend)
    assert fused() == 300.0
    assert fused() == 1200.0
    assert fused.compiled


def test_numbers_in_tensors_may_change_and_numbers_of_pythons_are_compiled_anew(
    backend: Backend,
) -> None:
    own = state()
    fused = Fused(lambda: own.x * own.scale * own.gain, lambda: [own], N, backend)
    fused()
    own.scale.fill_(3.0)
    assert torch.equal(fused(), own.x * 6.0)
    own.gain = 4.0
    assert torch.equal(fused(), own.x * 12.0)
    assert fused.compiled == 2


def test_an_attribute_that_becomes_a_tensor_is_seen(backend: Backend) -> None:
    own = state()
    fused = Fused(
        lambda: own.x if own.fixed is None else own.x + own.fixed, lambda: [own], N, backend
    )
    assert torch.equal(fused(), own.x)
    own.fixed = torch.ones(3)
    assert torch.equal(fused(), own.x + 1.0)
    assert fused.compiled == 2


def change(**values: Any) -> Callable[[SimpleNamespace], None]:
    return lambda o: vars(o).update(values)


def split(o: SimpleNamespace) -> None:
    o.twin = o.x + 1.0


@pytest.mark.parametrize(
    ("function", "later"),
    [
        (lambda o: o.steps * o.gain, change(gain=2)),
        (lambda o: o.x * o.table["a"][0], lambda o: o.table["a"].__setitem__(0, 5.0)),
        (lambda o: o.operator(o.x), change(operator=torch.neg)),
        (lambda o: o.x if o.given is None else o.x * o.given, change(given=None)),
        (lambda o: o.x + o.twin, split),
        (
            lambda o: o.x * torch.rand(N, 1, generator=o.generator),
            lambda o: o.__dict__.update(generator=torch.Generator().manual_seed(7)),
        ),
    ],
    ids=["type", "dictionary", "function", "no tensor", "another tensor", "generator"],
)
def test_a_change_of_pythons_is_compiled_anew(
    function: Callable[[SimpleNamespace], Tensor],
    later: Callable[[SimpleNamespace], None],
    backend: Backend,
) -> None:
    own, other = state(), state()
    for o in (own, other):
        o.table, o.operator, o.given, o.twin = {"a": [2.0]}, torch.abs, torch.ones(3), o.x
    fused = Fused(lambda: function(own), lambda: [own], N, backend)
    torch.testing.assert_close(fused(), function(other))
    for o in (own, other):
        later(o)
    torch.testing.assert_close(fused(), function(other))
    assert fused.compiled == 2


def becoming(name: str, value: Callable[[SimpleNamespace], Any]) -> Callable[..., Tensor]:
    """A function that assigns an attribute."""

    def function(o: SimpleNamespace) -> Tensor:
        setattr(o, name, value(o))
        return o.wide * 2

    return function


def test_an_argument_that_is_written_as_state_runs_in_torch(backend: Backend) -> None:
    own = state()

    def function(values: Tensor) -> Tensor:
        own.x.add_(1.0)
        return values * 2

    fused = Fused(function, lambda: [own], N, backend)
    fused(torch.zeros(N, 3))
    before = own.x.clone()
    assert torch.equal(fused(own.x), (before + 1.0) * 2)
    assert torch.equal(fused(own.x[:, :3]), (before + 2.0) * 2)
    assert torch.equal(fused(torch.ones(N, 3)), torch.full((N, 3), 2.0))
    assert torch.equal(own.x, before + 3.0)


def test_state_that_comes_to_share_memory_runs_in_torch(backend: Backend) -> None:
    own = state()

    def function() -> Tensor:
        own.x.add_(1.0)
        return own.part * 2

    own.part = torch.zeros(N)
    fused = Fused(function, lambda: [own], N, backend)
    fused()
    memory = torch.zeros(4 * N)
    own.part = memory[:N]
    for _ in range(2):
        assert torch.equal(fused(), own.part * 2)
    own.x = memory[: 3 * N].view(N, 3)
    for i in (1.0, 2.0):
        assert torch.equal(fused(), torch.full((N,), 2.0 * i))
    own.part = memory[3 * N :]
    assert torch.equal(fused(), torch.zeros(N))
    assert torch.equal(own.x, torch.full((N, 3), 3.0))


def test_a_refused_function_leaves_lists_as_they_were(backend: Backend) -> None:
    own = SimpleNamespace(x=torch.ones(N, 3), past=[])
    fused = Fused(lambda: own.past.append(own.x * 2), lambda: [own], N, backend)
    fused(), fused()
    assert [torch.equal(each, own.x * 2) for each in own.past] == [True, True]
    assert not fused.compiled


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
        (lambda o: o.square.copy_(o.square.mT.clone()), "a loop writes"),
        (lambda o: (o.square.mul_(2), o.square.mT + 1), "a loop writes"),
        (lambda o: o.x * o.scale.tolist(), "tolist"),
        (lambda o: o.x * float(o.scale.numpy()), "numpy"),
        (lambda o: o.x.normal_(generator=o.generator), "normal_"),
        (lambda o: (torch.randperm(5, generator=o.generator), o.x + 1)[1], "randperm"),
        (lambda o: torch.rand(N, 3, generator=o.generator, out=o.x), "resize_|uniform_"),
        (lambda o: torch.randint(5, (N,), generator=o.generator, out=o.steps), "into a tensor"),
        (lambda o: (o.square.diagonal(dim1=1, dim2=2).zero_(), o.x + 1)[1], "view diagonal"),
        (lambda o: o.x.view(torch.int32) < 0, "a view of"),
        (lambda o: o.x.unsqueeze_(1), "shape in place"),
        (lambda o: torch.mul(o.steps, o.steps, out=o.delay), "into torch.float32"),
        (lambda o: torch.round(o.x, decimals=1), "decimals"),
        (lambda o: o.steps < 2**40, "32 bits"),
        (lambda o: torch.addcmul(o.steps, o.steps, o.steps), "addcmul"),
        (lambda o: torch.cat([o.wide, o.x], 1)[torch.arange(N)], "border"),
        (lambda o: o.x[:, :0] @ torch.ones(0, 2), "over nothing"),
        (becoming("delay", lambda o: o.scale), "a view of another"),
        (becoming("delay", lambda o: o.x[:, 0]), "a view of another"),
        (becoming("gain", lambda o: o.gain + 1), "attribute gain"),
        (becoming("delay", lambda o: None), "attribute delay"),
    ],
)
def test_what_cannot_be_compiled_runs_in_torch(
    function: Callable[[SimpleNamespace], Tensor],
    reason: str,
    caplog: pytest.LogCaptureFixture,
    backend: Backend,
) -> None:
    own, other = state(), state()
    fused = Fused(lambda: function(own), lambda: [own], N, backend)
    with caplog.at_level(logging.DEBUG, logger="legged_ppo"):
        torch.manual_seed(0)
        found = fused()
    torch.manual_seed(0)
    torch.testing.assert_close(found, function(other))
    assert not fused.compiled
    (line,) = [r.getMessage() for r in caplog.records if "runs in torch" in r.getMessage()]
    assert any(part in line for part in reason.split("|")), line


def test_tensors_that_share_memory_run_in_torch(backend: Backend) -> None:
    own = state()
    own.part = own.x[:, 1]

    def function() -> Tensor:
        own.x.add_(1.0)
        return own.part * 2

    fused = Fused(function, lambda: [own], N, backend)
    expected = (own.x[:, 1] + 1) * 2
    assert torch.equal(fused(), expected)
    assert not fused.compiled


def test_an_input_in_another_layout_is_refused(backend: Backend) -> None:
    own = state()
    fused = Fused(lambda: own.x * 2, lambda: [own], N, backend)
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
        Fused(lambda own=own: own.x * 2, lambda own=own: [own], N, LaneBackend())()  # type: ignore[misc]
    assert len(texts) == 1


def test_without_a_compiler_it_runs_in_torch_and_one_warning_says_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("no such architecture")

    monkeypatch.setattr(warp_launch, "make_kernel", broken)
    own, backend = state(), WarpBackend(torch.device("cpu"))
    for factor in (2, 3):
        fused = Fused(lambda factor=factor: own.x * factor, lambda: [own], N, backend)  # type: ignore[misc]
        assert torch.equal(fused(), own.x * factor)
        assert not fused.compiled
    (line,) = caplog.messages
    assert "no such architecture" in line


def test_what_is_new_in_a_recording_runs_in_torch(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = state()
    fused = Fused(lambda: own.x * own.gain, lambda: [own], N, backend)
    with monkeypatch.context() as patch:
        patch.setattr(fused_module, "is_recording", lambda: True)
        assert torch.equal(fused(), own.x * 2.0)
        assert not fused.compiled
    fused()
    assert fused.compiled

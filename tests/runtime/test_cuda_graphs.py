"""Recorded work does in its replays what the work itself would do."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from legged_ppo.runtime.cuda_graphs import Captured, cuda_recorder, outside_graph
from legged_ppo.runtime.owned_state import OwnedState

PUSH = torch.tensor([0.1, 0.2, 0.3])
Capture = Callable[[Callable[..., Any]], Captured]


class Walker(OwnedState):
    owned = ("position", "before", "speed")

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(0)
        self.position, self.before, self.speed = torch.zeros(3), torch.zeros(3), torch.ones(3)
        self.step_length = self.speed

    def step(self, push: torch.Tensor) -> torch.Tensor:
        noise = torch.rand(3, generator=self.generator)
        self.before.copy_(self.position)
        self.step_length = self.speed * 0.5 + push  # of this step alone
        torch.add(self.position, self.step_length, out=self.position)
        self.speed.mul_(0.9).add_(noise)
        return self.position * 2


def alike(walker: Walker, other: Walker) -> bool:
    ours, theirs = walker.owned_tensors(), other.owned_tensors()
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.fixture
def capture(recorder: Any) -> Capture:
    return lambda work: Captured(work, recorder, "the test")


@pytest.fixture
def walkers(recorder: Any) -> tuple[Walker, Walker]:
    """One whose steps are captured, and one that does the same without."""
    walker = Walker()
    recorder.generators.append(walker.generator)
    return walker, Walker()


def test_replays_continue_as_the_work_would(
    capture: Capture, recorder: Any, walkers: tuple[Walker, Walker]
) -> None:
    walker, expected = walkers
    step = capture(walker.step)
    for i in range(7):
        if i == 4:  # somebody else writes in between
            for each in walkers:
                each.speed.fill_(0.25)
                each.generator.manual_seed(5)
        assert torch.equal(step(PUSH * i), expected.step(PUSH * i))
        assert alike(walker, expected) and torch.equal(walker.step_length, expected.step_length)
        assert step.replays == (i > 0)
    assert (recorder.recordings, recorder.replays) == (1, 6)


def test_inputs_of_another_shape_have_their_own_recording(
    capture: Capture, recorder: Any, walkers: tuple[Walker, Walker]
) -> None:
    walker, expected = walkers
    step = capture(walker.step)
    for i in range(8):
        push = PUSH if i % 2 else PUSH[:1]
        step(push)
        expected.step(push)
        assert alike(walker, expected)
    assert (recorder.recordings, recorder.replays) == (2, 6)  # each has been run once


def test_what_no_graph_holds_is_done_between_segments(
    capture: Capture, recorder: Any, walkers: tuple[Walker, Walker]
) -> None:
    walker, calls = walkers[0], []

    def outside() -> None:
        calls.append(walker.position.clone())
        walker.speed.add_(walker.position)

    def work() -> torch.Tensor:
        walker.position.add_(1)
        outside_graph(outside)
        return walker.speed * 2

    step = capture(work)
    speed = 1.0
    for i in range(1, 5):
        speed += i
        assert step().tolist() == [2 * speed] * 3
        assert [c.tolist() for c in calls] == [[n] * 3 for n in range(1, i + 1)]
    assert (recorder.recordings, recorder.replays) == (1, 6)


def test_the_steps_of_an_optimizer_are_replayed(capture: Capture, recorder: Any) -> None:
    def learner() -> tuple[nn.Module, Callable[..., torch.Tensor]]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True)

        def step(x: torch.Tensor) -> torch.Tensor:
            optimizer.zero_grad(set_to_none=True)
            loss = (model(x) - x.sum(1, keepdim=True)).square().mean()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            return loss.detach()

        return model, step

    (model, step), (expected, plain) = learner(), learner()
    replayed = capture(step)
    for i in range(5):
        x = torch.randn(16, 3, generator=torch.Generator().manual_seed(i))
        assert torch.equal(replayed(x), plain(x))
    for ours, theirs in zip(model.parameters(), expected.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert (recorder.recordings, recorder.replays) == (1, 4)


def waits(walker: Walker) -> None:
    if walker.speed.sum() > 0:
        walker.position += 1


def chooses(walker: Walker) -> None:
    walker.position += walker.speed[walker.speed > 0].sum()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (waits, "aten._local_scalar_dense.default is not permitted in a capture"),
        (chooses, "aten.index.Tensor is not permitted in a capture"),
    ],
)
def test_work_that_waits_for_the_device_runs_without_a_graph_and_a_line_gives_the_reason(
    capture: Capture,
    recorder: Any,
    walkers: tuple[Walker, Walker],
    caplog: pytest.LogCaptureFixture,
    change: Callable[[Walker], None],
    reason: str,
) -> None:
    walker, expected = walkers
    work = capture(lambda: change(walker))
    for _ in range(4):
        work()
        change(expected)
    assert alike(walker, expected) and recorder.replays == 0 and not work.replays
    (record,) = caplog.records
    assert record.levelno == logging.WARNING and "\n" not in record.message
    where = r"conftest\.py:\d+"  # raises in place of CUDA
    assert re.fullmatch(f"the test runs without a CUDA graph: {reason}, {where}", record.message)


@pytest.mark.parametrize("error", [KeyError("its own"), torch.OutOfMemoryError("CUDA")])
def test_an_error_of_the_work_is_raised_and_leaves_its_state_as_it_was(
    capture: Capture,
    walkers: tuple[Walker, Walker],
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    walker, expected = walkers
    failing = False

    def work() -> None:
        walker.step(PUSH)
        if failing:
            raise error

    step = capture(work)
    step()
    expected.step(PUSH)
    failing = True
    with pytest.raises(type(error)):
        step()
    assert alike(walker, expected)
    failing = False
    for _ in range(3):
        step()
        expected.step(PUSH)
        assert alike(walker, expected)
    assert step.replays and not caplog.records


def test_a_cpu_has_no_graphs() -> None:
    assert cuda_recorder(torch.device("cpu"), []) is None

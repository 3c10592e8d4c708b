"""Recorded work does in its replays what the work itself would do."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from legged_ppo.runtime.cuda_graphs import Captured, outside_graph

Replay = Callable[..., Captured]


class Walker:
    """Something with state of every kind."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(0)
        self.position, self.before = torch.zeros(3), torch.zeros(3)
        self.speed = torch.ones(3)
        self.parts: dict[str, Any] = {
            "sum": torch.zeros(()),
            "pair": [torch.zeros(2), torch.zeros(2)],
        }
        self.gain, self.on = 0.5, True

    def step(self, push: torch.Tensor) -> torch.Tensor:
        noise = torch.rand(3, generator=self.generator)
        self.before, self.position = self.position, self.position + self.speed * self.gain + push
        self.speed.mul_(0.9).add_(noise)
        if self.on:
            self.parts = {"sum": self.parts["sum"] + self.position.sum(), "pair": self.swapped()}
        return self.position * 2

    def swapped(self) -> list[torch.Tensor]:
        first, second = self.parts["pair"]
        return [second + 1, first]

    def figures(self) -> list[torch.Tensor]:
        pair = self.parts["pair"]
        values = [self.position, self.before, self.speed, self.parts["sum"], *pair]
        return [v.clone() for v in values]


def alike(walker: Walker, other: Walker) -> bool:
    pairs = zip(walker.figures(), other.figures(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.fixture
def captured(graphs: Any) -> Replay:
    return lambda work, **owners: Captured(work, owners, graphs, "the test")


PUSH = torch.tensor([0.1, 0.2, 0.3])


def test_replays_go_on_where_the_work_would(captured: Replay, graphs: Any) -> None:
    walker, expected = Walker(), Walker()
    step = captured(walker.step, walker=walker)
    for i in range(6):
        assert torch.equal(step(PUSH * i), expected.step(PUSH * i))
        assert alike(walker, expected)
    assert (graphs.recordings, graphs.replays) == (1, 5)


def test_what_others_put_in_place_between_calls_is_taken_over(
    captured: Replay, graphs: Any
) -> None:
    walker, expected = Walker(), Walker()
    step = captured(walker.step, walker=walker)
    for i in range(6):
        if i == 3:
            for each in (walker, expected):
                each.before, each.position = each.position, each.before  # each in the other's place
                each.parts = {"sum": torch.tensor(7.0), "pair": [torch.ones(2), torch.zeros(2)]}
        if i == 4:
            for each in (walker, expected):
                each.speed.fill_(0.25)
                each.generator.manual_seed(5)
        step(PUSH)
        expected.step(PUSH)
        assert alike(walker, expected)
    assert graphs.recordings == 1


def test_another_decision_of_pythons_is_recorded_anew(captured: Replay, graphs: Any) -> None:
    walker, expected = Walker(), Walker()
    step = captured(walker.step, walker=walker)
    for i in range(9):
        for each in (walker, expected):
            each.gain, each.on = (0.5 if i < 3 else 0.75), i < 6
        step(PUSH)
        expected.step(PUSH)
        assert alike(walker, expected)
    assert graphs.recordings == 3


def test_a_tensor_with_another_memory_is_recorded_anew(captured: Replay, graphs: Any) -> None:
    walker, expected = Walker(), Walker()
    step = captured(walker.step, walker=walker)
    for i in range(5):
        if i == 3:
            walker.speed.data = expected.speed.data = torch.full((3,), 2.0)
            expected.speed = expected.speed.clone()
        step(PUSH)
        expected.step(PUSH)
        assert alike(walker, expected)
    assert graphs.recordings == 2


def test_recording_out_of_habit_is_told(
    captured: Replay, capsys: pytest.CaptureFixture[str]
) -> None:
    walker = Walker()
    step = captured(walker.step, walker=walker)
    for i in range(9):
        walker.gain = float(i)
        step(PUSH)
    expected = "was recorded anew 5 times, now because walker.gain changes from 5.0 to 6.0"
    assert capsys.readouterr().err == f"the test: its CUDA graph {expected}\n"


def test_objects_of_anybodys_classes_are_looked_into(captured: Replay, graphs: Any) -> None:
    owner, expected = SimpleNamespace(parts=SimpleNamespace(walker=Walker())), Walker()
    step = captured(lambda: owner.parts.walker.step(PUSH), owner=owner)
    for _ in range(4):
        step()
        expected.step(PUSH)
        assert alike(owner.parts.walker, expected)
    assert (graphs.recordings, graphs.replays) == (1, 3)


def test_inputs_of_another_shape_have_their_own_recording(captured: Replay, graphs: Any) -> None:
    walker, expected = Walker(), Walker()
    step = captured(walker.step, walker=walker)
    for i in range(8):
        push = PUSH if i % 2 else PUSH[:1]
        step(push)
        expected.step(push)
        assert alike(walker, expected)
    assert graphs.recordings == 2
    assert graphs.replays == 6  # each has been run once


def test_tensors_that_share_memory_are_told_apart(captured: Replay, graphs: Any) -> None:
    walker, expected = Walker(), Walker()
    step = captured(walker.step, walker=walker)
    for i in range(5):
        if i == 1:  # before the recording
            for each in (walker, expected):
                each.before = each.position
                each.parts["pair"] = list(torch.ones(1, 2).expand(2, 2))
        step(PUSH)
        expected.step(PUSH)
        assert alike(walker, expected)
    assert graphs.recordings == 2  # the first one showed what is shared
    assert graphs.replays == 4


def test_expanded_and_empty_tensors_are_no_hindrance(captured: Replay, graphs: Any) -> None:
    class Plain:
        def __init__(self) -> None:
            self.level = torch.zeros(()).expand(3)
            self.seen, self.unseen = torch.zeros(2, 0), torch.zeros(2, 0)

        def step(self) -> None:
            self.level, self.seen = self.level + PUSH, self.seen + 1

    plain, expected = Plain(), Plain()
    step = captured(plain.step, plain=plain)
    step()
    expected.step()
    plain.level = expected.level = torch.ones(()).expand(3)
    for _ in range(3):
        step()
        expected.step()
        assert torch.equal(plain.level, expected.level) and plain.seen.shape == (2, 0)
    assert (graphs.recordings, graphs.replays) == (2, 3)  # the first showed what was expanded


def test_views_that_move_together_stay_views(captured: Replay, graphs: Any) -> None:
    class Columns:
        def __init__(self) -> None:
            self.set(torch.zeros(2, 3))

        def set(self, values: torch.Tensor) -> None:
            self.values, self.first = values, values[:, 0]

    columns = Columns()
    step = captured(lambda: columns.set(columns.values + 1), columns=columns)
    for i in range(4):
        step()
        assert columns.first.tolist() == columns.values[:, 0].tolist() == [i + 1.0] * 2
    columns.values.fill_(9.0)
    assert columns.first.tolist() == [9.0, 9.0]
    assert (graphs.recordings, graphs.replays) == (1, 3)


def test_what_no_graph_holds_is_done_between_segments(captured: Replay, graphs: Any) -> None:
    walker, calls = Walker(), []

    def outside() -> None:
        calls.append(walker.position.clone())
        walker.speed.add_(walker.position)

    def work() -> torch.Tensor:
        walker.position.add_(1)
        outside_graph(outside)
        return walker.speed * 2

    step = captured(work, walker=walker)
    speed = 1.0
    for i in range(1, 5):
        speed += i
        assert step().tolist() == [2 * speed] * 3
        assert [c.tolist() for c in calls] == [[n] * 3 for n in range(1, i + 1)]
    assert (graphs.recordings, graphs.replays) == (1, 6)


def test_an_optimizers_steps_are_replayed(captured: Replay, graphs: Any) -> None:
    def learner() -> tuple[nn.Module, torch.optim.Optimizer, Callable[..., torch.Tensor]]:
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

        return model, optimizer, step

    (model, optimizer, step), (expected, _, plain) = learner(), learner()
    replayed = captured(step, model=model, optimizer=optimizer)
    for i in range(5):
        x = torch.randn(16, 3, generator=torch.Generator().manual_seed(i))
        assert torch.equal(replayed(x), plain(x))
    for ours, theirs in zip(model.parameters(), expected.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert (graphs.recordings, graphs.replays) == (1, 4)


def test_shared_memory_that_is_changed_in_place_is_not_told_apart(
    captured: Replay, graphs: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    walker, expected = Walker(), Walker()
    step = captured(walker.step, walker=walker)
    for i in range(3):
        if i == 1:
            walker.position, expected.position = walker.speed, expected.speed
        step(PUSH)
        expected.step(PUSH)
        assert alike(walker, expected)
    assert "walker.position shares memory that is changed in place" in capsys.readouterr().err


def waits(walker: Walker) -> None:
    if walker.speed.sum() > 0:
        walker.position = walker.position + 1


def chooses(walker: Walker) -> None:
    walker.position = walker.position + walker.speed[walker.speed > 0].sum()


def stops_counting(walker: Walker) -> None:
    walker.gain += 1


def grows(walker: Walker) -> None:
    walker.position = torch.cat([walker.position, walker.position])


def learns_a_new_name(walker: Walker) -> None:
    walker.parts = {**walker.parts, f"{len(walker.parts)}": torch.zeros(1)}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (waits, "aten._local_scalar_dense.default is not permitted in a capture"),
        (chooses, "aten.index.Tensor is not permitted in a capture"),
        (stops_counting, "walker.gain changes from 1.5 to 2.5 within one call"),
        (grows, "walker.position changes its shape or type within one call"),
        (learns_a_new_name, "walker.parts.3 appears or disappears within one call"),
    ],
)
def test_work_that_is_no_graph_goes_on_without(
    captured: Replay,
    graphs: Any,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[Walker], None],
    reason: str,
) -> None:
    walker, expected = Walker(), Walker()
    work = captured(lambda: change(walker), walker=walker)
    for _ in range(4):
        work()
        change(expected)
    assert alike(walker, expected) and walker.gain == expected.gain
    assert graphs.replays == 0
    said = capsys.readouterr().err
    assert said.startswith(f"the test: no CUDA graph, goes on without ({reason}")
    assert said.endswith("); training.cuda_graphs=false does not try\n") and said.count("\n") == 1


def test_a_failed_recording_leaves_everything_as_it_was(captured: Replay) -> None:
    walker, expected = Walker(), Walker()

    def work() -> None:
        walker.step(PUSH)
        if failing:
            raise KeyError("an error of its own")

    failing = False
    step = captured(work, walker=walker)
    step()
    expected.step(PUSH)
    failing = True
    with pytest.raises(KeyError):
        step()
    assert alike(walker, expected)
    failing = False
    for _ in range(3):
        step()
        expected.step(PUSH)
        assert alike(walker, expected)


def test_memory_that_runs_out_is_not_hidden(
    captured: Replay, capsys: pytest.CaptureFixture[str]
) -> None:
    walker, calls = Walker(), []

    def work() -> None:
        calls.append(walker.position.add_(1))
        if len(calls) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    step = captured(work, walker=walker)
    step()
    with pytest.raises(torch.OutOfMemoryError):
        step()
    assert capsys.readouterr().err == ""

"""The compiled recurrence against the same equations in torch's operators, and its isolation."""

from __future__ import annotations

import multiprocessing

import pytest
import torch

from legged_ppo.models import gru as gru_module
from legged_ppo.models.compiled_gru import CompiledGRU
from legged_ppo.models.gru import GRU
from legged_ppo.models.recurrence import recurrence_for
from legged_ppo.runtime.lanes import team
from legged_ppo.runtime.lanes.target import host
from legged_ppo.runtime.lanes.use import operators_only

INPUTS, HIDDEN = 5, 48
WIDTHS = [lanes for lanes in (4, 8, 16) if lanes <= host().lanes]


def make_gru(hidden: int = HIDDEN, layers: int = 1) -> GRU:
    """A GRU whose biases are not zero either."""
    torch.manual_seed(layers)
    gru = GRU(INPUTS, hidden, layers)
    for parameter in gru.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return gru


def make_inputs(
    steps: int, batch: int, hidden: int = HIDDEN, layers: int = 1
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(steps, batch, INPUTS, generator=generator).requires_grad_()
    state = torch.randn(layers, batch, hidden, generator=generator).requires_grad_()
    return x, state, torch.rand(steps, batch, generator=generator) < 0.2


def results(
    gru: GRU, inputs: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
) -> tuple[torch.Tensor, ...]:
    """Outputs, the state after, and the gradients of everything."""
    outputs, after = gru(*inputs)
    weights = torch.linspace(-1.0, 1.0, outputs.numel()).view_as(outputs)
    loss = (outputs * weights).sum() + after.square().sum()
    wrt = [*inputs[:2], *gru.parameters()]
    return outputs.detach(), after.detach(), *torch.autograd.grad(loss, wrt)


def by_operators(
    gru: GRU, inputs: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
) -> tuple[torch.Tensor, ...]:
    with operators_only():
        return results(gru, inputs)


@pytest.mark.parametrize("lanes", WIDTHS)
@pytest.mark.parametrize(
    ("steps", "batch", "hidden"), [(1, 1, 16), (7, 3, 48), (9, 13, 32), (5, 37, 80)]
)
def test_outputs_and_gradients_equal_those_of_torchs_operators(
    monkeypatch: pytest.MonkeyPatch, lanes: int, steps: int, batch: int, hidden: int
) -> None:
    gru, inputs = make_gru(hidden), make_inputs(steps, batch, hidden)
    expected = by_operators(gru, inputs)
    monkeypatch.setattr(gru_module, "recurrence_for", lambda *_: CompiledGRU(hidden, lanes))
    torch.testing.assert_close(results(gru, inputs), expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("lanes", WIDTHS)
@pytest.mark.parametrize(("steps", "batch", "units"), [(1, 1, 16), (7, 3, 48), (5, 37, 80)])
def test_even_and_odd_parts_are_those_of_the_whole(
    lanes: int, steps: int, batch: int, units: int
) -> None:
    torch.manual_seed(units)
    hidden = 2 * units
    whole, halved = CompiledGRU(hidden, lanes), CompiledGRU(hidden, lanes, parts=2)
    even, odd = 0.2 * torch.randn(2, 3, units, units)
    a, b = even + odd, even - odd
    weight = torch.cat([torch.cat([a, b], 2), torch.cat([b, a], 2)], 1) / 2  # of each gate
    bias = torch.randn(units)
    projected, state = torch.randn(steps, batch, 3, hidden), torch.randn(batch, hidden)
    keep = (torch.rand(steps, batch, 1) > 0.2).float()
    outputs, *kept = whole.record(
        projected.flatten(2), state, keep, weight.flatten(0, 1), bias.repeat(2)
    )
    parts = torch.cat([even.flatten(0, 1), odd.flatten(0, 1)]).view(2, 3 * units, units)
    seen = torch.cat([each.flatten(2) for each in parts_of(projected).chunk(2, -1)], 2)
    found, *halved_kept = halved.record(seen, parts_of(state), keep, parts, bias)
    torch.testing.assert_close(found, parts_of(outputs), rtol=2e-5, atol=2e-5)
    acted = halved.outputs(seen, parts_of(state), keep, parts, bias)
    assert torch.equal(acted, found)
    outer = torch.randn(steps, batch, hidden)  # d loss / d a is (d / d even + d / d odd) / 2
    rolled = torch.cat([weight[2:], weight[:2]]).flatten(0, 1)
    grads, d_state = whole.gradients(outer, keep, rolled, *kept)
    turned = torch.cat([parts[:, 2 * units :], parts[:, : 2 * units]], 1)
    both, d_parts = halved.gradients(2 * parts_of(outer), keep, turned, *halved_kept)
    expected = 2 * torch.stack(parts_of(grads).chunk(2, -1), 2)
    torch.testing.assert_close(both.view_as(expected), expected, rtol=2e-5, atol=2e-5)
    torch.testing.assert_close(d_parts, 2 * parts_of(d_state), rtol=2e-5, atol=2e-5)


def parts_of(x: torch.Tensor) -> torch.Tensor:
    """The even parts of [..., 2 n], then the odd ones."""
    first, second = x.chunk(2, -1)
    return torch.cat([first + second, first - second], -1) / 2


def test_layers_follow_each_other() -> None:
    gru, inputs = make_gru(layers=2), make_inputs(6, 11, layers=2)
    expected = by_operators(gru, inputs)
    torch.testing.assert_close(results(gru, inputs), expected, rtol=2e-5, atol=2e-5)


def test_acting_equals_the_recorded_sequence() -> None:
    gru, (x, state, starts) = make_gru(), make_inputs(6, 13)
    recorded, _ = gru(x, state, starts)
    with torch.no_grad():
        acted, after = gru(x, state, starts)
        stepped = []
        for t in range(len(x)):
            output, state = gru(x[t : t + 1], state, starts[t : t + 1])
            stepped.append(output)
    assert torch.equal(acted, recorded)
    # The input projection of one step and of six may sum in another order.
    torch.testing.assert_close(torch.cat(stepped), acted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(state, after, rtol=1e-5, atol=1e-5)


def test_bits_depend_neither_on_threads_nor_on_other_sequences() -> None:
    compiled = recurrence_for(torch.zeros(1), HIDDEN)
    assert compiled is not None
    torch.manual_seed(0)
    steps, batch = 8, 29
    projected = torch.randn(steps, batch, 3 * HIDDEN)
    state, keep = torch.randn(batch, HIDDEN), (torch.rand(steps, batch, 1) > 0.2).float()
    weight, bias, outer = (
        torch.randn(3 * HIDDEN, HIDDEN),
        torch.randn(HIDDEN),
        torch.randn(steps, batch, HIDDEN),
    )

    def everything(rows: slice) -> tuple[torch.Tensor, ...]:
        outputs, *kept = compiled.record(
            projected[:, rows], state[rows], keep[:, rows], weight, bias
        )
        return outputs, *compiled.gradients(outer[:, rows], keep[:, rows], weight, *kept)

    threads = torch.get_num_threads()
    whole = everything(slice(None))
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            for ours, theirs in zip(everything(slice(None)), whole, strict=True):
                assert torch.equal(ours, theirs)
    finally:
        torch.set_num_threads(threads)
    outputs, grads, d_state = everything(slice(2, 9))
    assert torch.equal(outputs, whole[0][:, 2:9])
    assert torch.equal(grads, whole[1][:, 2:9])
    assert torch.equal(d_state, whole[2][2:9])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 3e38])
def test_what_is_not_finite_stays_in_its_sequence(value: float) -> None:
    gru, (x, state, starts) = make_gru(), make_inputs(5, 9)
    expected, _ = gru(x, state, starts)
    with torch.no_grad():
        x[2, 4, 0] = value
    outputs, _ = gru(x, state, starts)
    others = [i for i in range(9) if i != 4]
    assert torch.equal(outputs[:, others], expected[:, others])
    if value != value:
        assert outputs[2, 4].isnan().all()
    else:
        assert outputs[:, 4].abs().max() <= state.abs().max() + 1.0


def test_there_is_none_for_other_precisions_and_widths() -> None:
    assert recurrence_for(torch.zeros(1), HIDDEN) is not None
    assert recurrence_for(torch.zeros(1, dtype=torch.bfloat16), HIDDEN) is None
    assert recurrence_for(torch.zeros(1, device="meta"), HIDDEN) is None
    assert recurrence_for(torch.zeros(1), 6) is None


def _act(results: multiprocessing.Queue, projected: torch.Tensor, keep: torch.Tensor) -> None:
    compiled = recurrence_for(keep, HIDDEN)
    assert compiled is not None
    state = torch.zeros(projected.shape[1], HIDDEN)
    weight, bias = torch.zeros(3 * HIDDEN, HIDDEN), torch.zeros(HIDDEN)
    results.put(compiled.outputs(projected, state, keep, weight, bias)[0, 0, 0].item())


@pytest.mark.parametrize("openmp", [True, False])
def test_a_forked_process_has_threads_of_its_own(
    monkeypatch: pytest.MonkeyPatch, openmp: bool
) -> None:
    if not openmp:
        monkeypatch.setattr(team, "_openmp", lambda: None)
    projected, keep = torch.ones(2, 64, 3 * HIDDEN), torch.ones(2, 64, 1)
    context = multiprocessing.get_context("fork")
    found = context.Queue()
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        _act(found, projected, keep)
        child = context.Process(target=_act, args=(found, projected, keep), daemon=True)
        child.start()
        assert found.get(timeout=60) == found.get(timeout=60)
    finally:
        torch.set_num_threads(threads)
    child.join()

"""The GRU operator against PyTorch's, against itself step by step, and around resets."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from legged_ppo.models.gru import GRU, GRULayer

T, B, INPUTS, HIDDEN = 9, 5, 4, 6
pytestmark = [
    pytest.mark.usefixtures("products"),
    pytest.mark.parametrize("products", ["pytorch", "compiled"], indirect=True),
]
assert_close = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-5)


def make_gru(layers: int) -> GRU:
    """A GRU whose biases are not zero either."""
    torch.manual_seed(layers)
    gru = GRU(INPUTS, HIDDEN, layers)
    for parameter in gru.parameters():
        nn.init.normal_(parameter, std=0.5)
    return gru


def make_inputs(layers: int, start_rate: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(T, B, INPUTS, generator=generator).requires_grad_()
    state = torch.randn(layers, B, HIDDEN, generator=generator).requires_grad_()
    return x, state, torch.rand(T, B, generator=generator) < start_rate


def gradients(
    outputs: tuple[torch.Tensor, torch.Tensor], wrt: list[torch.Tensor]
) -> tuple[torch.Tensor, ...]:
    """Gradients of a fixed random projection of the outputs and of the state after."""
    generator = torch.Generator().manual_seed(3)
    loss = [(out * torch.randn(out.shape, generator=generator)).sum() for out in outputs]
    return torch.autograd.grad(loss, wrt)


@pytest.mark.parametrize("layers", [1, 2])
def test_without_resets_equals_torch_gru_in_outputs_and_all_gradients(layers: int) -> None:
    gru, reference = make_gru(layers), nn.GRU(INPUTS, HIDDEN, layers)
    reference.load_state_dict(gru.state_dict())
    x, state, starts = make_inputs(layers, start_rate=0.0)
    ours, theirs = gru(x, state, starts), reference(x, state)
    assert_close(ours, theirs)
    assert_close(
        gradients(ours, [x, state, *gru.parameters()]),
        gradients(theirs, [x, state, *reference.parameters()]),
    )


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(
    "shape", [(1, B, HIDDEN + 1), (3, B, HIDDEN), (1, 1, HIDDEN), (2, B - 1, HIDDEN), (B, HIDDEN)]
)
def test_a_state_of_another_shape_or_device_is_refused(shape: tuple[int, ...], layers: int) -> None:
    """Compiled code would read what lies behind it in memory."""
    gru, (x, state, starts) = make_gru(layers), make_inputs(layers, start_rate=0.5)
    for other in (torch.zeros(shape), state.to("meta")):
        with pytest.raises(ValueError, match="needs state") as error, torch.no_grad():
            gru(x, other, starts)
        assert str([layers, B, HIDDEN]) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("shape", [(T, 1), (1, B), (T - 1, B), (T, B, 1), (B,)])
def test_starts_of_another_shape_or_device_are_refused(shape: tuple[int, ...]) -> None:
    gru, (x, state, starts) = make_gru(1), make_inputs(1, start_rate=0.5)
    for other in (torch.zeros(shape, dtype=torch.bool), starts.to("meta")):
        with pytest.raises(ValueError, match="needs starts"):
            gru(x, state, other)


@pytest.mark.parametrize("layers", [1, 2])
def test_sequence_equals_single_steps_in_outputs_and_all_gradients(layers: int) -> None:
    gru = make_gru(layers)
    x, state, starts = make_inputs(layers, start_rate=0.3)
    assert starts[0].any() and starts[1:].any()
    outputs, after = [], state
    for t in range(T):
        output, after = gru(x[t : t + 1], after, starts[t : t + 1])
        outputs.append(output)
    whole, stepped = gru(x, state, starts), (torch.cat(outputs), after)
    assert_close(whole, stepped)
    wrt = [x, state, *gru.parameters()]
    assert_close(gradients(whole, wrt), gradients(stepped, wrt))


def test_a_layer_with_resets_passes_gradcheck_in_float64() -> None:
    generator = torch.Generator().manual_seed(1)
    steps, batch, width, hidden = 4, 3, 3, 2

    def randn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()

    keep = (torch.rand(steps, batch, 1, generator=generator) > 0.4).double()
    inputs, state = randn(steps, batch, width), randn(batch, hidden)
    weights = randn(3 * hidden, width), randn(3 * hidden, hidden)
    biases = randn(3 * hidden), randn(hidden)
    assert 0 < keep[0].sum() < batch
    assert torch.autograd.gradcheck(
        GRULayer.apply, (inputs, state, keep, *weights, *biases), atol=1e-7
    )


@pytest.mark.parametrize("layers", [1, 2])
def test_nothing_before_a_start_reaches_the_outputs_from_it_on(layers: int) -> None:
    gru = make_gru(layers)
    x, state, _ = make_inputs(layers, start_rate=0.0)
    starts = torch.zeros(T, B, dtype=torch.bool)
    begin, env = 4, 2
    starts[begin, env] = True
    outputs, after = gru(x, state, starts)
    d_x, d_state = torch.autograd.grad(outputs[begin:, env].sum() + after[:, env].sum(), [x, state])
    assert not d_x[:begin].any() and not d_state.any()
    assert d_x[begin:, env].all()
    alone, _ = gru(x[begin:, env, None], torch.zeros(layers, 1, HIDDEN), starts[begin:, env, None])
    assert_close(outputs[begin:, env], alone[:, 0])
    plain, _ = gru(x, state, torch.zeros_like(starts))
    others = torch.arange(B) != env
    assert torch.equal(outputs[:, others], plain[:, others])


@pytest.mark.parametrize("layers", [1, 2])
def test_no_grad_path_equals_the_training_path(layers: int) -> None:
    gru = make_gru(layers)
    arguments = make_inputs(layers, start_rate=0.3)
    trained = gru(*arguments)
    with torch.no_grad():
        torch.testing.assert_close(gru(*arguments), trained, rtol=1e-6, atol=1e-6)

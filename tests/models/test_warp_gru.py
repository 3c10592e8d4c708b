"""The kernels of the GRU's recurrence, compiled for Warp's CPU device, against torch's operators."""

from __future__ import annotations

import copy
import functools
import logging
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import warp as wp

from legged_ppo.config.schema import PolicyConfig
from legged_ppo.interface import SignedPermutation, Symmetry
from legged_ppo.models import gru as gru_module
from legged_ppo.models import gru_plan, gru_source, recurrence, warp_gru
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.models.equivariance import Equivariance
from legged_ppo.models.gru import GRU
from legged_ppo.models.gru_operators import commuting
from legged_ppo.models.gru_plan import (
    NUMBERS,
    SEQUENCES,
    KernelPlan,
    backward_geometry,
    forward_geometry,
    kernels_of,
    suits,
)
from legged_ppo.models.warp_gru import WarpGRU
from legged_ppo.runtime.fusion.warp_kernel import make_kernel
from legged_ppo.runtime.lanes import use
from legged_ppo.runtime.lanes.use import operators_only

wp.config.log_level = wp.LOG_WARNING
INPUTS, BLOCKS = 5, 2
LAYERS = [(16, 1), (128, 1), (64, 2)]
"""Hidden units and parts: with several items a thread that are read ahead, or two at a time, and with parts."""
Inputs = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@functools.cache
def kernels(hidden: int, parts: int, descending: bool = False, multiprocessors: int = 1) -> WarpGRU:
    return WarpGRU(hidden, parts, torch.device("cpu"), multiprocessors, descending)


def make_gru(hidden: int, parts: int, layers: int = 1) -> GRU:
    """A GRU whose biases are not zero either; of two parts, one that commutes with the mirror."""
    torch.manual_seed(layers)
    gru = GRU(INPUTS, hidden, layers)
    for name, parameter in gru.named_parameters():
        torch.nn.init.normal_(parameter, std=1.5 / hidden**0.5)
        if parts == 2 and name.startswith("weight_hh"):
            parameter.data.copy_(commuting(parameter.data))
    gru.commutes = parts == 2
    return gru


def make_inputs(steps: int, batch: int, hidden: int, layers: int = 1) -> Inputs:
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(steps, batch, INPUTS, generator=generator).requires_grad_()
    state = torch.randn(layers, batch, hidden, generator=generator).requires_grad_()
    return x, state, torch.rand(steps, batch, generator=generator) < 0.2


def results(gru: GRU, inputs: Inputs) -> list[torch.Tensor]:
    """Outputs, the state after, and the gradients of everything."""
    outputs, after = gru(*inputs)
    weights = torch.linspace(-1.0, 1.0, outputs.numel()).view_as(outputs).to(outputs.dtype)
    loss = (outputs * weights).sum() + after.square().sum()
    gradients = torch.autograd.grad(loss, [*inputs[:2], *gru.parameters()])
    return [outputs.detach(), after.detach(), *gradients]


def in_float64(gru: GRU, inputs: Inputs) -> list[torch.Tensor]:
    """By torch's operators, of which a test in `test_gru.py` checks the gradients by differences."""
    x, state, starts = inputs
    doubled = [each.detach().double().requires_grad_() for each in (x, state)]
    with operators_only():
        return [each.float() for each in results(copy.deepcopy(gru).double(), (*doubled, starts))]


@pytest.fixture
def on_kernels(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let every float32 GRU be computed by kernels; the parts of those that were."""
    asked: list[int] = []

    def chosen(inputs: torch.Tensor, hidden: int, parts: int) -> WarpGRU | None:
        if inputs.dtype == torch.float64:
            return None
        asked.append(parts)
        return kernels(hidden, parts)

    monkeypatch.setattr(gru_module, "recurrence_for", chosen)
    return asked


def differences(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> list[float]:
    """Largest ones, as shares of each tensor's largest number."""
    pairs = zip(ours, theirs, strict=True)
    return [float((a - b).abs().max() / b.abs().max().clamp(min=1e-3)) for a, b in pairs]


@pytest.mark.parametrize(("hidden", "parts"), LAYERS)
@pytest.mark.parametrize(("steps", "batch"), [(1, 1), (7, SEQUENCES), (5, 4 * SEQUENCES + 3)])
def test_outputs_and_gradients_are_those_of_torchs_operators(
    on_kernels: list[int], steps: int, batch: int, hidden: int, parts: int
) -> None:
    gru, inputs = make_gru(hidden, parts), make_inputs(steps, batch, hidden)
    expected = in_float64(gru, inputs)
    found = results(gru, inputs)
    assert on_kernels == [parts]
    assert max(differences(found, expected)) < 3e-6
    assert all(each.abs().max() > 1e-3 for each in expected)


def test_layers_follow_each_other(on_kernels: list[int]) -> None:
    gru, inputs = make_gru(16, 1, layers=2), make_inputs(6, 11, 16, layers=2)
    assert max(differences(results(gru, inputs), in_float64(gru, inputs))) < 3e-6
    assert on_kernels == [1, 1]


@pytest.mark.parametrize(("hidden", "parts"), LAYERS)
def test_acting_gives_the_same_bits_as_the_recorded_sequence(
    on_kernels: list[int], hidden: int, parts: int
) -> None:
    gru, inputs = make_gru(hidden, parts), make_inputs(4, 11, hidden)
    recorded, _ = gru(*inputs)
    with torch.no_grad():
        acted, after = gru(*inputs)
    assert torch.equal(acted, recorded) and torch.equal(after[0], acted[-1])


def everything(own: WarpGRU, hidden: int, rows: slice, weight: torch.Tensor) -> list[torch.Tensor]:
    """What the kernels make of some of 29 sequences, along the second dimension, or the first if there is one."""
    generator = torch.Generator().manual_seed(0)
    steps, batch = 5, 29

    def randn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    projected, state, outer = (
        randn(steps, batch, 3 * hidden),
        randn(batch, hidden),
        randn(steps, batch, hidden),
    )
    keep = (torch.rand(steps, batch, 1, generator=generator) > 0.2).float()
    bias = randn(hidden)
    outputs, *kept = own.record(projected[:, rows], state[rows], keep[:, rows], weight, bias)
    return [outputs, *kept, *own.gradients(outer[:, rows], keep[:, rows], weight, *kept)]


@pytest.mark.parametrize(("hidden", "parts"), [(128, 1), (64, 2)])
def test_bits_depend_neither_on_the_order_of_threads_nor_on_other_sequences(
    hidden: int, parts: int
) -> None:
    """A thread that read what another one writes in the same stage would see it in one of the orders."""
    weight = make_gru(hidden, parts).get_parameter("weight_hh_l0").detach()
    own = functools.partial(everything, hidden=hidden, weight=weight)
    whole = own(kernels(hidden, parts), rows=slice(None))
    for other in (
        kernels(hidden, parts, descending=True),
        kernels(hidden, parts, multiprocessors=7),
    ):
        assert all(map(torch.equal, own(other, rows=slice(None)), whole))
    *sequences, d_state = own(kernels(hidden, parts), rows=slice(3, 20))
    assert all(torch.equal(a, b[:, 3:20]) for a, b in zip(sequences, whole, strict=False))
    assert torch.equal(d_state, whole[-1][3:20])


def test_weights_may_be_a_view_that_begins_anywhere() -> None:
    weight = make_gru(16, 1).get_parameter("weight_hh_l0").detach()
    shifted = torch.cat([torch.zeros(1), weight.flatten()])[1:].view_as(weight)
    assert shifted.data_ptr() % 16
    found = (everything(kernels(16, 1), 16, slice(None), each) for each in (weight, shifted))
    assert all(map(torch.equal, *found))


@pytest.mark.parametrize(("hidden", "parts"), LAYERS)
def test_nothing_before_a_start_reaches_what_follows(
    on_kernels: list[int], hidden: int, parts: int
) -> None:
    gru = make_gru(hidden, parts)
    x, state, starts = make_inputs(6, 11, hidden)
    starts[:], begin, row = False, 3, 9
    starts[begin, row] = True
    outputs, after = gru(x, state, starts)
    d_x, d_state = torch.autograd.grad(outputs[begin:, row].sum() + after[:, row].sum(), [x, state])
    assert not d_x[:begin].any() and not d_state.any()
    assert d_x[begin:, row].all() and not d_x[:, row + 1 :].any()
    plain, _ = gru(x, state, torch.zeros_like(starts))
    assert torch.equal(outputs[:begin, row], plain[:begin, row])
    assert not torch.equal(outputs[begin:, row], plain[begin:, row])


ON_FIBERS = """
#define CONSTANT(entry) (entry)
#define SHARED alignas(16) static
#define EACH_THREAD for (int thread = wp_cpu_get_thread_idx(), once = 1; once; once = 0, BARRIER)
#define OWN 0
#define OWNERS 1
#define UNROLL
#define UNROLL_SLOTS
const int block = robot / THREADS;
"""
"""In place of what the source defines for a device: each thread runs by itself, as on a GPU."""


def launch(plan: KernelPlan, read: list[torch.Tensor], written: list[torch.Tensor]) -> None:
    assert len(written) == plan.written and len(read) + len(written) == plan.tensors
    threads = plan.geometry.threads
    numbers = dict(zip(("steps", "batch"), written[0].shape, strict=False)) | {"blocks": BLOCKS}
    kernel, kind = make_kernel(plan.source, plan.arguments, plan.name, threads)
    arguments = kind()
    for i, number in enumerate(
        [*(x.data_ptr() for x in (*read, *written)), *(numbers[name] for name in NUMBERS)]
    ):
        arguments[i] = number
    wp.launch(kernel, BLOCKS * threads, [arguments], device="cpu", block_dim=threads)


@pytest.mark.parametrize("barrier", ["wp_cpu_tile_sync()", "0"])
@pytest.mark.parametrize(("hidden", "parts"), LAYERS)
def test_threads_that_wait_for_each_other_after_every_stage_compute_the_same(
    monkeypatch: pytest.MonkeyPatch, hidden: int, parts: int, barrier: str
) -> None:
    """On fibers, with registers of their own; without barriers the results are others."""
    wp.init()
    monkeypatch.setattr(wp.config, "enable_cpu_blocks", True)
    block, replaced = re.subn(
        "#ifdef __CUDA_ARCH__.*?#endif", ON_FIBERS, gru_source.BLOCK, count=1, flags=re.DOTALL
    )
    assert replaced
    monkeypatch.setattr(gru_plan, "BLOCK", f"#define BARRIER {barrier}\n{block}")
    steps, batch = 3, 2 * SEQUENCES + 3
    weight = make_gru(hidden, parts).get_parameter("weight_hh_l0").detach()
    projected, state = torch.randn(steps, batch, 3 * hidden), torch.randn(batch, hidden)
    keep, bias = (torch.rand(steps, batch, 1) > 0.3).float(), torch.randn(hidden)
    outer = torch.randn(steps, batch, hidden)
    tables = [projected, state, keep, weight, bias]
    results = [torch.full((steps, batch, n * hidden), 9.0) for n in (1, 1, 1, 3)]
    _, record, gradients = kernels_of(hidden, parts)
    launch(record, tables, results)
    own = kernels(hidden, parts)
    same = [torch.equal(*pair) for pair in zip(results, own.record(*tables), strict=True)]
    tables = [outer, keep, weight, *own.record(*tables)[1:]]
    results = [torch.full((steps, batch, 4, hidden), 9.0), torch.full((batch, hidden), 9.0)]
    launch(gradients, tables, results)
    same += [torch.equal(*pair) for pair in zip(results, own.gradients(*tables), strict=True)]
    assert all(same) if barrier != "0" else not any(same)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(("hidden", "parts"), [(16, 1), (64, 2)])
def test_what_is_not_finite_stays_in_its_sequence(
    on_kernels: list[int], hidden: int, parts: int, value: float
) -> None:
    gru, (x, state, starts) = make_gru(hidden, parts), make_inputs(5, 9, hidden)
    expected, _ = gru(x, state, starts)
    with torch.no_grad():
        x[2, 4, 0] = value
    outputs, _ = gru(x, state, starts)
    (d_x,) = torch.autograd.grad(outputs.sum(), [x])
    others = [i for i in range(9) if i != 4]
    assert torch.equal(outputs[:, others], expected[:, others]) and d_x[:, others].isfinite().all()
    assert value == value or outputs[2, 4].isnan().all()


@pytest.fixture
def on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The choice is made as for tensors on a GPU."""
    choose = recurrence._on_gpu
    choose.cache_clear()
    monkeypatch.setattr(recurrence, "has_kernels_for", lambda x: True)
    monkeypatch.setattr(recurrence, "compiles_for", lambda x: False)
    monkeypatch.setattr(recurrence, "multiprocessors", lambda device: BLOCKS)
    monkeypatch.setattr(warp_gru, "WarpGRU", lambda hidden, parts, *_, **__: kernels(hidden, parts))
    yield
    choose.cache_clear()


def test_what_has_no_kernels_is_said_once(on_a_gpu: None, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(2):
        assert recurrence.recurrence_for(torch.zeros(1), 128) is kernels(128, 1)
        assert recurrence.recurrence_for(torch.zeros(1), 256) is None
        assert recurrence.recurrence_for(torch.zeros(1, dtype=torch.bfloat16), 128) is None
        assert recurrence.recurrence_for(torch.zeros(1), 128, parts=None) is None
        # Half of 16 units is too few for parts.
        assert recurrence.recurrence_for(torch.zeros(1), 16, parts=2) is kernels(16, 1)
    wide, other = caplog.messages
    assert "256 hidden units in float32" in wide and "128 hidden units in bfloat16" in other


def test_without_a_compiler_one_warning_says_why(
    on_a_gpu: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("no such architecture")

    monkeypatch.setattr(warp_gru, "WarpGRU", broken)
    gru, inputs = make_gru(16, 1), make_inputs(3, 4, 16)
    for _ in range(2):
        found = results(gru, inputs)
    with operators_only():
        assert all(map(torch.equal, found, results(gru, inputs)))
    (line,) = caplog.messages
    assert "no such architecture" in line


def test_on_this_machines_cpu_and_in_a_recorded_program_there_are_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with operators_only():
        assert recurrence.recurrence_for(torch.zeros(1), 128) is None
    monkeypatch.setattr(recurrence, "compiles_for", lambda x: False)
    assert recurrence.recurrence_for(torch.zeros(1, device="meta"), 128) is None


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize(
    ("kernel", "right", "wrong"),
    [
        ("FORWARD", "after * kept[OWN][SLOT]", "after"),
        ("BACKWARD", "(1.0f - n * n)", "(1.0f - n)"),
        ("BACKWARD", "* CONSTANT(keep[row]);\n    }", "* NAN;\n    }"),
    ],
)
def test_kernels_that_compute_something_else_are_not_used(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    parts: int,
    kernel: str,
    right: str,
    wrong: str,
) -> None:
    choose = functools.partial(recurrence._on_gpu, torch.device("cpu"), torch.float32, 32, parts)
    monkeypatch.setattr(recurrence, "multiprocessors", lambda device: 1)
    recurrence._on_gpu.cache_clear()
    before = torch.get_rng_state()
    assert choose() is not None and not caplog.messages
    assert torch.equal(torch.get_rng_state(), before), "a training's numbers stay what they are"
    recurrence._on_gpu.cache_clear()
    source = getattr(gru_plan, kernel)
    assert source.count(right) == 1
    monkeypatch.setattr(gru_plan, kernel, source.replace(right, wrong))
    assert choose() is None and choose() is None
    (line,) = caplog.messages
    assert "has no kernels" in line and "differ" in line
    recurrence._on_gpu.cache_clear()


@pytest.mark.parametrize("constrained", [False, True])
@pytest.mark.parametrize("wanted", [False, True])
def test_a_policys_products_are_halved_once_it_commutes_with_the_mirror(
    on_a_gpu: None, monkeypatch: pytest.MonkeyPatch, constrained: bool, wanted: bool
) -> None:
    asked: list[int | None] = []

    def chosen(inputs: torch.Tensor, hidden: int, parts: int | None) -> Any:
        asked.append(parts)
        return recurrence.recurrence_for(inputs, hidden, parts)

    monkeypatch.setattr(gru_module, "recurrence_for", chosen)
    torch.manual_seed(0)
    config = PolicyConfig(gru_hidden=64, actor_hidden=[8])
    policy = ActorCritic({"proprioception": 6, "commands": 3}, 4, config)
    policy.fuse_gru(wanted)
    if constrained:
        groups = {n: SignedPermutation.of_signs(*s) for n, s in SIGNS.items()}
        turned = SignedPermutation(torch.tensor([1, 0, 3, 2]), torch.ones(4))
        Equivariance(policy, Symmetry(turned, groups)).initialize()
    obs = {"proprioception": torch.randn(3, 5, 6), "commands": torch.randn(3, 5, 3)}
    state, starts = torch.randn(1, 5, 64), torch.rand(3, 5) < 0.3

    def outputs() -> list[torch.Tensor]:
        policy.zero_grad()
        distribution, value, after = policy.sequence(obs, state, starts)
        (distribution.mode.square().sum() + value.sum()).backward()
        gradients = [p.grad.clone() for p in policy.parameters() if p.grad is not None]
        return [distribution.mode.detach(), value.detach(), after.detach(), *gradients]

    found = outputs()
    assert asked == [(2 if constrained else 1) if wanted else None]
    monkeypatch.setattr(recurrence, "has_kernels_for", lambda x: False)
    assert max(differences(found, outputs())) < 1e-5


def test_other_weights_commute_with_the_mirror_only_once_they_are_projected(
    on_kernels: list[int],
) -> None:
    gru, inputs = make_gru(64, 2), make_inputs(3, 5, 64)
    gru.load_state_dict(make_gru(64, 1).state_dict())
    expected = in_float64(gru, inputs)
    assert max(differences(results(gru, inputs), expected)) < 3e-6
    assert on_kernels == [1] and not gru.commutes


def test_torchs_compiler_sees_torchs_operators(
    on_a_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(use, "compiles_for", lambda x: False)
    monkeypatch.setattr(recurrence, "has_kernels_for", lambda x: not use.is_recorded())
    gru, inputs = make_gru(16, 1), make_inputs(3, 5, 16)
    asked = []
    own = recurrence._on_gpu

    def choose(*arguments: Any) -> Any:
        asked.append(arguments)
        return own(*arguments)

    monkeypatch.setattr(recurrence, "_on_gpu", choose)
    compiled = torch.compile(gru, backend="eager")
    found = results(compiled, inputs)
    assert not asked and max(differences(found, in_float64(gru, inputs))) < 3e-6
    results(gru, inputs)
    assert asked, "as it does else"


def test_without_gradients_nothing_is_recorded_for_them(
    on_kernels: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    gru, (x, state, starts) = make_gru(16, 1), make_inputs(3, 5, 16)
    learned, _ = gru(x, state, starts)
    monkeypatch.setattr(WarpGRU, "record", None)
    frozen, _ = gru.requires_grad_(False)(x.detach(), state.detach(), starts)
    assert torch.equal(frozen, learned) and not frozen.requires_grad
    for some in ((x, state.detach()), (x.detach(), state)):
        with pytest.raises(TypeError):
            gru(*some, starts)


SIGNS = {"proprioception": (1.0, -1.0, 1.0, -1.0, 1.0, -1.0), "commands": (1.0, -1.0, -1.0)}


@pytest.mark.parametrize("parts", [1, 2])
def test_every_size_with_kernels_divides_into_the_registers_of_a_block(parts: int) -> None:
    sizes = [hidden for hidden in range(1, 300) if suits(hidden, parts)]
    assert max(sizes) == 128 and min(sizes) == 16 * parts
    plans: list[tuple[Callable[..., Any], int]] = [(forward_geometry, 1), (backward_geometry, 2)]
    for hidden in sizes:
        for plan, outputs in plans:
            threads, groups = plan(hidden, parts).threads, plan(hidden, parts).groups
            units = hidden // parts
            assert threads <= 256 and units % (4 * groups) == 0
            assert threads == groups * hidden // outputs
            assert 3 * outputs * units // groups <= 192

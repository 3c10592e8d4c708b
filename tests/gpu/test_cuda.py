"""What only a GPU can show: nothing waits for it, its graphs compute what they recorded, its memory stays."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import torch
import warp as wp

from legged_ppo.config.loading import CONFIG_DIR, load_config
from legged_ppo.env.factory import make_locomotion_env
from legged_ppo.models.gru import GRU
from legged_ppo.models.gru_operators import commuting
from legged_ppo.models.recurrence import recurrence_for
from legged_ppo.runs.run_directory import RunDirectory
from legged_ppo.runtime.cuda_graphs import Captured, CudaRecorder
from legged_ppo.runtime.device import find_device
from legged_ppo.runtime.lanes.use import operators_only
from legged_ppo.sim.warp.engine import MujocoWarp
from legged_ppo.training.trainer import Trainer

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")

ROBOTS = 512
OVERRIDES = [
    f"training.num_envs={ROBOTS}",
    "training.wandb=disabled",
    "training.cuda_graphs=true",
    "terrain=full",
    "terrain.num_levels=3",
    "terrain.max_initial_level=2",
    "task.episode_length_s=1.0",
    "task.commands.resample_time_s=0.3",
]
SIZES = ["sim.contacts=64", "sim.constraints=200", "sim.convex_pairs=64"]


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    """With buffers as planned, after the iterations in which libraries load and allocators settle."""
    config = load_config(CONFIG_DIR / "phase1_fast.yaml", OVERRIDES)
    env = make_locomotion_env(config, ROBOTS, seed=0, device=find_device("auto"))
    run = RunDirectory(tmp_path_factory.mktemp("gpu") / "run")
    trainer = Trainer(config, env, run, scorer=None)
    for _ in range(10):
        trainer.iterate()
    collector = trainer.collector
    functions = [*env.kernels.values(), collector._draw, collector._clean.rows]
    compiled = [getattr(function, "compiled", 0) for function in functions]
    assert all(compiled), "nothing runs in torch unseen"
    gru = trainer.policy.trunk.gru
    assert gru.commutes and gru.fused, "its products are halved"
    assert recurrence_for(torch.zeros(1, device=env.device), gru.hidden_size, parts=2) is not None
    return trainer


@contextmanager
def no_waiting() -> Iterator[None]:
    """Torch raises where Python would wait for the device."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def device_memory() -> tuple[int, int]:
    """Bytes in tensors, and in use on the device by anyone."""
    gc.collect()
    torch.cuda.synchronize()
    free, total = torch.cuda.mem_get_info()
    return torch.cuda.memory_allocated(), total - free


@pytest.mark.parametrize("replayed", [True, False])
def test_neither_a_rollout_nor_an_update_waits_for_the_device(
    trainer: Trainer, replayed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert trainer.env.device.type == "cuda" and trainer.config.ppo.schedule == "adaptive"
    if not replayed:
        monkeypatch.setattr(trainer.ppo, "recorder", None)
    with no_waiting():
        plain = partial(trainer.collector.collect, trainer.buffer)
        next_value, sums = trainer.collect() if replayed else plain()
    with no_waiting():
        trainer.ppo.update(trainer.buffer, next_value, progress=0.5)
    assert sums["episode"][0] > 0  # resets were among it


def test_a_replayed_rollout_is_the_one_that_was_recorded(trainer: Trainer) -> None:
    collect = trainer.collect
    assert isinstance(collect, Captured) and collect.replays
    state = {"env": trainer.env.state_dict(), "collector": trainer.collector.state_dict()}
    generator = trainer.generator.get_state()

    def rollout(work: Callable[[], Any]) -> dict[str, torch.Tensor]:
        trainer.env.load_state_dict(state["env"])
        trainer.collector.load_state_dict(state["collector"])
        trainer.generator.set_state(generator)
        work()
        buffer = trainer.buffer
        found = {name: getattr(buffer, name).clone() for name in ("actions", "starts", "rewards")}
        return found | {"generator": trainer.generator.get_state()}

    replayed = rollout(collect)
    run = rollout(lambda: trainer.collector.collect(trainer.buffer))
    assert torch.equal(replayed["generator"], run["generator"])
    torch.testing.assert_close(replayed["actions"][0], run["actions"][0], rtol=1e-4, atol=1e-4)
    # From here on contacts come in another order, and a few robots go another way.
    for name in ("actions", "rewards"):
        apart = (replayed[name][:4] - run[name][:4]).abs().flatten()
        assert float(apart.quantile(0.95)) < 1e-2
    assert float((replayed["starts"] == run["starts"]).float().mean()) > 0.98
    assert float(run["starts"].float().mean()) > 0.005


def test_a_replayed_optimizer_step_is_the_one_that_was_recorded(trainer: Trainer) -> None:
    ppo, buffer = trainer.ppo, trainer.buffer
    next_value, _ = trainer.collect()
    ppo.estimate_advantages(buffer, next_value)
    ids = next(buffer.minibatch_ids(ppo.minibatches_per_epoch(buffer), trainer.generator))
    before = {name: value.clone() for name, value in trainer.policy.state_dict().items()}
    moments = [m for state in ppo.optimizer.state.values() for m in state.values()]
    moments_before = [moment.clone() for moment in moments]
    optimizer_step = ppo.optimizer_step(buffer)
    assert isinstance(optimizer_step, Captured) and optimizer_step.replays
    results = []
    for step in (optimizer_step, partial(ppo.optimize, buffer)):
        trainer.policy.load_state_dict(before)
        for moment, value in zip(moments, moments_before, strict=True):
            moment.copy_(value)  # in place: the graph has its address
        metrics = step(ids).clone()
        results.append([metrics, *(p.detach().clone() for p in ppo.parameters)])
    for replayed, run in zip(*results, strict=True):
        torch.testing.assert_close(replayed, run, rtol=1e-3, atol=1e-5)
    moved = [(p.detach() - before[n]).abs().max() for n, p in trainer.policy.named_parameters()]
    assert max(map(float, moved)) > 1e-5


def make_gru(hidden: int, parts: int, device: torch.device) -> GRU:
    """Two layers; of two parts, with weights that commute with the mirror."""
    torch.manual_seed(hidden)
    gru = GRU(80, hidden, num_layers=2).to(device)
    for name, parameter in gru.named_parameters():
        torch.nn.init.normal_(parameter, std=1.5 / hidden**0.5)
        if parts == 2 and name.startswith("weight_hh"):
            parameter.data.copy_(commuting(parameter.data))
    gru.commutes = parts == 2
    return gru


def passed(
    gru: GRU, x: torch.Tensor, state: torch.Tensor, starts: torch.Tensor
) -> list[torch.Tensor]:
    """Outputs, the state after, and the gradients of everything."""
    inputs = [each.detach().requires_grad_() for each in (x, state)]
    outputs, after = gru(*inputs, starts)
    weights = torch.linspace(-1.0, 1.0, outputs.numel(), device=x.device).view_as(outputs)
    loss = (outputs * weights.to(outputs.dtype)).sum() + after.square().sum()
    gradients = torch.autograd.grad(loss, [*inputs, *gru.parameters()])
    return [outputs.detach(), after.detach(), *gradients]


@pytest.mark.parametrize("batch", [1, 1024, 2731])
@pytest.mark.parametrize(
    ("hidden", "parts"), [(16, 1), (64, 1), (96, 1), (96, 2), (128, 1), (128, 2)]
)
def test_the_grus_kernels_compute_what_torchs_operators_do(
    hidden: int, parts: int, batch: int
) -> None:
    device = find_device("auto")
    gru = make_gru(hidden, parts, device)
    x, state = torch.randn(24, batch, 80), torch.randn(2, batch, hidden)
    x, state, starts = x.to(device), state.to(device), (torch.rand(24, batch) < 0.05).to(device)
    assert recurrence_for(x, hidden, parts) is not None, "they were compiled"
    found = passed(gru, x, state, starts)
    with torch.no_grad():
        assert torch.equal(gru(x, state, starts)[0], found[0])
    with operators_only():
        expected = passed(copy.deepcopy(gru).double(), x.double(), state.double(), starts)
    for ours, theirs in zip(found, expected, strict=True):
        assert float((ours - theirs).abs().max() / theirs.abs().max()) < 1e-5
    work = Captured(partial(passed, gru), CudaRecorder(device, []), "the test")
    for _ in range(3):
        replayed = work(x, state, starts)
    assert work.replays
    # Weight gradients are products that may sum in another order in a graph.
    torch.testing.assert_close(replayed, found, rtol=1e-4, atol=1e-4)
    assert torch.equal(replayed[0], found[0])


_SETTLING, _LASTING = 60, 30
"""Iterations within which memory must have been constant for a while, and those of which it must stay so."""
_LOADED_LATE = 32 * 2**20
"""Bytes that kernels may take which CUDA loads when they are first launched, such as those of a rare branch."""


def settle(trainer: Trainer) -> None:
    """Iterate until five iterations in a row have left the device's memory as it was."""
    seen = []
    for _ in range(_SETTLING):
        trainer.iterate()
        seen.append(device_memory())
        if len(seen) > 5 and len(set(seen[-6:])) == 1:
            return
    pytest.fail(f"memory did not settle: {seen[-6:]}")


def test_memory_stays_as_it_is(trainer: Trainer) -> None:
    settle(trainer)
    tensors, everything = device_memory()
    for _ in range(_LASTING):
        trainer.iterate()
    tensors_after, everything_after = device_memory()
    assert tensors_after == tensors
    assert everything_after <= everything + _LOADED_LATE


def test_no_contact_is_lost(trainer: Trainer) -> None:
    lost = [trainer.iterate()["Sim/overflows"] for _ in range(30)]
    assert lost == [0.0] * 30


def test_the_parts_of_an_iteration_are_timed_on_the_device(trainer: Trainer) -> None:
    metrics = trainer.iterate()
    parts = metrics["Perf/collection_time"] + metrics["Perf/learning_time"]
    whole = trainer.steps_per_iteration / metrics["Perf/total_fps"]
    assert min(metrics["Perf/collection_time"], metrics["Perf/learning_time"]) > 0.02 * whole
    assert parts == pytest.approx(whole, rel=0.05)


def test_captured_physics_is_the_same_as_launched_physics(monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(CONFIG_DIR / "phase1_fast.yaml", [*OVERRIDES, *SIZES])
    device = find_device("auto")

    def simulator() -> MujocoWarp:
        env = make_locomotion_env(config, ROBOTS, seed=0, device=device)
        env.reset()
        assert isinstance(env.simulator, MujocoWarp)
        return env.simulator

    captured = simulator()
    monkeypatch.setattr(MujocoWarp, "_capture", lambda *_: None)
    monkeypatch.setattr(MujocoWarp, "_run", launched)
    eager = simulator()
    state = {name: value.clone() for name, value in flat(captured.state_dict()).items()}
    for engine in (captured, eager):
        engine.load_state_dict(captured.state_dict())
    assert all(torch.equal(v, state[k]) for k, v in flat(eager.state_dict()).items())
    start = captured.state_dict()["persistent"]["qpos"][:, :3]
    targets = captured.state_dict()["targets"]
    generator = torch.Generator(device).manual_seed(0)
    for _ in range(5):
        noise = torch.randn(targets.shape, generator=generator, device=device)
        for engine in (captured, eager):
            engine.step(targets + 0.3 * noise)
    positions = [e.state_dict()["persistent"]["qpos"][:, :3] for e in (captured, eager)]
    apart = (positions[0] - positions[1]).norm(dim=1)
    # Contacts come in another order each time, so the last digits differ, and of a few robots more.
    assert float(apart.median()) < 5e-5 and float(apart.quantile(0.95)) < 1e-2
    assert float((positions[0] - start).norm(dim=1).median()) > 1e-3  # they moved


def launched(engine: MujocoWarp, launch: Callable[[], None]) -> None:
    """In place of a graph: the kernels one by one, between torch's work before and after."""
    graph = engine._graphs[launch.__name__]
    if graph is not None:
        wp.capture_launch(graph, stream=wp.stream_from_torch(torch.cuda.current_stream()))
        return
    torch.cuda.synchronize()
    with wp.ScopedDevice(wp.device_from_torch(engine.device)):
        launch()
    wp.synchronize_device(wp.device_from_torch(engine.device))


def flat(state: dict[str, Any], prefix: str = "") -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for name, value in state.items():
        path = f"{prefix}{name}"
        found |= flat(value, f"{path}/") if isinstance(value, dict) else {path: value}
    return found

"""A rollout and its losses on a GPU that is pretended: every operator finds all of its tensors there.

Fake tensors have shapes and devices but no content, and torch's rules for devices hold for them.
"""

from __future__ import annotations

import ctypes
import functools
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import warp as wp
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.cpp_extension import include_paths, library_paths

from legged_ppo.config.loading import CONFIG_DIR, load_config
from legged_ppo.env import placement
from legged_ppo.env.factory import make_locomotion_env
from legged_ppo.runs.run_directory import RunDirectory
from legged_ppo.sim import rotations
from legged_ppo.sim.warp.engine import MujocoWarp
from legged_ppo.training.trainer import Trainer

GPU = torch.device("cuda", 0)
SIZE_OF_GPU = SimpleNamespace(multi_processor_count=132, max_threads_per_multi_processor=2048)
COMPILER = shutil.which("c++")
pytestmark = pytest.mark.skipif(COMPILER is None, reason="needs a C++ compiler")
DEVICE_GUARD = """
#include <c10/core/impl/DeviceGuardImplInterface.h>
namespace c10::impl { C10_REGISTER_GUARD_IMPL(CUDA, NoOpDeviceGuardImpl<DeviceType::CUDA>); }
"""
"""Without it a PyTorch for the CPU refuses to choose a GPU, which its operators do before anything else."""
OVERRIDES = [
    "training.cuda_graphs=false",
    "ppo.rollout_length=4",
    "ppo.bptt_length=2",
    "training.average_decay=0",  # copies of fake networks would read their content
]
EVERYTHING = [
    "task.randomization.armature_scale=[0.8,1.2]",
    "task.randomization.latency_s=[0.0,0.02]",
    "task.observations.scandots.latency_s=[0.0,0.1]",
    "task.observations.scandots.period_s=[0.1,0.1]",
]


class PretendedGenerator:
    """One of the GPU, which a PyTorch without CUDA does not make."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def manual_seed(self, seed: int) -> PretendedGenerator:
        return self


def without_generator(draw: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def drawn(*args: Any, generator: PretendedGenerator, **kwargs: Any) -> torch.Tensor:
        assert kwargs["device"] == generator.device
        return draw(*args, **kwargs)

    return drawn


class OnlyThere(TorchDispatchMode):
    """Refuses tensors of the host, copies from and to it among them."""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves((args, kwargs, result)) if isinstance(x, torch.Tensor)]
        assert all(x.device == GPU for x in tensors), f"{func} of a tensor on the host"
        return result


@pytest.fixture(scope="module")
def device_guard(tmp_path_factory: pytest.TempPathFactory) -> None:
    if torch.version.cuda is None:
        folder = tmp_path_factory.mktemp("guard")
        (folder / "guard.cpp").write_text(DEVICE_GUARD)
        paths = [f"-I{path}" for path in include_paths()]
        paths += [f"-L{path}" for path in library_paths()]
        command = [str(COMPILER), "-std=c++20", "-shared", "-fPIC", *paths, "guard.cpp"]
        subprocess.run([*command, "-o", "guard.so", "-lc10"], cwd=folder, check=True)
        ctypes.CDLL(str(folder / "guard.so"))


@pytest.fixture
def gpu(device_guard: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    to_torch = wp.to_torch

    def on_gpu(array: wp.array) -> torch.Tensor:
        with unset_fake_temporarily():
            found = to_torch(array)
        return torch.empty(found.shape, dtype=found.dtype, device=GPU)

    monkeypatch.setattr(torch, "Generator", PretendedGenerator)
    for name in ("rand", "randn", "randint", "randperm"):
        monkeypatch.setattr(torch, name, without_generator(getattr(torch, name)))
    monkeypatch.setattr(wp, "to_torch", on_gpu)
    monkeypatch.setattr(MujocoWarp, "_warp_device", wp.get_device("cpu"))
    monkeypatch.setattr(MujocoWarp, "_run", lambda engine, launch: None)
    monkeypatch.setattr(MujocoWarp, "_capture", lambda engine, launch: None)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SIZE_OF_GPU)
    monkeypatch.setattr(nn.Module, "to", moved)
    # A cache of its own: the tensors are of no use after the test.
    fresh = functools.cache(rotations.quadratic_form.__wrapped__)
    for module in (rotations, placement):
        monkeypatch.setattr(module, "quadratic_form", fresh)
    with FakeTensorMode():
        yield


def moved(module: nn.Module, device: torch.device) -> nn.Module:
    """`Module.to`, which cannot exchange the content of a fake parameter."""
    for part in module.modules():
        for name, value in part.named_parameters(recurse=False):
            setattr(part, name, nn.Parameter(value.to(device)))
        for name, value in part.named_buffers(recurse=False):  # type: ignore[assignment]
            setattr(part, name, value.to(device))
    return module


@pytest.mark.parametrize("overrides", [[], EVERYTHING], ids=["recipe", "everything"])
def test_all_operands_of_a_rollout_and_its_losses_are_on_the_gpu(
    gpu: None, tmp_path: Path, small_warp: list[str], overrides: list[str]
) -> None:
    config = load_config(
        CONFIG_DIR / "phase1_fast.yaml", [*small_warp, *OVERRIDES, "ppo.symmetry=none", *overrides]
    )
    env = make_locomotion_env(config, config.training.num_envs, seed=0, device=GPU)
    trainer = Trainer(config, env, RunDirectory(tmp_path / "run"), scorer=None)
    ppo, buffer = trainer.ppo, trainer.buffer
    with OnlyThere():
        for _ in range(2):  # the second begins as the first has ended
            env.set_progress(0.5)
            next_value, _ = trainer.collector.collect(buffer)
            ppo.estimate_advantages(buffer, next_value)
            for ids in buffer.minibatch_ids(3, trainer.generator):
                ppo._evaluate_losses(buffer.gather(ids))
            env.metrics()
            trainer.policy.apply_normalization()

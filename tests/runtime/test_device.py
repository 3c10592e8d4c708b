"""Which device `--device` gives on machines that this is not, with torch's and Warp's answers replaced."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import warp as wp

from legged_ppo.errors import ConfigError
from legged_ppo.runtime import device
from legged_ppo.runtime.device import find_device

ROOT = Path(__file__).resolve().parents[1]


class Machine:
    """Two GPUs that torch and Warp can use, until a test changes something."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        self.torch(is_available=True, device_count=2, set_device=None)
        monkeypatch.setattr(torch.version, "cuda", "12.8")
        monkeypatch.setattr(device, "_has_gpu", lambda: True)
        self.warp(
            init=None,
            get_cuda_device_count=2,
            get_cuda_toolkit_version=(13, 4),
            get_cuda_driver_version=(13, 1),
            is_conditional_graph_supported=True,
            is_mempool_enabled=True,
        )

    def torch(self, **answers: Any) -> None:
        for name, answer in answers.items():
            self._patch.setattr(torch.cuda, name, lambda *_, answer=answer: answer)

    def warp(self, **answers: Any) -> None:
        for name, answer in answers.items():
            self._patch.setattr(wp, name, lambda *_, answer=answer: answer)

    def ranks(self, count: int, rank: int) -> None:
        self._patch.setenv("LOCAL_WORLD_SIZE", str(count))
        self._patch.setenv("LOCAL_RANK", str(rank))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def test_a_usable_gpu_is_taken_without_a_word(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    assert find_device("auto") == find_device("cuda") == torch.device("cuda", 0)
    assert find_device("cuda:1") == torch.device("cuda", 1)
    assert find_device("cpu") == torch.device("cpu")
    machine.ranks(2, 1)
    assert find_device("auto") == torch.device("cuda", 1)
    assert not caplog.records


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        (
            {"get_cuda_device_count": 0, "get_cuda_driver_version": (12, 8)},
            ["0 of 2 GPUs", "needs a driver for CUDA 13.0", "a driver for CUDA 12.8"],
        ),
        ({"is_conditional_graph_supported": False}, ["needs CUDA 12.4", "CUDA 13.1"]),
        ({"is_mempool_enabled": False}, ["memory pools"]),
    ],
)
def test_a_gpu_that_warp_cannot_use_is_refused_or_passed_over_with_a_line(
    machine: Machine, caplog: pytest.LogCaptureFixture, answers: dict[str, Any], words: list[str]
) -> None:
    machine.warp(**answers)
    with pytest.raises(ConfigError) as refused:
        find_device("cuda:0")
    assert find_device("auto") == torch.device("cpu")
    (passed_over,) = caplog.messages
    assert passed_over.startswith("--device auto: the CPU, though") and "\n" not in passed_over
    for line in (str(refused.value), passed_over):
        assert all(word in line for word in words), line
    # Without physics there, Warp has no say.
    assert find_device("auto", physics=False) == torch.device("cuda", 0)


def test_a_driver_too_old_for_torch_is_told_with_its_version(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def init() -> None:
        raise RuntimeError(
            "The NVIDIA driver on your system is too old (found version 11040). Please update"
        )

    machine.torch(is_available=False)
    monkeypatch.setattr(torch.cuda, "init", init)
    with pytest.raises(ConfigError, match=r"CUDA 12\.8: .*too old \(found version 11040\)$"):
        find_device("cuda")
    assert find_device("auto") == torch.device("cpu")
    assert "found version 11040" in caplog.text
    caplog.clear()
    machine.ranks(2, 1)
    find_device("auto")
    monkeypatch.setattr(device, "_has_gpu", lambda: False)
    machine.ranks(1, 0)
    find_device("auto")
    assert not caplog.records  # said once a machine, and only where there is a GPU


def test_more_processes_than_gpus_are_refused_on_every_rank(machine: Machine) -> None:
    for rank in range(3):
        machine.ranks(3, rank)
        for name in ("auto", "cuda"):
            with pytest.raises(ConfigError, match="there are 3 for 2 GPUs"):
                find_device(name)
        assert find_device("cpu") == torch.device("cpu")
    machine.ranks(1, 0)
    with pytest.raises(ConfigError, match="there are 2 GPUs, counted from 0"):
        find_device("cuda:2")


def test_warp_is_not_imported_where_there_is_nothing_for_it() -> None:
    code = (
        "import sys, torch; torch.version.cuda = None;"
        "from legged_ppo.runtime.device import find_device; find_device('cpu'); find_device('auto');"
        "assert not {'warp', 'mujoco_warp'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)

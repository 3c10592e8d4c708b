"""Freed memory stays with the process; threads that wait sleep."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from legged_ppo.runtime import cpu

_PROGRAM = """
import resource, sys, torch
if sys.argv[1] == "keep":
    from legged_ppo.runtime.cpu import keep_freed_memory
    keep_freed_memory()
def page_faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
page_faults()  # the first time they must come from somewhere
print(page_faults())
"""


def page_faults(way: str) -> int:
    command = [sys.executable, "-c", _PROGRAM, way]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_tensors_that_come_again_cost_no_page_faults() -> None:
    assert page_faults("keep") < 0.1 * page_faults("default")


_WAITING = """
import sys, time
if sys.argv[1] == "sleep":
    from legged_ppo.runtime.cpu import sleep_soon_when_waiting
    sleep_soon_when_waiting()
import torch
torch.set_num_threads(2)
x = torch.ones(2**20)
x.exp()
before = time.process_time()
for _ in range(200):
    x.exp()
    time.sleep(0.003)
print(time.process_time() - before)
"""


def cpu_seconds(way: str, **environment: str) -> float:
    """CPU time of two threads that work for a moment and wait for 3 ms, 200 times."""
    given = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    command = [sys.executable, "-c", _WAITING, way]
    result = subprocess.run(
        command, check=True, capture_output=True, text=True, env=given | environment
    )
    return float(result.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="GNU OpenMP's variables")
def test_threads_that_wait_sleep_unless_the_environment_says_otherwise() -> None:
    spinning = cpu_seconds("default")
    sleeping = cpu_seconds("sleep")
    assert sleeping < 0.7 * spinning
    assert cpu_seconds("sleep", OMP_WAIT_POLICY="active") > 1.2 * sleeping


def test_busy_cores_are_the_share_of_time_that_was_not_idle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = iter(["cpu  100 0 100 800 0 0 0 0 0 0", "cpu  130 0 110 860 0 0 0 0 0 0"])
    monkeypatch.setattr(Path, "read_text", lambda path: next(lines) + "\ncpu0 1 2 3\n")
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert cpu.busy_cores() == pytest.approx(4 * 40 / 100)


def test_without_figures_of_the_system_no_core_counts_as_busy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(path: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    assert cpu.busy_cores() == 0.0

"""Sums over processes in shared memory: gloo's numbers, the same bits everywhere, no hang."""

import os
import subprocess
import sys
from pathlib import Path

import shared_sums

ROOT = Path(__file__).resolve().parents[2]


def launch(kind: str) -> subprocess.CompletedProcess[str]:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=3"]
    command = [*torchrun, str(Path(shared_sums.__file__)), kind]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )


def test_sums_are_those_of_gloo_and_the_same_in_all_processes() -> None:
    result = launch("sums")
    assert result.returncode == 0, result.stderr


def test_a_process_that_has_ended_is_named() -> None:
    result = launch("ended")
    assert result.returncode == 1
    assert "the process of rank 1 has ended" in result.stderr


def test_processes_that_cannot_share_memory_use_gloo() -> None:
    result = launch("apart")
    assert result.returncode == 0, result.stderr

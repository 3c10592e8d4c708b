"""Freed memory stays with the process."""

from __future__ import annotations

import subprocess
import sys

import pytest

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

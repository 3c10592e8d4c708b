"""What a command does when its output or its terminal goes away."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PRINTS = """
import sys
from rich.console import Console
from legged_ppo.cli.output import surviving_output
with surviving_output():
    for i in range(200):
        print("row", i)
        Console().print("table", i)
sys.stderr.write("worked to the end")
"""


def run(code: str, stdout: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, stdout=stdout, stderr=subprocess.PIPE, text=True, cwd=ROOT, check=False
    )


def test_a_closed_pipe_does_not_end_the_work() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = run(PRINTS, writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "worked to the end")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_on_a_full_disk_is_reported_once_with_its_file() -> None:
    with open("/dev/full", "w") as full:
        done = run(PRINTS, full.fileno())
    lines = done.stderr.splitlines()
    assert done.returncode == 0 and len(lines) == 2 and lines[1] == "worked to the end"
    assert "/dev/full" in lines[0] and "No space left" in lines[0]


def test_two_interrupts_at_the_start_exit_130_without_a_traceback() -> None:
    code = """
import os, signal, sys
from legged_ppo.cli.parser import OneLineParser, run_command
def body(arguments):
    try:
        os.kill(os.getpid(), signal.SIGINT)
    finally:
        os.kill(os.getpid(), signal.SIGINT)
sys.exit(run_command(OneLineParser(), body, []))
"""
    done = run(code, subprocess.DEVNULL)
    assert (done.returncode, done.stderr) == (130, "")

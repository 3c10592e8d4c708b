"""The states of runs, read from their folders without torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from legged_ppo.errors import UsageError
from legged_ppo.runs.failure import failure_line, noting_failure
from legged_ppo.runs.listing import last_row, list_runs, read_state
from legged_ppo.runs.run_lock import is_locked, run_lock

CONFIG = "training:\n  num_envs: 4\n  total_timesteps: 4000000\n"
HOLD = """
import sys, time
from pathlib import Path
from legged_ppo.runs.run_lock import run_lock
with run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def make_run(root: Path, steps: int = 3, saved: int = 0) -> Path:
    """A run with `steps` rows and a step checkpoint after `saved` of them."""
    (root / "checkpoints").mkdir(parents=True)
    (root / "config.yaml").write_text(CONFIG)
    rows = [
        {
            "iteration": i,
            "env_steps": 1000 * i,
            "Train/mean_reward": float(i),
            "Eval/success_rate": i / 8,
        }
        for i in range(1, steps + 1)
    ]
    (root / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if saved:
        (root / "checkpoints" / f"phase1_step_{1000 * saved}.pth").touch()
    return root


def test_each_end_of_a_run_has_its_state(tmp_path: Path) -> None:
    make_run(tmp_path / "empty", steps=0)
    make_run(tmp_path / "killed", saved=2)
    make_run(tmp_path / "stopped", saved=3)
    finished = make_run(tmp_path / "finished", saved=3)
    (finished / "summary.json").write_text('{"env_steps": 3000}')
    failed = make_run(tmp_path / "failed", saved=3)
    with pytest.raises(ValueError), noting_failure(failed):
        raise ValueError("the ground\nwas gone")
    running = make_run(tmp_path / "running")
    (tmp_path / "checkpoints").symlink_to(running / "checkpoints")
    (tmp_path / "notes.txt").touch()
    with run_lock(running):
        runs = {run.name: run for run in list_runs(tmp_path)}
    assert {name: run.state for name, run in runs.items()} == {name: name for name in runs}
    assert len(runs) == 6
    assert runs["failed"].failure == "ValueError: the ground was gone"
    assert (runs["killed"].env_steps, runs["killed"].total_steps) == (3000, 4_000_000)
    assert runs["killed"].success == 3 / 8, "the highest of metrics.jsonl"
    assert runs["empty"].success is None
    assert read_state(running).state == "killed", "once its lock is free"


def test_the_best_figures_are_those_of_the_best_checkpoint(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    best = {"score": 0.1, "figures": {"Eval/success_rate": 0.25, "Eval/lin_vel_error": None}}
    (run / "best.json").write_text(json.dumps(best))
    assert read_state(run).best == {"Eval/success_rate": 0.25}


def test_the_last_whole_row_is_found_behind_damage_and_in_long_files(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    long = json.dumps({"iteration": 7, "env_steps": 7, "x": "y" * 100_000})
    file.write_text(f'{{"iteration": 6}}\n{long}\n{{"iteration": 8, "env')
    assert last_row(file)["iteration"] == 7
    file.write_text("no row\n[1]\n")
    assert last_row(file) == {} == last_row(tmp_path / "none")


def test_a_run_is_written_by_one_process(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        assert is_locked(tmp_path)
        with pytest.raises(UsageError, match=f"process {holder.pid} on"), run_lock(tmp_path):
            pass
    finally:
        holder.kill()
        holder.wait()
    assert not is_locked(tmp_path), "the system frees it"
    with run_lock(tmp_path):
        assert is_locked(tmp_path)
    assert not is_locked(tmp_path)


def test_a_lock_is_free_although_a_forked_process_lives_on(tmp_path: Path) -> None:
    with run_lock(tmp_path):
        child = os.fork()
        if child == 0:
            time.sleep(30)
            os._exit(0)
    try:
        assert not is_locked(tmp_path)
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


def test_the_note_of_a_failure_has_the_traceback_and_goes_with_the_next_start(
    tmp_path: Path,
) -> None:
    with pytest.raises(ZeroDivisionError), noting_failure(tmp_path):
        print(1 / 0)
    assert failure_line(tmp_path) == "ZeroDivisionError: division by zero"
    assert "test_listing.py" in (tmp_path / "failure.txt").read_text()
    with pytest.raises(KeyboardInterrupt), noting_failure(tmp_path):
        raise KeyboardInterrupt
    assert failure_line(tmp_path) == ""

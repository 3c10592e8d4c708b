"""Benchmarks for a GPU lose nothing but the part that fails."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"
OPTIONS = ["--config", "recipe.yaml", "--timeout", "5"]


@pytest.fixture
def throughput(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("throughput")


def test_a_size_that_does_not_fit_gets_a_row_that_says_so(
    throughput: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB\nSee")

    monkeypatch.setattr(throughput, "run", run)
    rows = tmp_path / "rows.json"
    assert throughput.main([*OPTIONS, "--envs", "64", "--json", str(rows)]) == 1
    expected = "out of memory: CUDA out of memory. Tried to allocate 9 GiB"
    assert json.loads(rows.read_text()) == {"num_envs": 64, "error": expected}


def test_each_size_has_its_own_process_and_the_file_is_written_after_each(
    throughput: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, written = tmp_path / "rows.json", []

    def child(command: list[str], timeout: float) -> Any:
        written.append(json.loads(rows.read_text()) if rows.is_file() else [])
        options = dict(zip(command[2:16:2], command[3:16:2], strict=True))
        assert command[16:] == ["a=1"] and options["--config"] == "recipe.yaml"
        if options["--envs"] == "2":
            raise subprocess.TimeoutExpired(command, timeout)
        if options["--envs"] == "1":
            Path(options["--json"]).write_text(json.dumps({"num_envs": 1, "env_fps": 5.0}))
        return subprocess.CompletedProcess(command, 0 if options["--envs"] == "1" else -9)

    monkeypatch.setattr(subprocess, "run", child)
    assert throughput.main([*OPTIONS, "--envs", "1,2,3", "--json", str(rows), "a=1"]) == 1
    measured = {"num_envs": 1, "env_fps": 5.0}
    late = {"num_envs": 2, "error": "no result within 5.0 s"}
    assert written == [[], [measured], [measured, late]]
    killed = {"num_envs": 3, "error": "exit code -9"}
    assert json.loads(rows.read_text()) == [measured, late, killed]


def test_every_engine_is_driven_alone_also_beside_mirrored_copies(
    throughput: ModuleType, tmp_path: Path
) -> None:
    rows, figures = tmp_path / "rows.json", []
    options = ["--config", str(ROOT / "configs" / "phase1_fast.yaml"), "--json", str(rows)]
    options += ["--rounds", "1", "--iterations", "1", "--warmup", "0"]
    small = [
        "training.num_envs=4",
        "ppo.rollout_length=8",
        "ppo.bptt_length=8",
        "terrain.num_levels=2",
    ]
    sizes = ["sim.contacts=48", "sim.constraints=160", "sim.convex_pairs=48"]
    for engine, symmetry in (
        ("mujoco_c", "none"),
        ("mujoco_warp", "none"),
        ("simd", "augmentation"),
    ):
        chosen = [f"sim.engine={engine}", f"ppo.symmetry={symmetry}"]
        changes = ["+preset=debug", *chosen, *small, *sizes]
        assert throughput.main([*options, *changes]) == 0
        figures.append(json.loads(rows.read_text()))
    for row in figures:
        names = ("physics_fps", "env_fps", "end_to_end_fps", "collection_s", "learning_s", "ratio")
        assert all(row[name] > 0 for name in names)


def test_engines_are_compared_in_turn_and_beside_a_neighbour(
    throughput: ModuleType, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.json"
    options = ["--config", str(ROOT / "configs" / "phase1_quickstart.yaml"), "--json", str(rows)]
    options += ["--rounds", "1", "--iterations", "1", "--warmup", "0", "--threads", "1"]
    options += ["--engines", "mujoco_c,simd", "--neighbour"]
    small = ["training.num_envs=4", "ppo.num_minibatches=1", "terrain.num_levels=2"]
    assert throughput.main([*options, "+preset=debug", *small]) == 0
    found = json.loads(rows.read_text())
    assert found["machine"]["torch"]
    measured = [(row["engine"], row["neighbour"]) for row in found["rows"]]
    assert measured == [(e, n) for n in (False, True) for e in ("mujoco_c", "simd")]
    for row in found["rows"]:
        assert row["robots"] == 4 and row["threads"] == 1 and "flat" in row["terrain"]
        assert all(row[name] > 0 for name in ("physics_fps", "env_fps", "end_to_end_fps"))
    first, second = found["rows"][:2]
    assert second["ratio"]["env_fps"] == second["env_fps"] / first["env_fps"]


STAND_IN = """#!/bin/sh
case "$1" in
*gpu_table.py) exec {python} "$@" ;;
*throughput.py) {python} -c "import legged_ppo" || exit 7
    case "$*" in *terrain=flat*) echo '{rows}' >"$OUT/throughput_flat.json" ;; esac; exit 1 ;;
-c | *gru.py) echo "gru figures" ;;
*) exit 3 ;;
esac
"""


def test_the_script_prints_what_there_is_when_parts_fail(tmp_path: Path) -> None:
    rows = [
        {"num_envs": 4096, "env_fps": 12.5, "device": "card"},
        {"num_envs": 8192, "error": "no"},
    ]
    stand_in = tmp_path / "python"
    stand_in.write_text(STAND_IN.format(python=sys.executable, rows=json.dumps(rows)))
    stand_in.chmod(0o755)
    out = tmp_path / "out"
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment |= {"PYTHON": str(stand_in), "OUT": str(out)}
    end = subprocess.run(
        [str(BENCHMARKS / "gpu.sh"), "cpu"], env=environment, capture_output=True, text=True
    )
    assert "throughput_full: exit code 1" in end.stdout and "learner: exit code 3" in end.stdout
    table = (out / "table.txt").read_text()
    assert end.stdout.endswith(table)
    assert "flat: device card" in table and "4,096" in table and "12.500" in table
    assert "8,192  no" in table and "full grid: no size was measured" in table
    assert "gru figures" in table
    for name in ("GRU 128", "GRU 128 without its kernels"):
        assert f"full grid, {name}: no size was measured" in table


TRAINING = """#!/bin/sh
case "$1" in
train_phase1.py) for word; do case "$word" in training.log_dir=*) logs=${{word#*=}} ;; esac; done
    run="$logs/run"; mkdir -p "$run/checkpoints"; ln -sfn "$run/checkpoints" "$logs/checkpoints"
    echo trains; sleep {seconds}; echo '"env_steps": 7' >"$run/summary.json" ;;
evaluate.py) echo "$7 7 success" ;;
esac
"""


def test_a_training_goes_on_in_the_background_until_it_is_evaluated(tmp_path: Path) -> None:
    stand_in = tmp_path / "python"
    stand_in.write_text(TRAINING.format(seconds=4))
    stand_in.chmod(0o755)
    environment = os.environ | {"PYTHON": str(stand_in), "OUT": str(tmp_path / "out")}

    def call(limit: int) -> str:
        end = subprocess.run(
            [str(BENCHMARKS / "gpu_learning.sh"), "cuda:0"],
            env=environment | {"LIMIT": str(limit)},
            capture_output=True,
            text=True,
            check=True,
        )
        return end.stdout

    first = call(limit=1)
    assert "still training: call this again" in first and "success" not in first
    second = call(limit=30)
    assert second.count("trains") == 1, "it did not begin anew"
    assert '"env_steps": 7' in second
    assert [f"{name} 7 success" in second for name in ("stairs_up", "slope_down", "curbs")] == [
        True
    ] * 3

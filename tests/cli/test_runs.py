"""`legged-ppo runs` and `legged-ppo doctor`: quick, and without torch."""

from __future__ import annotations

import importlib.metadata
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from legged_ppo.cli import doctor, machine, runs, software
from legged_ppo.cli.findings import ABSENT, BROKEN, OK
from legged_ppo.viewer import gl_backend

IMPORTS = """
import sys
from legged_ppo.cli.main import main
code = main(sys.argv[1:])
print([name for name in ("torch", "mujoco", "hydra") if name in sys.modules], file=sys.stderr)
sys.exit(code)
"""


def make_runs(folder: Path, count: int) -> Path:
    for i in range(count):
        run = folder / f"run_{i:03}"
        (run / "checkpoints").mkdir(parents=True)
        (run / "config.yaml").write_text("training:\n  total_timesteps: 2000000\n")
        row = {
            "iteration": 1,
            "env_steps": 500_000,
            "Train/mean_reward": 12.5,
            "Perf/total_fps": 9000.0,
        }
        (run / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    return folder


def run_in_process(*arguments: str) -> tuple[subprocess.CompletedProcess[str], float]:
    """The command in a process of its own, and the time [s] for which it and its children computed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-c", IMPORTS, *arguments]
    result = subprocess.run(command, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return result, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_runs_are_listed_without_torch(tmp_path: Path) -> None:
    result, seconds = run_in_process("runs", "--log-dir", str(make_runs(tmp_path, 100)))
    assert result.returncode == 0 and result.stderr.strip() == "[]"
    assert result.stdout.count("killed") == 100 and "0.5 of 2 M" in result.stdout
    assert "reward 12.5" in result.stdout and "steps/s 9,000" in result.stdout
    assert seconds < 2.0


def test_only_the_wanted_states_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(make_runs(tmp_path, 2))
    assert runs.main(["--log-dir", folder, "--state", "running", "failed"]) == 0
    assert "no runs (running, failed)" in capsys.readouterr().out
    assert runs.main(["--log-dir", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_doctor_imports_neither_torch_nor_mujoco(tmp_path: Path) -> None:
    result, seconds = run_in_process("doctor", "--log-dir", str(tmp_path))
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr.strip() == "[]"
    for part in (
        "python",
        "packages",
        "cpu",
        "engine",
        "cache",
        "gpu",
        "rendering",
        "disk",
        "wandb",
    ):
        assert f" {part} " in result.stdout
    assert "training works" in result.stdout
    assert seconds < 4.0


def test_a_folder_that_cannot_be_written_is_what_keeps_training_from_working(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gl_backend, "_renders", lambda name: False)
    monkeypatch.setattr(machine, "_writable", lambda folder: folder != tmp_path)
    assert doctor.main(["--log-dir", str(tmp_path)]) == 1
    text = capsys.readouterr().out
    assert "training does not work here: disk" in text and "training.log_dir=DIR" in text
    assert "apt-get install libegl1" in text


@pytest.mark.parametrize(
    ("gpus", "driver", "built", "state", "expected"),
    [
        ([], None, None, ABSENT, "no NVIDIA GPU"),
        (["H200"], (12, 8), None, ABSENT, "built without CUDA"),
        (["H200"], (11, 4), (12, 8), ABSENT, "newer driver"),
        (["H200"], (12, 4), (12, 8), OK, "H200, driver for CUDA 12.4"),
    ],
)
def test_a_gpu_is_judged_by_driver_and_torch(
    monkeypatch: pytest.MonkeyPatch,
    gpus: list[str],
    driver: tuple[int, int] | None,
    built: tuple[int, int] | None,
    state: str,
    expected: str,
) -> None:
    found: dict[str, Callable[[], object]] = {
        "_gpus": lambda: gpus,
        "_driver_cuda": lambda: driver,
        "_torch_cuda": lambda: built,
    }
    for name, value in found.items():
        monkeypatch.setattr(machine, name, value)
    (finding,) = machine.check_gpu()
    assert finding.state == state and expected in finding.text + finding.remedy


def test_missing_and_old_packages_are_named_with_what_installs_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = ["numpy>=99", 'no-such-package>=1; extra == "web"']
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: lines)
    found = {each.part: each for each in software.check_packages()}
    assert found["packages"].state == BROKEN and "numpy" in found["packages"].text
    assert found["[web]"].state == ABSENT and "'.[web]'" in found["[web]"].remedy
    assert "no-such-package is not installed" in found["[web]"].text


def test_accounts_are_found_as_a_run_finds_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "x")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    assert software.check_wandb()[0].state == OK
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert software.check_wandb()[0].state == ABSENT

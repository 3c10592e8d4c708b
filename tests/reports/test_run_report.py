"""The closing lines of a run: commands that work as printed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import legged_ppo
from legged_ppo.config.extensions import load_extensions
from legged_ppo.reports import run_report
from legged_ppo.reports.run_report import console_command

ROOT = Path(legged_ppo.__file__).parents[1]


def test_next_commands_start_from_the_folder_where_they_were_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    for folder in (ROOT, tmp_path):
        monkeypatch.chdir(folder)
        line = [*console_command("play"), "--help"]
        result = subprocess.run(line, capture_output=True, text=True)
        assert result.returncode == 0 and "usage:" in result.stdout
        assert (line[1] == "play.py") == (folder == ROOT)


def test_paths_are_relative_inside_the_current_folder_and_an_environments_python_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv" / "bin" / "python"))
    lines = run_report._next_commands(tmp_path / "logs/a b.pth", tmp_path / "logs/run")
    assert lines[0] == f".venv/bin/python {ROOT}/play.py --checkpoint 'logs/a b.pth'"
    assert lines[2] == ".venv/bin/python -m tensorboard.main --logdir logs"
    (tmp_path / "logs" / "run").mkdir(parents=True)
    (tmp_path / "logs" / "run" / "teacher.pth").touch()  # a run of Phase 2
    lines = run_report._next_commands(tmp_path / "logs/run/a.pth", tmp_path / "logs/run")
    assert lines[2] == f".venv/bin/python {ROOT}/evaluate.py --phase2 logs/run"


def test_next_commands_name_the_extensions_and_the_folder_that_they_lie_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "my code"
    folder.mkdir()
    (folder / "my_callbacks.py").write_text("CALLBACKS = {}")
    monkeypatch.chdir(tmp_path)
    load_extensions(["my_callbacks"], folder)
    play = run_report._next_commands(tmp_path / "best.pth", tmp_path, ["my_callbacks"])[0]
    assert play.startswith(f"env 'PYTHONPATH={folder}' ")
    assert play.endswith("play.py --checkpoint best.pth 'extensions=[my_callbacks]'")
    monkeypatch.chdir(folder)
    assert "env" not in run_report._next_commands(folder, folder, ["my_callbacks"])[0].split()
    monkeypatch.delitem(sys.modules, "my_callbacks")


def test_an_installed_package_has_no_scripts_but_a_console_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(legged_ppo, "__file__", str(tmp_path / "legged_ppo" / "__init__.py"))
    command = tmp_path / "bin" / "legged-ppo"
    command.parent.mkdir()
    command.touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(command.with_name("python")))
    assert console_command("play") == [str(command), "play"]
    monkeypatch.setenv("PATH", str(command.parent))
    assert console_command("play") == ["legged-ppo", "play"]

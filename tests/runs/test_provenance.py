"""A run records the source and the command that made it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import legged_ppo
from legged_ppo.config.loading import load_config
from legged_ppo.config.schema import Config
from legged_ppo.runs.checkpoint import load_checkpoint
from legged_ppo.runs.provenance import provenance, source_state
from legged_ppo.runs.run_directory import RunDirectory


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    provenance.cache_clear()
    yield
    provenance.cache_clear()


def git(folder: Path, *arguments: str) -> str:
    user = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    command = ["git", "-C", str(folder), *user, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_commit_and_whether_files_differ_from_it(tmp_path: Path) -> None:
    assert source_state(tmp_path) == {}
    git(tmp_path, "init", "-q")
    assert source_state(tmp_path) == {}, "no commit yet"
    (tmp_path / "code.py").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert source_state(tmp_path) == {"git_commit": commit, "git_dirty": False}
    (tmp_path / "code.py").write_text("2")
    assert source_state(tmp_path) == {"git_commit": commit, "git_dirty": True}
    (tmp_path / "venv").mkdir()
    assert source_state(tmp_path / "venv") == {}, "a package inside another checkout"


def test_without_git_the_version_and_the_command_remain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "argv", ["train_phase1.py", "--config", "a b.yaml"])
    command = "train_phase1.py --config 'a b.yaml'"
    assert provenance() == {"version": legged_ppo.__version__, "command": command}


def test_a_run_holds_its_origin_in_config_and_checkpoint_and_its_seed_in_its_name(
    tmp_path: Path,
    config: Config,
    make_checkpoint: Callable[[Path, Config], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["train_phase1.py", "x=\n\x07ppo: {}", "é"])
    config.training.log_dir, config.training.seed = str(tmp_path), 7
    run = RunDirectory.create(config, "quickstart")
    assert run.root.name.startswith(f"quickstart_{config.subject}_s7_")
    written = run.root / "config.yaml"
    text = written.read_text()
    assert f"# version: {legged_ppo.__version__}\n" in text
    assert "# command: train_phase1.py 'x=\\n\\x07ppo: {}' '\\xe9'\n" in text
    assert load_config(written) == config
    run.replace_config(config, 100)
    assert written.read_text() == text
    saved = load_checkpoint(make_checkpoint(run.checkpoints / "x.pth", config))
    assert saved["provenance"] == provenance()

"""The wheel holds all that training needs, and works outside the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("legged_ppo", "configs", "pyproject.toml", "setup.py", "README.md", "LICENSE")
TINY = ["training.num_envs=4", "training.total_timesteps=64", "training.evaluation_episodes=1"]


def run(*command: str | Path, cwd: Path) -> str:
    """The output of a command that must succeed, without this process's import path."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    result = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def build_wheel(folder: Path) -> Path:
    """Build from a copy, so that nothing is left in the checkout."""
    source = folder / "source"
    source.mkdir(parents=True)
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, source, cwd=folder)
    return next(folder.glob("*.whl"))


def make_venv(folder: Path, wheel: Path) -> Path:
    """A fresh virtual environment with the wheel and this one's packages, but not this checkout."""
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=wheel.parent)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    run(*pip, "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=wheel.parent)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def test_the_wheel_trains_in_another_folder(tmp_path: Path) -> None:
    python = make_venv(tmp_path / "venv", build_wheel(tmp_path / "build"))
    away = tmp_path / "away"
    away.mkdir()
    command = [python.parent / "legged-ppo", "train", "--config", "configs/phase1_quickstart.yaml"]
    run(*command, "--device", "cpu", "+preset=debug", *TINY, cwd=away)
    (final,) = away.glob("logs/*_s1_*/checkpoints/phase1_final.pth")
    config = (final.parents[1] / "config.yaml").read_text()
    assert config.startswith("# version: ") and "# command: " in config and "git_" not in config
    code = "import legged_ppo; from pathlib import Path; print(Path(legged_ppo.__file__).parent)"
    package = Path(run(python, "-c", code, cwd=away).strip())
    assert package.is_relative_to(tmp_path / "venv")
    for file in ("py.typed", "configs/gym/cartpole_ppo.yaml", "deploy/page/index.html"):
        assert (package / file).is_file()

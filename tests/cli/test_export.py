"""export.py as a user meets it: files, one line for bad input, nothing written then."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from legged_ppo.cli import export as export_cli
from legged_ppo.cli import main as cli
from legged_ppo.config.schema import Config
from legged_ppo.deploy import export, run

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkpoint(tmp_path: Path, config: Config, make_checkpoint: Callable[..., Path]) -> Path:
    return make_checkpoint(tmp_path / "run" / "policy.pth", config)


def test_a_checkpoint_becomes_files_that_the_runner_takes(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "policy.onnx"
    place = ["--terrain", "rough", "--level", "1"]
    arguments = ["export", "--checkpoint", str(checkpoint), "--output", str(out), *place]
    assert cli.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "replayed 200 steps" in printed and "policy.xml" in printed
    assert {path.name for path in tmp_path.iterdir()} == {
        *("run", "policy.onnx", "policy.npz", "policy.xml")
    }
    assert run.main([str(out), "--episodes", "3"]) == 0
    printed = capsys.readouterr().out
    assert "go2, 4,096 steps" in printed and "flat" not in printed  # the tile of --terrain alone


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom legged_ppo.cli.export import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "assert not {'torch', 'mujoco', 'numpy', 'hydra'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "policy.txt"], "ends in .onnx"),
        (["--output", "policy.onnx", "--format", "torchscript"], "ends in .pt or .jit"),
        (["--output", "nowhere/policy.onnx"], "in a folder that exists"),
        (["--output", "policy.onnx", "--level", "1"], "--terrain TYPE beside it"),
        (["--output", "policy.onnx", "--terrain", "stairs_up"], "terrain=full"),
        (["--output", "policy.onnx", "--terrain", "rough", "--level", "9"], "from 0 to 1"),
        (["--output", "policy.onnx", "robot.kpp=3"], "did you mean 'robot.kp'"),
    ],
    ids=str,
)
def test_bad_input_is_one_line_and_writes_nothing(
    arguments: list[str],
    message: str,
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    assert export_cli.main(["--checkpoint", str(checkpoint), *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1
    assert message in captured.err
    assert list(here.iterdir()) == []


def test_a_graph_that_differs_from_the_policy_is_not_written(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the exporter had lost an operator."""
    monkeypatch.setattr(export, "replay_error", lambda trace, call: float("nan"))
    out = tmp_path / "policy.onnx"
    assert export_cli.main(["--checkpoint", str(checkpoint), "--output", str(out)]) == 1
    assert not out.exists()


def test_a_policy_of_a_gymnasium_task_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from types import SimpleNamespace

    from legged_ppo.cli import options

    config = Config()
    config.gym.id = "CartPole-v1"
    monkeypatch.setattr(options, "load", lambda _: SimpleNamespace(config=config))
    out = tmp_path / "policy.onnx"
    assert export_cli.main(["--checkpoint", "x.pth", "--output", str(out)]) == 2
    assert "CartPole-v1 is not a robot" in capsys.readouterr().err

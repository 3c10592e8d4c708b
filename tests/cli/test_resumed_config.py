"""What a resume without a recipe takes from a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from legged_ppo.cli.train import _config_of, make_parser
from legged_ppo.config.schema import Config


def test_a_moved_checkpoint_writes_no_folder_of_its_own(
    config: Config, make_checkpoint: Callable[[Path, Config], Path], tmp_path: Path
) -> None:
    config.training.log_dir = str(tmp_path / "stored")
    path = make_checkpoint(tmp_path / "moved.pth", config)
    arguments = make_parser().parse_args(["--resume", str(path)])
    assert _config_of(arguments).training.log_dir == "logs"
    override = f"training.log_dir={tmp_path}"
    arguments = make_parser().parse_args(["--resume", str(path), override])
    assert _config_of(arguments).training.log_dir == str(tmp_path)

"""A run's folder: where its files are, which checkpoints stay, and what a resume finds."""

from __future__ import annotations

import contextlib
import json
import os
import re
from datetime import datetime
from pathlib import Path
from typing import Any

from legged_ppo.config.loading import config_to_yaml
from legged_ppo.config.schema import Config
from legged_ppo.errors import ConfigError
from legged_ppo.runs.checkpoint import copy_checkpoint, save_checkpoint

LATEST, BEST, FINAL = "phase1_latest.pth", "phase1_best.pth", "phase1_final.pth"
_STEP = re.compile(r"phase1_step_\d+\.pth")


class RunDirectory:
    """`logs/<run>/` with config.yaml, metrics.jsonl, checkpoints/, plots/, videos/, summary.json."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.checkpoints = root / "checkpoints"
        self.metrics = root / "metrics.jsonl"

    @classmethod
    def create(cls, config: Config, recipe: str) -> RunDirectory:
        """A new folder under `training.log_dir`, with the config in it.

        Raises:
            ConfigError: the folder cannot be written.
        """
        log_dir = Path(config.training.log_dir)
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        name = _file_name(config.training.run_name or f"{recipe}_{config.subject}_{stamp}")
        root, twin = log_dir / name, 1
        while root.exists():
            twin += 1
            root = log_dir / f"{name}_{twin}"
        run = cls(root)
        try:
            run.checkpoints.mkdir(parents=True)
            (root / "config.yaml").write_text(config_to_yaml(config))
            run._point_newest()
        except OSError as error:
            raise ConfigError(
                "training.log_dir", str(log_dir), f"a folder that can be written ({error.strerror})"
            ) from None
        return run

    @classmethod
    def of_checkpoint(cls, path: Path) -> RunDirectory | None:
        """The run that a checkpoint lies in, or None for a file that was moved elsewhere."""
        folder = path.resolve().parent
        if folder.name == "checkpoints" and (folder.parent / "config.yaml").is_file():
            return cls(folder.parent)
        return None

    def reopen(self, iteration: int) -> None:
        """Go on after `iteration`: rows that a killed run wrote beyond its checkpoint are dropped."""
        if self.metrics.is_file():
            kept = []
            for line in self.metrics.read_text().splitlines(keepends=True):
                with contextlib.suppress(json.JSONDecodeError):  # a row cut short by a kill
                    if json.loads(line)["iteration"] <= iteration:
                        kept.append(line)
            temporary = self.metrics.with_suffix(".tmp")
            temporary.write_text("".join(kept))
            os.replace(temporary, self.metrics)
        self._point_newest()

    def replace_config(self, config: Config, env_steps: int) -> None:
        """From `env_steps` on the run goes on under `config`; the older one is kept beside it."""
        current = self.root / "config.yaml"
        os.replace(current, self.root / f"config_until_{env_steps}.yaml")
        current.write_text(config_to_yaml(config))

    def save(self, payload: dict[str, Any], env_steps: int, keep: int) -> Path:
        """Write the step checkpoint and `latest`; delete step checkpoints beyond the newest `keep`."""
        path = self.checkpoints / f"phase1_step_{env_steps}.pth"
        save_checkpoint(path, payload)
        copy_checkpoint(path, self.checkpoints / LATEST)
        for old in self._step_checkpoints()[:-keep]:
            if old != path:
                old.unlink(missing_ok=True)
        return path

    def write_json(self, name: str, content: dict[str, Any]) -> Path:
        path = self.root / name
        path.write_text(json.dumps(content, indent=2) + "\n")
        return path

    def _step_checkpoints(self) -> list[Path]:
        """Step checkpoints in the order in which they were written: a run that goes on from an earlier
        one keeps what it writes now."""
        found = (p for p in self.checkpoints.iterdir() if _STEP.fullmatch(p.name))
        return sorted(found, key=lambda p: (p.stat().st_mtime_ns, int(p.stem.rsplit("_", 1)[1])))

    def _point_newest(self) -> None:
        """Make `logs/checkpoints` a link to this run's, so that documented paths work."""
        link = self.root.parent / "checkpoints"
        if link.exists() and not link.is_symlink():
            return
        temporary = link.with_name(f".checkpoints.{os.getpid()}")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(Path(self.root.name) / "checkpoints")
        os.replace(temporary, link)


def find_checkpoint(resume: str, log_dir: str) -> Path:
    """The file that `--resume PATH|latest` means; the path may be a run's folder.

    Raises:
        ConfigError: there is no such checkpoint.
    """
    path = Path(log_dir) / "checkpoints" / LATEST if resume == "latest" else Path(resume)
    if path.is_dir():
        path = path / "checkpoints" / LATEST
    if not path.is_file():
        expected = f"a checkpoint file, or 'latest' with a run under {log_dir}/"
        raise ConfigError("--resume", resume, f"{expected} (there is no {path})")
    return path


def _file_name(name: str) -> str:
    """`name` without the characters that separate folders."""
    return re.sub(r"[^\w.-]", "_", name)

"""A run's folder: where its files are, which checkpoints stay, and what a resume finds."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import re
import threading
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from legged_ppo.config.loading import config_to_yaml
from legged_ppo.config.schema import Config
from legged_ppo.errors import ConfigError
from legged_ppo.runs.artifacts import (
    BEST_ARTIFACT,
    LATEST_ARTIFACT,
    download_checkpoint,
    is_artifact,
)
from legged_ppo.runs.checkpoint import copy_checkpoint, save_checkpoint
from legged_ppo.runs.checkpoint_contents import ContentError, check_archive
from legged_ppo.runs.pretrained import PREFIX, pretrained_path
from legged_ppo.runs.provenance import as_comment, provenance

_log = logging.getLogger(__name__)

LATEST, BEST, FINAL = "phase1_latest.pth", "phase1_best.pth", "phase1_final.pth"
_ORDER = "step_checkpoints.json"
"""Names of the step checkpoints in the order in which they were written."""
TO_ACT, TO_RESUME = (BEST, LATEST), (LATEST,)
"""Files of a run in the order in which they are looked for; a run of Phase 2 has phase2_ in their names."""
_TEACHER, _DISTILLED = "teacher.pth", "phase2_distilled.pth"
_STEP = re.compile(r"phase[12]_step_\d+\.pth")


class RunDirectory:
    """`logs/<run>/` with config.yaml, metrics.jsonl, checkpoints/, plots/, videos/, summary.json."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.checkpoints = root / "checkpoints"
        self.metrics = root / "metrics.jsonl"
        self.teacher = root / _TEACHER
        """The checkpoint that a run of Phase 2 learns from; no other run has one."""
        self.distilled = self.checkpoints / _DISTILLED
        """The student of Phase 2 before its fine-tuning."""

    @property
    def latest(self) -> Path:
        """The checkpoint to resume from."""
        return self.checkpoints / self._named(LATEST)

    @property
    def best(self) -> Path:
        """The checkpoint of the highest score."""
        return self.checkpoints / self._named(BEST)

    @property
    def final(self) -> Path:
        """The checkpoint at the end."""
        return self.checkpoints / self._named(FINAL)

    def _named(self, name: str) -> str:
        """The name of a file of Phase 1, as this run has it."""
        return name.replace("phase1", "phase2") if self.teacher.is_file() else name

    @classmethod
    def create(cls, config: Config, recipe: str, teacher: Path | None = None) -> RunDirectory:
        """A new folder under `training.log_dir`, with the config in it.

        Args:
            teacher: checkpoint that a run of Phase 2 learns from, copied into the folder.

        Raises:
            ConfigError: the folder cannot be written.
        """
        log_dir = Path(config.training.log_dir)
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        default = f"{recipe}_{config.subject}_s{config.training.seed}_{stamp}"
        name = _file_name(config.training.run_name or default)
        if name in ("", ".", "..", "checkpoints"):
            expected = "a folder's name other than '.', '..' and 'checkpoints'"
            raise ConfigError("training.run_name", config.training.run_name, expected)
        try:
            root = _new_folder(log_dir, name)
            run = cls(root)
            run.checkpoints.mkdir()
            if teacher is not None:
                copy_checkpoint(teacher, run.teacher)
            (root / "config.yaml").write_text(_config_text(config))
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
        for leftover in [*self.checkpoints.glob(".*.tmp"), *self.root.glob(".*.tmp")]:
            leftover.unlink(missing_ok=True)  # of a run that was killed while it wrote
        if self.metrics.is_file():
            rows = self.metrics.read_text(errors="replace").splitlines()
            kept = [row + "\n" for row in rows if 0 < _iteration_of(row) <= iteration]
            _write_whole(self.metrics, "".join(kept))
        self._point_newest()

    def last_row(self) -> dict[str, Any]:
        """The last whole row of metrics.jsonl; empty where there is none."""
        with contextlib.suppress(OSError):
            for row in reversed(self.metrics.read_text(errors="replace").splitlines()):
                if _iteration_of(row) > 0:
                    return dict(json.loads(row))
        return {}

    def replace_config(self, config: Config, env_steps: int) -> None:
        """Write `config`, which holds from `env_steps` on; the older one is kept beside it."""
        current = self.root / "config.yaml"
        _write_whole(self.root / f"config_until_{env_steps}.yaml", current.read_text())
        _write_whole(current, _config_text(config))

    def save(self, payload: dict[str, Any], env_steps: int, keep: int) -> Path:
        """Write the step checkpoint and `latest`; delete step checkpoints beyond the newest `keep`."""
        path = self.checkpoints / self._named(f"phase1_step_{env_steps}.pth")
        save_checkpoint(path, payload)
        copy_checkpoint(path, self.latest)
        order = [each for each in self.step_checkpoints() if each != path] + [path]
        for old in order[:-keep]:
            old.unlink(missing_ok=True)
        names = [each.name for each in order[-keep:]]
        _write_whole(self.root / _ORDER, json.dumps(names) + "\n")
        return path

    def write_json(self, name: str, content: dict[str, Any]) -> Path:
        path = self.root / name
        _write_whole(path, json.dumps(content, indent=2) + "\n")
        return path

    def step_checkpoints(self) -> list[Path]:
        """Step checkpoints, oldest first, in the recorded order of writing, which does not depend on the clock:
        a run resumed from an earlier checkpoint keeps the new ones. Files without a record come first."""
        recorded: list[Any] = []
        with contextlib.suppress(OSError, ValueError):
            content = json.loads((self.root / _ORDER).read_text())
            recorded = content if isinstance(content, list) else []
        found = [p for p in self.checkpoints.iterdir() if _STEP.fullmatch(p.name)]
        places = {str(name): place for place, name in enumerate(recorded)}
        return sorted(found, key=lambda p: (places.get(p.name, -1), int(p.stem.rsplit("_", 1)[1])))

    def _point_newest(self) -> None:
        """Make `logs/checkpoints` a link to this run's, so that documented paths work."""
        link = self.root.parent / "checkpoints"
        if link.exists() and not link.is_symlink():
            return
        temporary = link.with_name(f".checkpoints.{os.getpid()}.{threading.get_ident()}")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(Path(self.root.name) / "checkpoints")
        os.replace(temporary, link)


def find_checkpoint(
    name: str | Path, log_dir: str, option: str = "--checkpoint", names: Sequence[str] = TO_ACT
) -> Path:
    """The checkpoint that a user names: a file, a run's folder, its checkpoints/, `latest`,
    `pretrained:NAME`, `wandb:entity/project/run` or `trackio:project/run`.

    Args:
        name: `latest` is the newest run under `log_dir`.
        option: names the input in the error.
        names: files that are looked for in a folder, the preferred one first.

    Raises:
        ConfigError: there is no such file.
    """
    if str(name).startswith(PREFIX):
        return pretrained_path(str(name), option)
    if is_artifact(str(name)):
        kind = LATEST_ARTIFACT if names == TO_RESUME else BEST_ARTIFACT
        return download_checkpoint(str(name), kind, Path(log_dir) / "downloads", option)
    path = (Path(log_dir) / "checkpoints").resolve() if str(name) == "latest" else Path(name)
    if path.is_file():
        return path
    if (path / "checkpoints").is_dir():
        path = path / "checkpoints"
    names = [RunDirectory(path.resolve().parent)._named(each) for each in names]
    wanted = [path / each for each in names]
    found = [each for each in wanted if each.is_file()]
    if path.is_dir():
        found += reversed(RunDirectory(path.resolve().parent).step_checkpoints())
    if found:
        return _first_intact(found, wanted)
    expected = f"a checkpoint file, a run's folder, or 'latest' with a run under {log_dir}/"
    missing = f"{' or '.join(names)} in {path}" if path.is_dir() else path
    raise ConfigError(option, str(name), f"{expected} (there is no {missing})")


def _first_intact(found: Sequence[Path], wanted: Sequence[Path]) -> Path:
    """The first checkpoint that is not damaged, with a line where that is none of `wanted`.

    The first of all where every one is damaged: `load_checkpoint` reports it.
    """
    damages: list[str] = []
    for path in found:
        try:
            check_archive(path)
        except ContentError as error:
            damages.append(f"{path}: {error}")
            continue
        if damages or path not in wanted:
            reason = damages[0] if damages else f"there is no {wanted[-1]}"
            _log.warning("%s; the newest intact one is %s", reason, path)
        return path
    return found[0]


def _config_text(config: Config) -> str:
    """A recipe of the resolved config, headed by the origin of the run."""
    return as_comment(provenance()) + config_to_yaml(config)


def _new_folder(parent: Path, name: str) -> Path:
    """A folder that this call made, `name` or `name_2` and so on: runs may start in the same instant."""
    parent.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        folder = parent / (name if number == 1 else f"{name}_{number}")
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            return folder
    raise AssertionError("the numbers do not end")


def _iteration_of(row: str) -> int:
    """The iteration of a row of metrics.jsonl; 0 for a row that is damaged."""
    with contextlib.suppress(ValueError, RecursionError):
        content = json.loads(row)
        if isinstance(content, dict) and type(content.get("iteration")) is int:
            return int(content["iteration"])
    return 0


def _write_whole(path: Path, text: str) -> None:
    """Replace the text of `path`, whole or not at all.

    Raises:
        OSError: the disk is full or not writable; an older file at `path` is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(f"cannot write {path}: {error}") from error


def _file_name(name: str) -> str:
    """`name` without the characters that separate folders."""
    return re.sub(r"[^\w.-]", "_", name)

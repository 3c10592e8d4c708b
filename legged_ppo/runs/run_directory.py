"""A run's folder: where its files are, which checkpoints stay, and what a resume finds."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import re
import shutil
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
from legged_ppo.runs.checkpoint_contents import ContentError, check_archive, stored_config
from legged_ppo.runs.listing import last_row
from legged_ppo.runs.pretrained import PREFIX, pretrained_path
from legged_ppo.runs.provenance import as_comment, provenance
from legged_ppo.runs.whole_file import write_whole, writing

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
        """A new folder under `training.log_dir`, with the config in it; nothing is left where that fails.

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
        root: Path | None = None
        try:
            root = _new_folder(log_dir, name)
            run = cls(root)
            run.checkpoints.mkdir()
            if teacher is not None:
                copy_checkpoint(teacher, run.teacher)
            write_whole(root / "config.yaml", _config_text(config))
            run._point_newest()
        except OSError as error:
            if root is not None:
                shutil.rmtree(root, ignore_errors=True)
            reason = error.strerror or error
            expected = f"a folder that can be written ({reason})"
            raise ConfigError("training.log_dir", str(log_dir), expected) from None
        return run

    @classmethod
    def of_checkpoint(cls, path: Path) -> RunDirectory | None:
        """The run that a checkpoint lies in, or None for a file that was moved elsewhere."""
        folder = path.resolve().parent
        if folder.name == "checkpoints" and (folder.parent / "config.yaml").is_file():
            return cls(folder.parent)
        return None

    def reopen(self, iteration: int) -> None:
        """Go on after `iteration`: rows that a killed run wrote beyond its checkpoint are dropped.

        Raises:
            WriteError: the folder cannot be written.
        """
        with writing(self.root):
            self.remove_leftovers()
            if self.metrics.is_file():
                rows = self.metrics.read_text(errors="replace").splitlines()
                kept = [row + "\n" for row in rows if 0 < _iteration_of(row) <= iteration]
                write_whole(self.metrics, "".join(kept))
            self._point_newest()

    def remove_leftovers(self) -> None:
        """Remove what was half written when the run was killed or the disk failed."""
        for leftover in [*self.root.glob(".*.tmp"), *self.root.glob("*/.*.tmp")]:
            leftover.unlink(missing_ok=True)

    def last_row(self) -> dict[str, Any]:
        """The last whole row of metrics.jsonl; empty where there is none."""
        return last_row(self.metrics)

    def replace_config(self, config: Config, env_steps: int) -> None:
        """Write `config`, which holds from `env_steps` on; the older one is kept beside it."""
        current = self.root / "config.yaml"
        write_whole(self.root / f"config_until_{env_steps}.yaml", current.read_text())
        write_whole(current, _config_text(config))

    def save(self, payload: dict[str, Any], env_steps: int, keep: int) -> Path:
        """Write the step checkpoint and `latest`; delete step checkpoints beyond the newest `keep`.

        Raises:
            WriteError: the disk is full or not writable; older checkpoints are untouched.
        """
        path = self.checkpoints / self._named(f"phase1_step_{env_steps}.pth")
        with writing(path):
            self.write_checkpoint(path, payload)
            copy_checkpoint(path, self.latest)
            order = [each for each in self.step_checkpoints() if each != path] + [path]
            for old in order[:-keep]:
                old.unlink(missing_ok=True)
            names = [each.name for each in order[-keep:]]
            write_whole(self.root / _ORDER, json.dumps(names) + "\n")
        return path

    def write_checkpoint(self, path: Path, payload: dict[str, Any]) -> None:
        """Write one of the run's checkpoints. A folder that somebody deleted is made again, with the config of
        `payload`.

        Raises:
            WriteError: the disk is full or not writable; an older file at `path` is untouched.
        """
        with writing(path):
            if not self.checkpoints.is_dir():
                _log.warning("%s was deleted; it is made again", self.root)
                self.checkpoints.mkdir(parents=True)
                config = stored_config(payload["config"])
                write_whole(self.root / "config.yaml", _config_text(config))
                self._point_newest()
            self.remove_leftovers()
            save_checkpoint(path, payload)

    def write_json(self, name: str, content: dict[str, Any]) -> Path:
        path = self.root / name
        write_whole(path, json.dumps(content, indent=2) + "\n")
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
        temporary = self.root / f".newest.{os.getpid()}.tmp"
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


def _file_name(name: str) -> str:
    """`name` without the characters that separate folders."""
    return re.sub(r"[^\w.-]", "_", name)

"""The state of runs, read from their folders in milliseconds: neither torch nor a checkpoint is loaded."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from legged_ppo.runs.failure import failure_line
from legged_ppo.runs.run_lock import is_locked

STATES = ("running", "finished", "failed", "stopped", "killed", "empty")
BEST_FIGURES = "best.json"
"""File of a run folder with step, score and figures of its best checkpoint."""
_TAIL = 2**16
"""Bytes at the end of metrics.jsonl in which its last whole row is looked for first."""
_TOTAL = re.compile(r"^  total_timesteps: (\d+)$", re.MULTILINE)
_SUCCESS, _RETURN = "Eval/success_rate", "Eval/mean_return"


@dataclass(frozen=True)
class RunState:
    """What `legged-ppo runs` shows of a run."""

    root: Path
    state: str
    """One of STATES: `failed` with an error; `stopped` by Ctrl-C or SIGTERM, its state saved; `killed` with rows
    after its last checkpoint; `empty` without a row."""
    env_steps: int
    total_steps: int | None
    """Of the recipe."""
    best: dict[str, float]
    """`Eval/` figures of the best checkpoint, where they are known; of an older run the highest ones."""
    size: int
    """Bytes of the folder."""
    updated: float
    """Time of the last row, s since the epoch."""
    row: dict[str, Any]
    """The last whole row of metrics.jsonl; empty without one."""
    failure: str
    """One line; empty unless `failed`."""

    @property
    def name(self) -> str:
        return self.root.name

    @property
    def success(self) -> float | None:
        """Success rate of the best checkpoint in evaluation."""
        return self.best.get(_SUCCESS)

    @property
    def mean_return(self) -> float | None:
        """Mean return of the best checkpoint in evaluation, of tasks that are judged by it."""
        return self.best.get(_RETURN)


def list_runs(log_dir: Path) -> list[RunState]:
    """The runs in `log_dir`, the one with the newest row last.

    Raises:
        OSError: it is not a folder that can be read.
    """
    found = [read_state(folder) for folder in sorted(log_dir.iterdir()) if is_run(folder)]
    return sorted(found, key=lambda run: run.updated)


def is_run(folder: Path) -> bool:
    """Whether a run has begun in this folder."""
    return not folder.is_symlink() and (folder / "config.yaml").is_file()


def read_state(root: Path) -> RunState:
    """The state of the run in the folder `root`, whatever of it there is."""
    row, failure = last_row(root / "metrics.jsonl"), failure_line(root)
    env_steps = int(row.get("env_steps") or 0)
    return RunState(
        root=root,
        state=_state(root, env_steps, failure),
        env_steps=env_steps,
        total_steps=_total_steps(root),
        best=best_figures(root),
        size=sum(entry.stat(follow_symlinks=False).st_size for entry in _files(root)),
        updated=_updated(root),
        row=row,
        failure=failure,
    )


def last_row(path: Path) -> dict[str, Any]:
    """The last whole row of a metrics.jsonl; empty where there is none."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        for start in sorted({max(0, end - _TAIL), 0}, reverse=True):
            file.seek(start)
            lines = file.read().splitlines()[start > 0 :]  # the first may have lost its head
            for line in reversed(lines):
                with contextlib.suppress(ValueError, RecursionError):
                    row = json.loads(line)
                    if isinstance(row, dict) and type(row.get("iteration")) is int:
                        return row
    return {}


def best_figures(root: Path) -> dict[str, float]:
    """`Eval/` figures of the best checkpoint: of best.json, else the highest success rate and return in
    metrics.jsonl."""
    best = read_json(root / BEST_FIGURES)
    if isinstance(figures := best.get("figures"), dict):
        return {k: float(v) for k, v in figures.items() if isinstance(v, (int, float))}
    found = {}
    with contextlib.suppress(OSError):
        text = (root / "metrics.jsonl").read_bytes()
        for key in (_SUCCESS, _RETURN):
            values = re.findall(rb'"%s": (-?[\d.]+(?:e[+-]?\d+)?)' % key.encode(), text)
            if values:
                found[key] = max(map(float, values))
    return found


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where it is missing or damaged."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        content = json.loads(path.read_text())
        if isinstance(content, dict):
            return content
    return {}


def _state(root: Path, env_steps: int, failure: str) -> str:
    if is_locked(root):
        return "running"
    if failure:
        return "failed"
    summary = read_json(root / "summary.json")
    if summary and summary.get("env_steps") == env_steps:
        return "finished"
    if not env_steps:
        return "empty"
    saved = any((root / "checkpoints").glob(f"phase[12]_step_{env_steps}.pth"))
    return "stopped" if saved else "killed"


def _total_steps(root: Path) -> int | None:
    with contextlib.suppress(OSError):
        found = _TOTAL.search((root / "config.yaml").read_text(errors="replace"))
        return int(found[1]) if found else None
    return None


def _updated(root: Path) -> float:
    for name in ("metrics.jsonl", "config.yaml"):
        with contextlib.suppress(OSError):
            return (root / name).stat().st_mtime
    return 0.0


def _files(folder: Path) -> Iterator[os.DirEntry[str]]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(Path(entry.path))
            else:
                yield entry

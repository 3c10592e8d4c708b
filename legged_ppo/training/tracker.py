"""The dashboard of a run beside TensorBoard: wandb, or trackio, which has the same calls and is local.

A thread of its own makes the calls: a service that raises, hangs or is not reached never ends a training.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import os
import re
import secrets
import signal
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from legged_ppo.config.schema import Config
from legged_ppo.errors import UsageError
from legged_ppo.runs.artifacts import BEST_ARTIFACT, LATEST_ARTIFACT, artifact_name
from legged_ppo.runs.pretrained import save_policy_alone
from legged_ppo.runs.run_directory import RunDirectory
from legged_ppo.runtime.background import BackgroundCalls
from legged_ppo.training.wandb_account import automatic_mode

_log = logging.getLogger(__name__)

PATIENCE_S = 300.0
"""For uploads at the end of a run."""
_INIT_TIMEOUT_S = 30.0
"""For the connection at its start."""
_SILENT_S = 3.0
"""Of that, before a line says that the run waits."""
_ID = "wandb_id.txt"
"""File of a run folder with the id of its run in the tracker."""


def check_tracker(config: Config) -> None:
    """Refuse a tracker that is not installed, before a run begins.

    Raises:
        UsageError: it is not.
    """
    kind = config.training.tracker
    if kind != "none" and importlib.util.find_spec(kind) is None:
        hint = f"install it: pip install -c constraints.txt -e '.[{kind}]'"
        raise UsageError(f"training.tracker={kind} needs {kind}", hint)


class Tracker:
    """The run of a run folder in `training.tracker`; a resumed run goes on in the same one.

    Args:
        root: the run's folder. wandb's local files go into it, trackio's to TRACKIO_DIR.
    """

    def __init__(self, root: Path, config: Config) -> None:
        self._root, self._config = root, config
        self._mode = _mode_of(config)
        self._kind = config.training.tracker if self._mode != "disabled" else "none"
        self._calls = None if self._kind == "none" else BackgroundCalls(self._kind)
        self._module: Any = None
        self._run: Any = None
        self._finished = False
        self._uploaded: dict[str, int] = {}
        """Times of modification of the checkpoints that were uploaded [ns]"""
        if self._calls is not None:
            self._calls.submit(self._start)

    def log(self, values: Mapping[str, float | np.ndarray], env_steps: int) -> None:
        """Show numbers, and images [height, width, 3] uint8."""

        def log() -> None:
            images = {k: self._module.Image(v) for k, v in values.items() if np.ndim(v)}
            self._run.log({**values, **images}, step=env_steps)

        self._submit(log)

    def log_report(
        self,
        columns: Sequence[str],
        cells: Sequence[Sequence[str]],
        plots: Mapping[str, Path],
        video: Path,
        env_steps: int,
    ) -> None:
        """Show the evaluation's table, the plots and, where it exists, the video."""

        def log() -> None:
            shown: dict[str, Any] = {n: self._module.Image(str(p)) for n, p in plots.items()}
            table = self._module.Table(columns=list(columns), data=[list(row) for row in cells])
            shown["Evaluation"] = table
            if video.is_file():
                shown["Video/best"] = self._module.Video(str(video), format="mp4")
            self._run.log(shown, step=env_steps)

        self._submit(log)

    def log_checkpoints(self, run: RunDirectory, env_steps: int) -> None:
        """Keep a new best policy as an artifact, and the latest checkpoint where the recipe asks for all."""
        chosen = self._config.training.tracker_checkpoints
        if chosen in ("best", "all"):
            self._submit(partial(self._upload_policy, run.best, env_steps))
        if chosen == "all":
            self._submit(partial(self._upload, LATEST_ARTIFACT, run.latest, env_steps))

    def finish(self) -> None:
        """End the run in the tracker after what is still to be sent; waits `PATIENCE_S` for it at most."""
        if self._calls is None:
            return
        calls, self._calls = self._calls, None
        calls.submit(self._finish)
        done = calls.wait(min(_SILENT_S, PATIENCE_S))
        if not done:
            _log.info("waiting for %s, at most %g s", self._kind, PATIENCE_S)
            done = calls.wait(PATIENCE_S)
        calls.close()
        if not done:
            _log.warning("%s does not answer: left without its last data", self._kind)
        if self._kind == "wandb" and self._run is not None and not self._finished:
            _end_wandb_service(self._module)
            self._print_sync()

    def _submit(self, call: Callable[[], None]) -> None:
        if self._calls is not None:
            self._calls.submit(lambda: None if self._run is None else call())

    def _start(self) -> None:
        module = importlib.import_module(self._kind)
        start = self._start_wandb if self._kind == "wandb" else self._start_trackio
        self._run, self._module = start(module), module

    def _start_wandb(self, wandb: Any) -> Any:
        """A run that the caller has opened is used as it is."""
        init = partial(
            wandb.init,
            project=self._config.training.wandb_project,
            name=self._root.name,
            id=_run_id(self._root),
            dir=str(self._root),
            resume="allow",
            settings=wandb.Settings(init_timeout=_INIT_TIMEOUT_S, silent=True, console="off"),
        )
        try:
            run = init(mode=self._mode)
        except Exception as error:
            if self._mode == "offline":
                raise
            _log.warning("wandb is offline from here on: %s", " ".join(str(error).split()))
            self._mode = "offline"
            wandb.teardown()  # its process keeps the id of the attempt
            run = init(mode="offline")
        run.config.update(asdict(self._config), allow_val_change=True)
        return run

    def _start_trackio(self, trackio: Any) -> Any:
        return trackio.init(
            project=self._config.training.wandb_project,
            name=_run_id(self._root),
            config=asdict(self._config),
            resume="allow",
            embed=False,
        )

    def _upload_policy(self, best: Path, env_steps: int) -> None:
        if not best.is_file() or self._is_uploaded(best):
            return
        with tempfile.TemporaryDirectory() as folder:
            alone = Path(folder) / best.name
            save_policy_alone(best, alone)
            self._upload(BEST_ARTIFACT, alone, env_steps)

    def _is_uploaded(self, path: Path) -> bool:
        time = path.stat().st_mtime_ns
        before = self._uploaded.get(path.name)
        self._uploaded[path.name] = time
        return before == time

    def _upload(self, kind: str, path: Path, env_steps: int) -> None:
        artifact = self._module.Artifact(artifact_name(_run_id(self._root), kind), type="model")
        artifact.add_file(str(path))
        self._run.log_artifact(artifact, aliases=[f"step-{env_steps}"])

    def _finish(self) -> None:
        if self._run is None:
            return
        if self._kind == "trackio" or self._run.id == _run_id(self._root):
            self._run.finish()  # a run that the caller opened stays open
        self._finished = True
        if self._mode == "offline":
            self._print_sync()

    def _print_sync(self) -> None:
        _log.info("wandb: upload this run with: wandb sync %s", self._root / "wandb")


def _run_id(root: Path) -> str:
    """The id of this run folder, drawn once, so that runs of one name on several machines differ."""
    path = root / _ID
    if not path.exists():
        path.write_text(f"{re.sub(r'[^A-Za-z0-9_.-]', '_', root.name)}-{secrets.token_hex(4)}")
    return path.read_text()


def _mode_of(config: Config) -> str:
    """online, offline or disabled."""
    training = config.training
    if training.tracker != "wandb":
        return "disabled" if training.tracker == "none" else "online"
    if training.wandb != "auto":
        return training.wandb
    return automatic_mode()


def _end_wandb_service(wandb: Any) -> None:
    """Kill wandb's process, a child of this one, for which the interpreter would wait at its exit."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            named, _, rest = stat.read_text().rpartition(")")
            if named.endswith("(wandb-core") and int(rest.split()[1]) == os.getpid():
                os.kill(int(stat.parent.name), signal.SIGKILL)
    # This alone removes wandb's exit handler. The connection is broken: it raises, or exits with the killed code.
    with contextlib.suppress(Exception, SystemExit):
        wandb.teardown()

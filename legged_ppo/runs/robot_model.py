"""The robot's model in a checkpoint: its MJCF and the files that it refers to.

With it a policy can be evaluated, and its run resumed, on a machine that lacks the robot's files. The origin
of a stored model is unknown: its size is bounded, and a separate process compiles it first.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import torch

from legged_ppo.config.schema import Config
from legged_ppo.robots.spec import mjcf_path
from legged_ppo.runs.checkpoint_contents import MODEL_BYTES, MODEL_FILES, ContentError
from legged_ppo.runtime.user_cache import user_cache

_log = logging.getLogger(__name__)

RobotModel = dict[str, Any]
"""`main`: name of the MJCF; `files`: content by name relative to their common folder, [bytes] uint8."""

_COMPILE_TIMEOUT, _COMPILE_MEMORY = 60, 8 * 2**30
"""Seconds and bytes that a model may take to compile."""
_COMPILE = f"""
import resource, sys
from pathlib import Path
import mujoco
resource.setrlimit(resource.RLIMIT_AS, ({_COMPILE_MEMORY}, {_COMPILE_MEMORY}))
main, folder = sys.argv[1:]
try:
    for name in mujoco.mju_getXMLDependencies(main):
        if not Path(name).resolve().is_relative_to(Path(folder).resolve()):
            sys.exit(f"it reads {{name}}, which is not in it")
    mujoco.MjModel.from_xml_path(main)
except Exception as error:
    sys.exit(" ".join(str(error).split()))
"""
"""Code of the separate process: the model may crash it, hang it or exhaust its memory."""


def read_model(config: Config) -> RobotModel | None:
    """The files of `robot.mjcf`; None where they cannot be read or are too large."""
    main = mjcf_path(config.robot.mjcf)
    if not main.is_file():
        return None
    try:
        paths = [
            Path(name).resolve() for name in mujoco.mju_getXMLDependencies(str(main.resolve()))
        ]
        size = sum(path.stat().st_size for path in paths)
        if size > MODEL_BYTES or len(paths) > MODEL_FILES:
            _log.warning(
                "checkpoints do not hold the robot: %d files of %.0f MB in all, at most %d of %d MB fit",
                *(len(paths), size / 2**20, MODEL_FILES, MODEL_BYTES // 2**20),
            )
            return None
        folder = os.path.commonpath([path.parent for path in paths])
        files = {
            path.relative_to(folder).as_posix(): _as_tensor(path.read_bytes()) for path in paths
        }
    except (OSError, ValueError, mujoco.FatalError):
        return None
    return {"main": main.resolve().relative_to(folder).as_posix(), "files": files}


def same_model(a: RobotModel | None, b: RobotModel | None) -> bool:
    """Whether both are given and equal in every byte."""
    if a is None or b is None or a["main"] != b["main"] or a["files"].keys() != b["files"].keys():
        return False
    return all(torch.equal(content, b["files"][name]) for name, content in a["files"].items())


def with_stored_model(config: Config, checkpoint: dict[str, Any], path: str | Path) -> Config:
    """`config`, with `robot.mjcf` naming files that hold the checkpoint's model.

    Unchanged where the named file holds it, where the checkpoint holds none, and where `config` names
    another robot than the checkpoint's own config. Otherwise the model is unpacked into the user's cache
    folder.

    Raises:
        ContentError: the stored model does not compile.
    """
    stored, named = checkpoint.get("robot_model"), config.robot.mjcf
    if stored is None:
        return config
    found = read_model(config)
    if same_model(found, stored) or named != checkpoint["config"]["robot"]["mjcf"]:
        return config
    if found is not None:
        _log.warning("robot.mjcf: %s differs from the model in %s, which is used", named, path)
    return replace(config, robot=replace(config.robot, mjcf=str(_unpacked(stored))))


def _unpacked(model: RobotModel) -> Path:
    """Path of the MJCF in a folder of the user's cache that is named after the content."""
    digest = hashlib.sha256(repr(model["main"]).encode())
    for name, content in sorted(model["files"].items()):
        digest.update(repr((name, content.numel())).encode() + content.numpy().tobytes())
    folder = _cache() / digest.hexdigest()[:32]
    main = folder / model["main"]
    if _holds(folder, model):
        return main
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        made = Path(temporary) / "model"
        _write(made, model)
        _check_compiles(made / model["main"], made)
        shutil.rmtree(folder, ignore_errors=True)
        try:
            made.rename(folder)
        except OSError:
            if not _holds(folder, model):  # else another process was faster
                raise
    return main


def _cache() -> Path:
    """A folder of the user's cache, or a temporary one where that cannot be written."""
    folder = user_cache() / "robots"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return Path(tempfile.mkdtemp(prefix="legged_ppo_"))
    return folder


def _write(folder: Path, model: RobotModel) -> None:
    for name, content in model["files"].items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.numpy().tobytes())
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            raise ContentError(f"robot_model.{name} is a file and a folder"[:200]) from None


def _check_compiles(main: Path, folder: Path) -> None:
    """Compile a model of unknown origin in another process.

    Raises:
        ContentError: it does not compile, or reads files outside its folder.
    """
    command = [sys.executable, "-c", _COMPILE, str(main), str(folder)]
    try:
        done = subprocess.run(
            command, cwd=folder.parent, capture_output=True, text=True, timeout=_COMPILE_TIMEOUT
        )
    except subprocess.TimeoutExpired:
        reason = f"its robot model does not compile within {_COMPILE_TIMEOUT} s"
        raise ContentError(reason) from None
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["the compiler crashed"])[-1]
        raise ContentError(f"its robot model does not compile ({reason[:200]})")


def _holds(folder: Path, model: RobotModel) -> bool:
    """Whether the folder has every file of the model, byte for byte."""
    try:
        return all(
            (folder / name).read_bytes() == content.numpy().tobytes()
            for name, content in model["files"].items()
        )
    except OSError:
        return False


def _as_tensor(content: bytes) -> torch.Tensor:
    """[bytes] uint8"""
    return torch.from_numpy(np.frombuffer(content, dtype=np.uint8).copy())

"""Object code on disk, keyed by everything that it depends on."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from pathlib import Path

import llvmlite
import llvmlite.binding as llvm

from legged_ppo.sim.simd.program import Program, compile_object, emit
from legged_ppo.sim.simd.readings import Wanted
from legged_ppo.sim.simd.robot import Robot
from legged_ppo.sim.simd.substep import Collide
from legged_ppo.sim.simd.target import Target, cache_folder

_DIGEST = 32
"""Bytes of the SHA-256 in front of the code."""
_LOG = logging.getLogger(__name__)


def load_program(
    robot: Robot, wanted: Wanted, collide: Collide, lanes: int, target: Target
) -> Program:
    """The program of a robot: from the cache, or compiled and put there."""
    key = _key(robot, wanted, collide, lanes, target)
    path = cache_folder() / f"{key}.o"
    code = _read(path)
    if code is None:
        code = compile_object(emit(robot, wanted, collide, lanes, target.triple), target)
        _write(path, code)
    return Program(code, target)


def _key(robot: Robot, wanted: Wanted, collide: Collide, lanes: int, target: Target) -> str:
    """Hash of all that the code depends on: robot, readings, ground, width, CPU, this package's source, LLVM."""
    digest = hashlib.sha256()
    versions = (llvmlite.__version__, llvm.llvm_version_info)
    digest.update(repr((robot, wanted, collide.__name__, lanes, target, versions)).encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:32]


def _read(path: Path) -> bytes | None:
    """The code of a cache file; None if there is none or it is damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    code = content[_DIGEST:]
    return code if hashlib.sha256(code).digest() == content[:_DIGEST] else None


def _write(path: Path, code: bytes) -> None:
    """Write beside and rename: another process sees a whole file or none."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(hashlib.sha256(code).digest() + code)
        os.replace(file.name, path)
    except OSError as error:
        _LOG.warning(
            "sim.engine=simd: %s is not writable (%s), so the physics is compiled at every start; "
            "set XDG_CACHE_HOME to a writable folder",
            path.parent,
            error.strerror,
        )

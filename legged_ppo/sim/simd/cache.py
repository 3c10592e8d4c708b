"""Object code on disk, keyed by everything that it depends on."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import llvmlite
import llvmlite.binding as llvm

from legged_ppo.runtime import object_code
from legged_ppo.runtime.object_code import (
    Target,
    cache_folder,
    compile_object,
    read_object,
    write_object,
)
from legged_ppo.sim.simd.program import Program, emit
from legged_ppo.sim.simd.readings import Wanted
from legged_ppo.sim.simd.robot import Robot
from legged_ppo.sim.simd.substep import Collide

_LOG = logging.getLogger(__name__)


def load_program(
    robot: Robot, wanted: Wanted, collide: Collide, lanes: int, target: Target
) -> Program:
    """The program of a robot: from the cache, or compiled and put there."""
    key = _key(robot, wanted, collide, lanes, target)
    path = cache_folder() / f"{key}.o"
    code = read_object(path)
    if code is None:
        code = compile_object(emit(robot, wanted, collide, lanes, target.triple), target)
        _write(path, code)
    return Program(code, target)


def _key(robot: Robot, wanted: Wanted, collide: Collide, lanes: int, target: Target) -> str:
    """Hash of all that the code depends on: robot, readings, ground, width, CPU, this package's source, LLVM."""
    digest = hashlib.sha256()
    versions = (llvmlite.__version__, llvm.llvm_version_info)
    digest.update(repr((robot, wanted, collide.__name__, lanes, target, versions)).encode())
    sources = [*sorted(Path(__file__).parent.glob("*.py")), Path(object_code.__file__)]
    for source in sources:
        digest.update(source.read_bytes())
    return digest.hexdigest()[:32]


def _write(path: Path, code: bytes) -> None:
    try:
        write_object(path, code)
    except OSError as error:
        _LOG.warning(
            "sim.engine=simd: %s is not writable (%s), so the physics is compiled at every start; "
            "set XDG_CACHE_HOME to a writable folder",
            path.parent,
            error.strerror,
        )

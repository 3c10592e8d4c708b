"""Object code of LLVM IR: compiled once for a CPU, kept on disk, loaded."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm

from legged_ppo.runtime.lanes.target import Target, cache_folder

_DIGEST = 32
"""Bytes of the SHA-256 in front of the code."""
_LOG = logging.getLogger(__name__)


def cached_object(
    content: Iterable[object], sources: Iterable[Path], emit: Callable[[], str], target: Target
) -> bytes:
    """Object code of what `emit` returns, from the cache or put there.

    Args:
        content: what the code depends on besides the CPU and LLVM; told apart by its `repr`.
        sources: files of Python that the code depends on.
        emit: LLVM IR; called where the cache has no code or damaged code.
    """
    digest = hashlib.sha256()
    versions = (llvmlite.__version__, llvm.llvm_version_info)
    digest.update(repr((tuple(content), target, versions)).encode())
    for source in sorted({*sources, *Path(__file__).parent.glob("*.py")}):
        digest.update(source.read_bytes())
    path = cache_folder() / f"{digest.hexdigest()[:32]}.o"
    code = _read(path)
    if code is None:
        code = compile_object(emit(), target)
        _write(path, code)
    return code


def compile_object(text: str, target: Target) -> bytes:
    """Object code of LLVM IR."""
    module = llvm.parse_assembly(text)
    module.verify()
    machine = _target_machine(target)
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    return machine.emit_object(module)


def load_object(code: bytes, target: Target) -> Any:
    """Object code in memory: an engine that knows the addresses of its functions and must outlive them."""
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target_machine(target))
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return engine


def _target_machine(target: Target) -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    chosen = llvm.Target.from_triple(target.triple)
    return chosen.create_target_machine(cpu=target.cpu, features=target.features, opt=2)


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
            "%s is not writable (%s), so code for this CPU is compiled at every start; "
            "set XDG_CACHE_HOME to a writable folder",
            path.parent,
            error.strerror,
        )

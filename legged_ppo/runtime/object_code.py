"""Machine code for this CPU: LLVM IR compiled to object code, kept on disk and loaded; needs LLVM alone."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm

from legged_ppo.runtime.user_cache import user_cache

_DIGEST = 32
"""Bytes of the SHA-256 in front of the code."""


@dataclass(frozen=True)
class Target:
    """The CPU that code is compiled for."""

    cpu: str
    features: str
    triple: str

    @property
    def lanes(self) -> int:
        """float32 numbers in a register: 16 with AVX-512, 8 with AVX, 4 (SSE, NEON)."""
        on = set(self.features.split(","))
        return 16 if "+avx512f" in on else 8 if "+avx" in on else 4


def host() -> Target:
    """This machine."""
    features = llvm.get_host_cpu_features().flatten()
    if "+avx512f" in features.split(","):
        features += (
            ",-prefer-256-bit"  # LLVM's default on CPUs whose clock once fell with wide registers
        )
    return Target(llvm.get_host_cpu_name(), features, llvm.get_default_triple())


def cache_folder() -> Path:
    """Where compiled programs lie; it need not exist."""
    return user_cache() / "simd"


def compile_object(text: str, target: Target) -> bytes:
    """Object code of LLVM IR."""
    module = llvm.parse_assembly(text)
    module.verify()
    machine = _target_machine(target)
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    return machine.emit_object(module)


def _target_machine(target: Target) -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    chosen = llvm.Target.from_triple(target.triple)
    return chosen.create_target_machine(cpu=target.cpu, features=target.features, opt=2)


def load_object(code: bytes, target: Target) -> Any:
    """Object code in memory: an engine that knows the addresses of its functions and must outlive them."""
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target_machine(target))
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return engine


def read_object(path: Path) -> bytes | None:
    """The code of a cache file; None if there is none or it is damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    code = content[_DIGEST:]
    return code if hashlib.sha256(code).digest() == content[:_DIGEST] else None


def write_object(path: Path, code: bytes) -> None:
    """Write beside and rename: another process sees a whole file or none.

    Raises:
        OSError: the folder is not writable.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(hashlib.sha256(code).digest() + code)
    os.replace(file.name, path)

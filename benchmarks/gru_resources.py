"""Registers, shared memory and spills of the GRU's kernels on a GPU, read from what Warp compiles; needs no GPU.

    python benchmarks/gru_resources.py [--hidden 128 96 64] [--arch 90] [--keep FOLDER]

`local` is what a thread keeps in memory because its registers are full. `--keep` leaves the compiled kernels in a
folder, for CUDA's nvdisasm.
"""

from __future__ import annotations

import argparse
import shutil
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import warp as wp

from legged_ppo.models.gru_plan import KernelPlan, kernels_of, suits
from legged_ppo.runtime.fusion.warp_kernel import make_kernel

_FRAME_SIZE, _REGISTERS = 0x11, 0x2F
"""Attributes in a section .nv.info, with a number of 32 bits for each function."""
_WITH_SIZE = 4
"""Format of an attribute that names its size."""
_EMPTY = 8
"""Type of a section without content in the file."""


class Resources(NamedTuple):
    """Of a kernel: registers and bytes of local memory of a thread, bytes of shared memory of a block."""

    registers: int
    local: int
    shared: int


def sections(code: bytes) -> Iterator[tuple[str, bytes, int]]:
    """Name, content and size of each section of a 64-bit ELF file."""
    (table,) = struct.unpack_from("<Q", code, 40)
    size, count, names = struct.unpack_from("<HHH", code, 58)
    headers = [struct.unpack_from("<IIQQQQIIQQ", code, table + i * size) for i in range(count)]
    start = headers[names][4]
    for name, kind, _, _, offset, length, *_ in headers:
        end = code.index(b"\0", start + name)
        content = b"" if kind == _EMPTY else code[offset : offset + length]
        yield code[start + name : end].decode(), content, length


def attributes(info: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and value of each attribute of a section .nv.info."""
    at = 0
    while at < len(info):
        form, number, size = struct.unpack_from("<BBH", info, at)
        at += 4
        if form == _WITH_SIZE:
            yield number, info[at : at + size]
            at += size


def resources(cubin: bytes) -> Resources:
    """Of the only kernel in compiled code."""
    found, shared = {_REGISTERS: 0, _FRAME_SIZE: 0}, 0
    for name, content, size in sections(cubin):
        if name.startswith(".nv.shared"):
            shared += size
        if name == ".nv.info":
            for number, value in attributes(content):
                if number in found:
                    found[number] = max(found[number], struct.unpack_from("<I", value, 4)[0])
    return Resources(found[_REGISTERS], found[_FRAME_SIZE], shared)


def compiled(plan: KernelPlan, arch: int, path: Path) -> Resources:
    """Compile a kernel to this file."""
    threads = plan.geometry.threads
    kernel, _ = make_kernel(plan.source, plan.arguments, plan.name, threads)
    module = kernel.module
    options = module.resolve_options(wp.config, block_dim=threads)
    with tempfile.TemporaryDirectory() as folder:
        module._compile(None, folder, path.name, arch, use_ptx=False, options=options)
        shutil.move(Path(folder) / path.name, path)
    return resources(path.read_bytes())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--hidden", type=int, nargs="+", default=[128, 96, 64])
    parser.add_argument("--arch", type=int, default=90, help="compute capability times ten")
    parser.add_argument("--keep", type=Path, metavar="FOLDER")
    args = parser.parse_args()
    wp.config.log_level = wp.LOG_ERROR
    wp.init()
    print(f"sm_{args.arch}\nhidden  parts  kernel        threads  registers  local  shared  blocks")
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for hidden in args.hidden:
            for parts in (1, 2) if suits(hidden, 2) else (1,):
                for plan in kernels_of(hidden, parts):
                    path = folder / f"{plan.name.removeprefix('gru_')}_{hidden}_{parts}.cubin"
                    own = compiled(plan, args.arch, path)
                    print(
                        f"{hidden:6} {parts:6}  {plan.name:13} {plan.geometry.threads:7} "
                        f"{own.registers:10} {own.local:6} {own.shared:7} {plan.blocks:7}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()

"""Pack what a GPU machine without network needs to run this checkout; needs a network, and no GPU.

    python benchmarks/offline_pack.py FOLDER [--arch 90] [--python-version 3.12] [--limit 64] [--more rsl-rl-lib]

The GPU machine is Linux on x86-64 with PyTorch for CUDA, tensorboard, rich, matplotlib, imageio, pillow and
packaging. FOLDER gets the rest:

    site.tar.xz     packages from the index in the versions that are installed here, without their tests
    warp.so.xz      Warp's library with the device code of one kind of GPU
    cache.tar.xz    the kernels of MuJoCo Warp, compiled for it (`compile_kernels.py`, whose options these are)
    project.tar.xz  the last commit; what is not committed is named and left out
    setup.sh        unpacks all that, once, and goes to the project: `. FOLDER/setup.sh` begins every session

A training on a GPU imports neither llvmlite nor wandb, and they are not in the pack. Building takes some seven
minutes of one core, most of them for the compression of the library; `--preset 6` is faster and its files are
larger. The exit code is 1 if the pack is larger than `--limit` [MiB].
"""

from __future__ import annotations

import argparse
import contextlib
import io
import lzma
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from slim_library import slim

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("mujoco", "mujoco-warp", "warp-lang", "hydra-core", "omegaconf")
"""Taken without their dependencies: those that the GPU machine has would not fit."""
BESIDE = {
    "mujoco": ("mujoco-core",),
    "hydra-core": ("antlr4-python3-runtime",),
    "rsl-rl-lib": ("tensordict", "pyvers", "gitpython", "gitdb", "smmap"),
}
"""Dependencies that it lacks too."""
FROM_SOURCE = {"antlr4-python3-runtime"}
"""Pure Python, without a wheel on the index."""
GLIBC = ("2_28", "2_27", "2_24", "2_17", "2_12", "2_5")
LIBRARY = "warp/bin/warp.so"
NOT_NEEDED = re.compile(
    rf"{re.escape(LIBRARY)}$"  # it is packed alone
    r"|warp/bin/warp-clang\.so$"  # compiles kernels for CPUs
    r"|warp/(examples|tests)/"
    r"|mujoco/(testdata|sysid)/"
    r"|mujoco_warp/test_data/|mujoco_warp/.*_test\.py$"
)
_MIB = 2**20
_BLOCK = 2**24
_DICTIONARY = 2**27
"""Of xz: this and its filter for x86 code save a tenth of the library against the defaults."""


def package_names(more: Sequence[str]) -> list[str]:
    """The packages and, after each, what it needs beside them."""
    return [name for each in (*PACKAGES, *more) for name in (each, *BESIDE.get(each, ()))]


def requirement(name: str) -> str:
    """The version that is installed here, for which the kernels are compiled; else the newest."""
    try:
        return f"{name}=={metadata.version(name)}"
    except metadata.PackageNotFoundError:
        return name


def download(names: Sequence[str], python_version: str, to: Path) -> list[Path]:
    """Wheels for that version of CPython."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    target = [f"--python-version={python_version}", "--implementation=cp"]
    target += [f"--platform=manylinux_{version}_x86_64" for version in GLIBC]
    target += ["--platform=manylinux2014_x86_64"]
    options = ["-qq", "--no-deps", "--only-binary=:all:", *target, "-d", str(to)]
    wheels = [requirement(name) for name in names if name not in FROM_SOURCE]
    subprocess.run([*pip, "download", *options, *wheels], check=True)
    build = ["-qq", "--no-deps", "-w", str(to)]
    for name in FROM_SOURCE & set(names):
        subprocess.run([*pip, "wheel", *build, requirement(name)], check=True)
    return sorted(to.glob("*.whl"))


def pack_site(wheels: Sequence[Path], to: Path, preset: int) -> None:
    """The files of the wheels, where an installer would put them."""
    with xz_tar(to, preset) as tar:
        for wheel in wheels:
            with zipfile.ZipFile(wheel) as archive:
                for item in archive.infolist():
                    if not item.is_dir() and not NOT_NEEDED.search(item.filename):
                        name = re.sub(r"^[^/]+\.data/(purelib|platlib)/", "", item.filename)
                        add(tar, name, archive.read(item))


def pack_library(wheels: Sequence[Path], to: Path, arch: int | None, preset: int) -> None:
    """Warp's library; None keeps the device code of every architecture."""
    (wheel,) = (wheel for wheel in wheels if wheel.name.startswith("warp_lang-"))
    with zipfile.ZipFile(wheel) as archive:
        library = bytearray(archive.read(LIBRARY))
    if arch is not None:
        zeroed = slim(library, arch)
        found = f"{zeroed / 1e6:.1f} MB of other architectures left out"
        say(
            found
            if zeroed
            else "no device code found that could be left out: the library stays whole"
        )
    with lzma.open(to, "wb", filters=xz_filters(preset)) as file:
        for start in range(0, len(library), _BLOCK):
            file.write(memoryview(library)[start : start + _BLOCK])


def compile_cache(shape: Sequence[str], folder: Path) -> None:
    """Compile the kernels of `compile_kernels.py` with these options into a folder."""
    command = [sys.executable, str(ROOT / "benchmarks" / "compile_kernels.py"), *shape]
    environment = os.environ | {"WARP_CACHE_PATH": str(folder), "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run(command, check=True, cwd=ROOT, env=environment)


def pack_cache(folder: Path, to: Path, preset: int) -> None:
    """Without sources and intermediates, which are eight times as large and not looked up."""
    with xz_tar(to, preset) as tar:
        for file in sorted(p for p in folder.rglob("*") if p.suffix in (".cubin", ".meta")):
            add(tar, str(file.relative_to(folder)), file.read_bytes())


def pack_project(to: Path, preset: int) -> None:
    """`git archive` of the last commit."""
    git = ["git", "-C", str(ROOT)]
    status = [*git, "status", "--short", "-uno"]
    changed = subprocess.run(status, check=True, capture_output=True, text=True).stdout
    if changed:
        say("not committed, so not in the pack:\n" + changed.rstrip())
    archive = subprocess.run([*git, "archive", "HEAD"], check=True, stdout=subprocess.PIPE)
    to.write_bytes(lzma.compress(archive.stdout, preset=preset))


@contextlib.contextmanager
def xz_tar(to: Path, preset: int) -> Iterator[tarfile.TarFile]:
    with (
        lzma.open(to, "wb", filters=xz_filters(preset)) as file,
        tarfile.TarFile(fileobj=file, mode="w") as tar,
    ):
        yield tar


def xz_filters(preset: int) -> list[dict[str, int]]:
    level = preset | (lzma.PRESET_EXTREME if preset == 9 else 0)
    compressor = {"id": lzma.FILTER_LZMA2, "preset": level, "dict_size": _DICTIONARY}
    return [{"id": lzma.FILTER_X86}, compressor]


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    item = tarfile.TarInfo(name)
    item.size = len(content)
    tar.addfile(item, io.BytesIO(content))


def say(text: str) -> None:
    print(time.strftime("%H:%M:%S"), text, flush=True)


def report(folder: Path, limit: float) -> int:
    """Print the sizes; 1 if the sum is above the limit [MiB]."""
    sizes = {file.name: file.stat().st_size / _MIB for file in sorted(folder.iterdir())}
    for name, size in sizes.items():
        print(f"{size:9.2f} MiB  {name}")
    total = sum(sizes.values())
    print(f"{total:9.2f} MiB  together, of {limit:g}")
    return int(total > limit)


def main(argv: Sequence[str] | None = None) -> int:
    """Build the pack; 1 if it is too large."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--arch", type=int, default=90, help="compute capability times ten")
    parser.add_argument("--python-version", default="3.12", help="of the GPU machine")
    parser.add_argument("--more", default="", help="packages besides, separated by commas")
    parser.add_argument("--whole-library", action="store_true", help="with every architecture")
    parser.add_argument(
        "--skip-cache", action="store_true", help="the GPU machine compiles kernels"
    )
    parser.add_argument("--skip-project", action="store_true", help="the checkout is copied itself")
    parser.add_argument("--terrains", default="full,flat")
    parser.add_argument("--envs", default="2,4096,8192", help="numbers of robots")
    parser.add_argument("--constraints", default="224", help="numbers of constraint rows")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="threads")
    parser.add_argument("--preset", type=int, default=9, help="of xz, 0 to 9")
    parser.add_argument("--limit", type=float, default=64.0, help="MiB")
    arguments = parser.parse_args(argv)
    folder, preset = arguments.folder, arguments.preset
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        say("packages")
        names = package_names([name for name in arguments.more.split(",") if name])
        wheels = download(names, arguments.python_version, Path(scratch, "wheels"))
        pack_site(wheels, folder / "site.tar.xz", preset)
        cache = folder / "cache.tar.xz"
        cache.unlink(missing_ok=True)
        if not arguments.skip_cache:
            say("kernels")
            keys = ("terrains", "envs", "constraints", "arch", "workers")
            shape = [f"--{key}={getattr(arguments, key)}" for key in keys]
            compile_cache(shape, Path(scratch, "cache"))
            pack_cache(Path(scratch, "cache"), cache, preset)
        project = folder / "project.tar.xz"
        project.unlink(missing_ok=True)
        if not arguments.skip_project:
            say("project")
            pack_project(project, preset)
        say("library")
        arch = None if arguments.whole_library else arguments.arch
        pack_library(wheels, folder / "warp.so.xz", arch, preset)
    shutil.copy(ROOT / "benchmarks" / "offline_setup.sh", folder / "setup.sh")
    return report(folder, arguments.limit)


if __name__ == "__main__":
    sys.exit(main())

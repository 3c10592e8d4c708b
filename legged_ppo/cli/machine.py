"""Checks of the machine: CPU, engine, GPU, rendering, memory and disk. Torch is not imported."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from legged_ppo.cli.findings import ABSENT, BROKEN, OK, Finding
from legged_ppo.runtime.cpu import cpu_name, multiplies_bfloat16, usable_cores

_SMALL_DISK, _SMALL_MEMORY = 2e9, 2e9
"""Bytes of free disk and memory below which a run may not last"""
_SMI = ("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
_SMI_TIMEOUT = 5.0
"""s"""
_INSTRUCTIONS = {16: "AVX-512", 8: "AVX", 4: "SSE or NEON"}
"""By float32 numbers in a register."""


def check_cpu() -> list[Finding]:
    """Cores, and the physics engine that they get."""
    bfloat16 = "" if multiplies_bfloat16() else "; ppo.precision=bfloat16 would be slow"
    count = usable_cores()
    cores = "1 core" if count == 1 else f"{count} cores"
    return [Finding("cpu", OK, f"{cpu_name()}, {cores}{bfloat16}"), *_check_engine()]


def check_gpu() -> list[Finding]:
    """Whether `--device auto` finds a GPU that torch and MuJoCo Warp can use, as far as versions say."""
    gpus = _gpus()
    if not gpus:
        return [Finding("gpu", ABSENT, "no NVIDIA GPU or driver: --device auto is the CPU")]
    driver, built = _driver_cuda(), _torch_cuda()
    names = "; ".join(gpus)
    if built is None:
        remedy = "install a build of torch for CUDA (pytorch.org), then '.[gpu]'"
        return [Finding("gpu", ABSENT, f"{names}: this torch is built without CUDA", remedy)]
    if driver is not None and driver < (built[0], 0):
        text = f"{names}: torch is built for CUDA {_dotted(built)}, the driver is for {_dotted(driver)}"
        return [Finding("gpu", ABSENT, text, "install a newer driver or an older build of torch")]
    if importlib.util.find_spec("mujoco_warp") is None:
        remedy = "pip install -c constraints.txt -e '.[gpu]'"
        return [Finding("gpu", ABSENT, f"{names}: MuJoCo Warp is not installed", remedy)]
    version = "" if driver is None else f", driver for CUDA {_dotted(driver)}"
    return [Finding("gpu", OK, f"{names}{version}; torch is built for CUDA {_dotted(built)}")]


def check_rendering() -> list[Finding]:
    """What videos, pictures and the window need."""
    from legged_ppo.viewer.gl_backend import NO_BACKEND, has_display, working_backends

    found = working_backends()
    what, _, remedy = NO_BACKEND.partition("; ")
    rendering = (
        Finding("rendering", OK, f"videos by {found[0]}")
        if found
        else Finding("rendering", ABSENT, what, remedy)
    )
    window = (
        Finding("window", OK, "a display: play.py opens a window")
        if has_display(os.environ)
        else Finding("window", ABSENT, "no display", "play.py --viewer web, or --video FILE.mp4")
    )
    return [rendering, _check_encoder(), window]


def check_storage(log_dir: Path) -> list[Finding]:
    """Memory, and the disk of the runs."""
    return [_check_memory(), _check_disk(log_dir)]


def _check_engine() -> list[Finding]:
    """Width of the SIMD engine on this CPU, and its compiled programs on disk."""
    try:
        from legged_ppo.runtime.lanes.target import cache_folder, host

        target = host()
    except (ImportError, OSError, RuntimeError) as error:
        line = " ".join(str(error).split())
        text = f"simd does not work here ({line}); sim.engine=mujoco_c does"
        return [Finding("engine", ABSENT, text, "pip install -c constraints.txt -e .")]
    text = (
        f"sim.engine=auto trains in simd, {target.lanes} robots at a time "
        f"({_INSTRUCTIONS[target.lanes]}, {target.cpu}), and evaluates in mujoco_c"
    )
    return [Finding("engine", OK, text), _check_cache(cache_folder())]


def _check_cache(folder: Path) -> Finding:
    programs = list(folder.glob("*.o"))
    size = sum(path.stat().st_size for path in programs) / 1e6
    text = f"{folder}: {len(programs)} compiled programs, {size:.1f} MB"
    if _writable(folder):
        return Finding("cache", OK, text)
    remedy = "set XDG_CACHE_HOME to a folder that can be written; each start compiles until then"
    return Finding("cache", ABSENT, f"{folder} cannot be written", remedy)


def _check_encoder() -> Finding:
    """ffmpeg, which writes videos."""
    import imageio_ffmpeg

    try:
        return Finding("encoder", OK, imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        remedy = "pip install imageio-ffmpeg, or apt-get install ffmpeg"
        return Finding("encoder", ABSENT, " ".join(str(error).split()), remedy)


def _check_memory() -> Finding:
    available = _available_memory()
    text = f"{available / 2**30:.1f} GB available"
    if available < _SMALL_MEMORY:
        return Finding("memory", ABSENT, text, "lower training.num_envs, or end other programs")
    return Finding("memory", OK, text)


def _check_disk(log_dir: Path) -> Finding:
    place = _existing(log_dir)
    free = shutil.disk_usage(place).free
    text = f"{free / 1e9:.1f} GB free for {log_dir}"
    if not _writable(log_dir):
        remedy = "training.log_dir=DIR with a folder that can be written"
        return Finding("disk", BROKEN, f"{place} cannot be written", remedy)
    if free < _SMALL_DISK:
        return Finding("disk", ABSENT, text, "free some, or training.log_dir=DIR on another disk")
    return Finding("disk", OK, text)


def _available_memory() -> float:
    """Bytes that a new program can have: the system's, or the container's limit where that is lower."""
    found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    available = 1024.0 * int(found[1]) if found else 0.0
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        return min(available, int(limit) - used)
    except (OSError, ValueError):  # no container, or "max"
        return available


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    folder = folder.absolute()
    return next(each for each in (folder, *folder.parents) if each.is_dir())


def _writable(folder: Path) -> bool:
    """Whether the folder, which need not exist, can be written."""
    try:
        tempfile.TemporaryFile(dir=_existing(folder)).close()
    except OSError:
        return False
    return True


def _gpus() -> list[str]:
    """Name, memory and driver of each GPU; empty without a driver that answers."""
    try:
        result = subprocess.run(_SMI, capture_output=True, text=True, timeout=_SMI_TIMEOUT)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return result.stdout.strip().splitlines() if result.returncode == 0 else []


def _driver_cuda() -> tuple[int, int] | None:
    """The newest CUDA that the driver supports."""
    number = ctypes.c_int()
    try:
        if ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(number)):
            return None
    except OSError:
        return None
    return number.value // 1000, number.value % 1000 // 10


def _torch_cuda() -> tuple[int, int] | None:
    """The CUDA that the installed torch is built for, read from its source."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    text = Path(spec.origin).with_name("version.py").read_text()
    found = re.search(r"^cuda\b.*=\s*'(\d+)\.(\d+)", text, re.MULTILINE)
    return (int(found[1]), int(found[2])) if found else None


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))

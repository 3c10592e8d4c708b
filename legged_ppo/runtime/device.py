"""The device that `--device` names on this machine."""

from __future__ import annotations

import importlib.util
import logging
import os
import warnings
from collections.abc import Iterable
from pathlib import Path

import torch

from legged_ppo.errors import ConfigError
from legged_ppo.runtime import distributed

_log = logging.getLogger(__name__)

_CHOICES = ["auto", "cpu", "cuda:0"]


def find_device(name: str, physics: bool = True) -> torch.device:
    """The device of that name; `auto` is an NVIDIA GPU where one can be used, else the CPU, with a line that
    says why if there is a GPU.

    Under torchrun `auto` and `cuda` are each process's own GPU.

    Args:
        physics: whether MuJoCo Warp is to run there as well.

    Raises:
        ConfigError: the name is no device, or this machine cannot use it.
    """
    if name == "cpu":
        return torch.device("cpu")
    kind, _, index = name.partition(":")
    if name != "auto" and (kind != "cuda" or not (index == "" or index.isdecimal())):
        raise ConfigError("--device", name, "auto, cpu or cuda:N", choices=_CHOICES)
    number = int(index) if index else distributed.local_rank()
    obstacle = _torch_obstacle() or (_warp_obstacle() if physics else None)
    if obstacle is None:
        _check_number(name, number)
        torch.cuda.set_device(number)
        return torch.device("cuda", number)
    if name != "auto":
        raise ConfigError("--device", name, f"auto or cpu: {obstacle}")
    if _has_gpu() and distributed.local_rank() == 0:
        _log.warning("--device auto: the CPU, though there is an NVIDIA GPU: %s", obstacle)
    return torch.device("cpu")


def any_without_sync(values: torch.Tensor) -> bool:
    """Whether any entry may differ from 0, to spare the work for none. On a GPU the answer would have to
    wait for all that is queued there, so it is always yes."""
    return values.device.type != "cpu" or bool(values.any())


def rows_without_sync(mask: torch.Tensor) -> torch.Tensor:
    """Indices of the set entries of a mask [N], to do only their work; on a GPU all N, see `any_without_sync`."""
    if mask.device.type == "cpu":
        return mask.nonzero().squeeze(1)
    return torch.arange(len(mask), device=mask.device)


def finite_without_sync(tensors: Iterable[torch.Tensor]) -> bool:
    """Whether every entry of all tensors is known to be finite, to spare the work for others; on a GPU always no,
    see `any_without_sync`."""
    sums = [tensor.sum(dtype=torch.float32) for tensor in tensors if tensor.device.type == "cpu"]
    # A sum of anything that is not finite is not finite.
    return bool(sums) and bool(torch.stack(sums).isfinite().all())


def finite_rows(values: torch.Tensor) -> torch.Tensor:
    """[N] bool, whether every entry of a row of [N, width] is finite, in three operators."""
    return values.abs().amax(1) < torch.inf  # false of NaN


def all_finite(tensors: Iterable[torch.Tensor]) -> torch.Tensor:
    """Whether every entry of all tensors is finite: a bool scalar on their device."""
    return torch.stack([tensor.isfinite().all() for tensor in tensors]).all()


_MANY = 512
"""Environments from which on all threads compute a policy's step faster than one"""


class SingleThread:
    """One torch thread during rollouts of few environments on a CPU: the operators are too small to be divided,
    and idle threads would occupy the cores that the physics needs."""

    def __init__(self, device: torch.device, num_envs: int) -> None:
        self._active = device.type == "cpu" and num_envs < _MANY
        self._threads = torch.get_num_threads()

    def __enter__(self) -> None:
        if self._active:
            torch.set_num_threads(1)

    def __exit__(self, *_: object) -> None:
        if self._active:
            torch.set_num_threads(self._threads)


def _check_number(name: str, number: int) -> None:
    """Refuse a GPU that there is not: no rank may take the CPU while the others reduce over their GPUs."""
    gpus, processes = torch.cuda.device_count(), distributed.local_world_size()
    if ":" not in name and processes > gpus:
        expected = f"cpu, or fewer processes: there are {processes} for {gpus} GPUs"
        raise ConfigError("--device", name, expected)
    if number >= gpus:
        expected = f"auto or cpu: there are {gpus} GPUs, counted from 0"
        raise ConfigError("--device", name, expected)


def _torch_obstacle() -> str | None:
    """Why PyTorch cannot use a GPU here; None if it can."""
    if torch.version.cuda is None:
        return "this PyTorch was built without CUDA"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what the line says
        if torch.cuda.is_available():
            return None
        try:
            torch.cuda.init()
            reason = "no NVIDIA GPU"
        except (RuntimeError, AssertionError) as error:
            reason = str(error).strip().splitlines()[0].partition(". ")[0]
    return f"this PyTorch is built for CUDA {torch.version.cuda}: {reason}"


def _warp_obstacle() -> str | None:
    """Why MuJoCo Warp cannot use the GPUs that PyTorch can; None if it can."""
    if importlib.util.find_spec("mujoco_warp") is None:
        return "physics on a GPU needs MuJoCo Warp: pip install -c constraints.txt -e '.[gpu]'"
    import warp as wp

    wp.config.quiet = True
    wp.init()
    built, driver = wp.get_cuda_toolkit_version(), wp.get_cuda_driver_version()
    seen, gpus = wp.get_cuda_device_count(), torch.cuda.device_count()
    found = (
        f"Warp {wp.__version__} for CUDA {_dotted(built)} and a driver for CUDA {_dotted(driver)}"
    )
    if seen < gpus:
        needed = _dotted(built and (built[0], 0))
        return f"Warp sees {seen} of {gpus} GPUs; it needs a driver for CUDA {needed}, found are {found}"
    if not wp.is_conditional_graph_supported():
        return f"physics needs CUDA 12.4 for its graphs, found are {found}"
    if not all(wp.is_mempool_enabled(f"cuda:{i}") for i in range(gpus)):
        return f"physics needs memory pools, which are not enabled here; found are {found}"
    return None


def _dotted(version: tuple[int, int] | None) -> str:
    return "(none)" if version is None else ".".join(map(str, version))


def _has_gpu() -> bool:
    """Whether there is an NVIDIA GPU, usable or not, that nobody has hidden."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    return not hidden and any(Path("/dev").glob("nvidia[0-9]*"))

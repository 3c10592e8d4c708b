"""What `--device` means on this machine."""

from __future__ import annotations

import importlib.util

import torch

from legged_ppo import distributed
from legged_ppo.config.errors import ConfigError

_CHOICES = ["auto", "cpu", "cuda:0"]


def find_device(name: str) -> torch.device:
    """The device of that name; `auto` is an NVIDIA GPU where MuJoCo Warp can use one, else the CPU.

    Under torchrun `auto` and `cuda` are each process's own GPU.

    Raises:
        ConfigError: the name is no device, or this machine cannot use it.
    """
    if name == "cpu":
        return torch.device("cpu")
    kind, _, index = name.partition(":")
    if name != "auto" and (kind != "cuda" or not (index == "" or index.isdecimal())):
        raise ConfigError("--device", name, "auto, cpu or cuda:N", choices=_CHOICES)
    number = int(index) if index else distributed.local_rank()
    obstacle = _obstacle(number)
    if obstacle is None:
        torch.cuda.set_device(number)
        return torch.device("cuda", number)
    if name == "auto":
        return torch.device("cpu")
    raise ConfigError("--device", name, f"auto or cpu: {obstacle}", choices=_CHOICES)


def possibly_any(values: torch.Tensor) -> bool:
    """Whether any entry may differ from 0, to spare the work for none. On a GPU the answer would have to
    wait for all that is queued there, so it is always yes."""
    return values.device.type != "cpu" or bool(values.any())


def rows_of(mask: torch.Tensor) -> torch.Tensor:
    """Indices of the set entries of a mask [N], to do only their work; on a GPU all N, see `possibly_any`."""
    if mask.device.type == "cpu":
        return mask.nonzero().squeeze(1)
    return torch.arange(len(mask), device=mask.device)


def _obstacle(index: int) -> str | None:
    """Why this GPU cannot be used; None if it can."""
    if torch.version.cuda is None:
        return "this PyTorch was built without CUDA"
    if not torch.cuda.is_available():
        return f"no NVIDIA GPU, or its driver is too old for CUDA {torch.version.cuda}"
    if index >= torch.cuda.device_count():
        return f"there are {torch.cuda.device_count()} GPUs, counted from 0"
    if importlib.util.find_spec("mujoco_warp") is None:
        return "physics on a GPU needs MuJoCo Warp: pip install -c constraints.txt -e '.[gpu]'"
    return None

"""What a figure depends on beside the code's options: the device, its driver, versions and the commit."""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
from pathlib import Path
from typing import Any

import torch

_PACKAGES = {"warp": "warp-lang", "mujoco": "mujoco", "mujoco_warp": "mujoco-warp"}


def machine(device: torch.device) -> dict[str, Any]:
    """Plain data; None where something is not there or does not say."""
    on_gpu = device.type == "cuda"
    driver = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    root = Path(__file__).resolve().parent
    return {
        "device": torch.cuda.get_device_name(device) if on_gpu else "cpu",
        "driver": _first_line(driver) if on_gpu else None,
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda,
        **{name: _version(package) for name, package in _PACKAGES.items()},
        "commit": _first_line(["git", "-C", str(root), "describe", "--always", "--dirty"]),
    }


def _first_line(command: list[str]) -> str | None:
    if shutil.which(command[0]) is None:
        return None
    found = subprocess.run(command, capture_output=True, text=True, timeout=30)
    lines = found.stdout.splitlines()
    return lines[0] if found.returncode == 0 and lines else None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None

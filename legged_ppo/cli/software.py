"""Checks of the installed packages and of accounts; none of the packages is imported."""

from __future__ import annotations

import importlib.metadata as metadata
import platform
from collections.abc import Iterable

from packaging.requirements import Requirement

from legged_ppo import __version__
from legged_ppo.cli.findings import ABSENT, BROKEN, OK, Finding

_PACKAGE = "legged_ppo"
_INSTALL = "pip install -c constraints.txt -e"
_PURPOSES = {
    "gpu": "physics on an NVIDIA GPU",
    "web": "play.py --viewer web",
    "rsl-rl": "exchange with rsl_rl",
    "deploy": "export.py and the runner of exported policies",
    "gym": "recipes in configs/gym",
}
"""Of the extras that users choose."""


def check_packages() -> list[Finding]:
    """Python and the packages that every command needs; then each extra."""
    try:
        lines = metadata.requires(_PACKAGE) or []
        wanted = metadata.metadata(_PACKAGE)["Requires-Python"]
    except metadata.PackageNotFoundError:
        text = f"{_PACKAGE} {__version__} runs from its sources and is not installed"
        return [Finding("packages", ABSENT, text, f"{_INSTALL} .")]
    requirements = [Requirement(line) for line in lines]
    found = [_check_python(wanted), _check_base(requirements)]
    return found + [_check_extra(extra, requirements) for extra in _PURPOSES]


def check_wandb() -> list[Finding]:
    """Where a run with `training.wandb=auto` logs to."""
    from legged_ppo.training.wandb_account import automatic_mode

    mode = automatic_mode()
    if mode == "online":
        return [Finding("wandb", OK, "an account is set up: runs are logged there")]
    if mode == "offline":
        return [Finding("wandb", OK, "WANDB_MODE=offline: runs wait for `wandb sync`")]
    text = "no account: TensorBoard and metrics.jsonl alone"
    return [Finding("wandb", ABSENT, text, "wandb login, or training.wandb=offline")]


def _check_python(wanted: str | None) -> Finding:
    version = platform.python_version()
    specifier = Requirement(f"python{wanted or ''}").specifier
    if specifier.contains(version, prereleases=True):
        return Finding("python", OK, version)
    return Finding("python", BROKEN, f"{version}, needed is {specifier}", "install a newer Python")


def _check_base(requirements: Iterable[Requirement]) -> Finding:
    base = [each for each in requirements if _applies(each, "")]
    if wrong := [text for each in base if (text := _fault(each))]:
        return Finding("packages", BROKEN, "; ".join(wrong), f"{_INSTALL} .")
    shown = ("torch", "mujoco", "llvmlite", "numpy", "tensorboard", "wandb")
    versions = [f"{name} {metadata.version(name)}" for name in shown]
    return Finding("packages", OK, f"{_PACKAGE} {__version__}, {', '.join(versions)}")


def _check_extra(extra: str, requirements: Iterable[Requirement]) -> Finding:
    part = f"[{extra}]"
    own = [each for each in requirements if _applies(each, extra) and not _applies(each, "")]
    purpose = _PURPOSES[extra]
    if wrong := [text for each in own if (text := _fault(each))]:
        return Finding(part, ABSENT, f"{purpose}: {'; '.join(wrong)}", f"{_INSTALL} '.[{extra}]'")
    versions = ", ".join(f"{each.name} {metadata.version(each.name)}" for each in own)
    return Finding(part, OK, f"{purpose}: {versions}")


def _applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _fault(requirement: Requirement) -> str:
    """What is wrong with the package; empty where it is there in a version that does."""
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f"{requirement.name} is not installed"
    if requirement.specifier.contains(version, prereleases=True):
        return ""
    return f"{requirement.name} {version} is installed, needed is {requirement.specifier}"

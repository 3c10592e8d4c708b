"""Research code outside the package: modules that a recipe names in `extensions`.

A module defines plain mappings from names to functions and classes; the recipe's other keys choose among the
names. Nothing is registered: `load_extensions` imports the modules and merges their mappings.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import ModuleType
from typing import Any

from legged_ppo.config.schema import Config, RewardConfig
from legged_ppo.errors import ConfigError

Term = Callable[..., Any]

BUILT_IN = {
    "rewards": tuple(item.name for item in fields(RewardConfig)),
    "observations": (
        "proprioception",
        "commands",
        "scandots",
        "extrinsics",
        "privileged",
        "depth",
        "image",
    ),
}
"""Names that an extension cannot define; those of terrain types are checked where tiles are made."""


@dataclass(frozen=True)
class Extensions:
    """The merged mappings of a recipe's extensions; a module names them in capitals, such as `REWARDS`."""

    rewards: Mapping[str, Term] = field(default_factory=dict)
    """Reward terms: `RewardInputs` -> [N]. Weights: `task.rewards.extra`."""
    terminations: Mapping[str, Term] = field(default_factory=dict)
    """Ends of episodes: `RewardInputs` -> [N] bool. Chosen by `task.terminations`."""
    observations: Mapping[str, Any] = field(default_factory=dict)
    """Observation groups: `env.extension_groups.ObservationGroup`. Chosen by `task.observations.groups`."""
    terrains: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    """Terrain types: (`TerrainConfig`, **parameters of `terrain.parameters`) -> `terrain.types.TileType`.
    Chosen by `terrain.proportions`."""
    commands: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    """Command samplers: (uniform numbers [N, 5] in [0, 1), `CommandConfig`) -> [N, 3] forward and lateral
    velocity [m/s], yaw rate [rad/s]. Chosen by `task.commands.sampler`."""
    environments: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    """Subclasses of `LocomotionEnv`, or functions of (config, num_envs, seed, device) that return an
    `Environment`. Chosen by `environment`."""
    callbacks: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    """Callbacks of the trainer. Chosen by `training.callbacks`."""


def load_extensions(names: Sequence[str], folder: Path | None = None) -> Extensions:
    """Import the modules and merge their mappings; Python's cache makes a second call cheap.

    Args:
        names: modules on sys.path, in the current folder or in `folder`, looked up in this order.
        folder: that of the recipe.

    Raises:
        ConfigError: a module is missing or raises at import; a mapping has a wrong type; a name is taken.
    """
    merged: dict[str, dict[str, Any]] = {item.name: {} for item in fields(Extensions)}
    owners: dict[tuple[str, str], str] = {}
    for module_name in names:
        module = _import(module_name, folder)
        found = {kind: getattr(module, kind.upper(), {}) for kind in merged}
        if not any(hasattr(module, kind.upper()) for kind in merged):
            expected = f"a module with a mapping named {', '.join(merged).upper()}"
            raise ConfigError("extensions", module_name, expected)
        for kind, mapping in found.items():
            _check_mapping(module_name, kind, mapping)
            for name, value in mapping.items():
                taken = owners.get((kind, name)) or (
                    "the package" if name in BUILT_IN.get(kind, ()) else ""
                )
                if taken:
                    key = f"extensions ({module_name}.{kind.upper()})"
                    raise ConfigError(key, name, f"a name that {taken} does not define")
                owners[kind, name] = module_name
                merged[kind][name] = value
    return Extensions(**merged)


def check_extensions(config: Config, folder: Path | None = None) -> None:
    """Import the extensions of a recipe and check the names that its other keys choose.

    Terrain types are checked with the terrain (`terrain.checks.check_ground`).

    Raises:
        ConfigError: what `load_extensions` raises; a name that no extension defines.
    """
    found = load_extensions(config.extensions, folder)
    task, training = config.task, config.training
    chosen: list[tuple[str, Sequence[str], str]] = [
        ("task.rewards.extra", list(task.rewards.extra), "rewards"),
        ("task.observations.groups", task.observations.groups, "observations"),
        ("task.terminations", task.terminations, "terminations"),
        ("task.commands.sampler", [task.commands.sampler], "commands"),
        ("terrain.parameters", list(config.terrain.parameters), "terrains"),
        ("training.callbacks", training.callbacks, "callbacks"),
        ("environment", [config.environment], "environments"),
    ]
    for key, names, kind in chosen:
        known = list(getattr(found, kind))
        for name in filter(None, names):
            if name not in known:
                raise _unknown(key, name, kind, known)


def check_named(stored: Sequence[str], named: Sequence[str] | None, checkpoint: Path) -> None:
    """Refuse to import what a checkpoint names unless the user names the same modules.

    Args:
        stored: `extensions` of the checkpoint's config.
        named: `extensions` that the user gave; None where none were given.

    Raises:
        ConfigError: the checkpoint has extensions and `named` is not equal to them.
    """
    if stored and named != stored:
        expected = (
            f"{override_of(stored)[0]} among the overrides: a checkpoint alone imports no module"
        )
        value = list(stored if named is None else named)
        raise ConfigError("extensions", value, expected, source=str(checkpoint))


def override_of(names: Sequence[str]) -> list[str]:
    """The override by which a user names the extensions of a checkpoint again; none without extensions."""
    return [f"extensions=[{','.join(names)}]"] if names else []


def importing(command: Sequence[str], names: Sequence[str]) -> list[str]:
    """The command with what it needs to import the loaded extensions: the override, and PYTHONPATH for modules
    in folders that are neither on sys.path nor the current one."""
    known = {Path(folder).resolve() for folder in ("", *sys.path)}
    folders = []
    for name in names:
        file = Path(sys.modules[name].__file__ or "").resolve()
        depth = name.count(".") + (file.stem == "__init__")
        if file.parents[depth] not in known:
            folders.append(str(file.parents[depth]))
    path = ["env", f"PYTHONPATH={os.pathsep.join(dict.fromkeys(folders))}"] if folders else []
    return [*path, *command, *override_of(names)]


def _unknown(key: str, name: str, kind: str, known: list[str]) -> ConfigError:
    if name in BUILT_IN.get(kind, ()):
        expected = f"task.rewards.{name} instead" if kind == "rewards" else "it left out"
        return ConfigError(key, name, f"{expected}: {name} is built in")
    mapping = f"{kind.upper()} of the recipe's extensions"
    expected = f"one of {', '.join(known)} ({mapping})" if known else f"a name in {mapping}"
    return ConfigError(key, name, expected, choices=known)


def _check_mapping(module: str, kind: str, mapping: Any) -> None:
    key = f"extensions ({module}.{kind.upper()})"
    if not isinstance(mapping, Mapping):
        raise ConfigError(key, mapping, "a dictionary of names")
    for name, value in mapping.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise ConfigError(key, name, "names of letters, digits and underscores")
        if kind == "observations" and not hasattr(value, "compute"):
            raise ConfigError(f"{key[:-1]}[{name!r}])", value, "an ObservationGroup")
        if kind != "observations" and not callable(value):
            raise ConfigError(f"{key[:-1]}[{name!r}])", value, "a function or a class")


def _import(name: str, folder: Path | None) -> ModuleType:
    if name.endswith(".py") or not all(part.isidentifier() for part in name.split(".")):
        expected = "a module's name, such as my_terms or my_package.terms"
        path = re.fullmatch(r"\w+(/\w+)*\.py", name)
        meant = name[:-3].replace("/", ".") if path else ""
        raise ConfigError("extensions", name, expected, meant=meant)
    try:
        with _also_in(folder):
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise _broken(name, error) from None
        places = dict.fromkeys(["sys.path", str(Path.cwd()), str(folder or Path.cwd())])
        expected = f"a module in {', '.join(places)}; PYTHONPATH adds a folder"
        raise ConfigError("extensions", name, expected) from None
    except (Exception, SystemExit) as error:  # whatever the user's module raises
        raise _broken(name, error) from None


@contextlib.contextmanager
def _also_in(folder: Path | None) -> Iterator[None]:
    """Find modules in the current folder and in `folder` too, after those of sys.path."""
    before = list(sys.path)
    sys.path += [str(Path.cwd()), *([str(folder.resolve())] if folder else [])]
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = before


def _broken(name: str, error: BaseException) -> ConfigError:
    """The error of a module that raises when it is imported, with the innermost line of its own."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if "importlib" not in frame.filename]
    place = f", {Path(inside[-1].filename).name}:{inside[-1].lineno}" if inside[1:] else ""
    reason = f"{type(error).__name__}: {error}{place}"
    return ConfigError("extensions", name, f"a module that can be imported ({reason})")

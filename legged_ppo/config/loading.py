"""From a YAML recipe and `key=value` overrides to a typed, checked `Config`.

Composition is Hydra's: recipes name groups in a `defaults` list, overrides may change a value
(`ppo.learning_rate=1e-4`), choose a group (`robot=a1`) or add one (`+preset=debug`). Relative groups
are looked up beside the recipe first and then in the project's own configs/.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from legged_ppo.config.extensions import check_extensions
from legged_ppo.config.keys import (
    COMMAND_LINE,
    check_overrides,
    dictionary_override,
    errors_from,
    is_overridden,
    known_keys,
    normalized,
    unknown_key,
    with_integers,
)
from legged_ppo.config.recipe_file import check_recipe, read_recipe
from legged_ppo.config.schema import Config
from legged_ppo.config.validation import validate
from legged_ppo.errors import ConfigError

_PACKAGED = Path(__file__).resolve().parents[1] / "configs"
CONFIG_DIR = _PACKAGED if _PACKAGED.is_dir() else _PACKAGED.parents[1] / "configs"
"""The project's recipes and groups: in the package where it is installed, beside it in a checkout."""
_SCHEMA = "schema"
_GROUP_ADVICE = (
    (
        r"Could not override '(\w+)'\. No match in the defaults",
        "+{}: the recipe has no such group yet",
    ),
    (r"Multiple values for (\w+)\.", "{} without a +: the recipe has such a group already"),
)
"""Of Hydra's messages about groups, what to write instead."""


def load_config(
    path: str | Path, overrides: Sequence[str] = (), foundation: Config | None = None
) -> Config:
    """Compose, type-check and validate a recipe; imports its extensions.

    Args:
        foundation: values of the keys that the recipe leaves out; None takes the schema's defaults.

    Raises:
        ConfigError: the file is missing or not YAML, or a key or value is not allowed.
    """
    path = find_recipe(path)
    if not path.is_file():
        near = sorted(p.name for p in CONFIG_DIR.glob("*.yaml"))
        expected = "a YAML recipe such as configs/phase1_quickstart.yaml"
        raise ConfigError("--config", str(path), expected, choices=near)
    check_recipe(path.resolve())
    check_overrides(overrides)
    overrides = normalized(overrides)
    found = {override: dictionary_override(override) for override in overrides}
    plain = [override for override in overrides if found[override] is None]
    # Untyped: types are checked once, in `to_config`, after 5e6 has become an integer.
    schema = OmegaConf.to_container(OmegaConf.structured(foundation or Config))
    ConfigStore.instance().store(name=_SCHEMA, node=schema)
    try:
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(path.resolve().parent), version_base="1.3"):
            composed = compose(path.stem, [*plain, f"hydra.searchpath=[file://{CONFIG_DIR}]"])
        for change in filter(None, found.values()):
            OmegaConf.update(composed, *change, merge=False, force_add=True)
        values = cast(dict[str, Any], OmegaConf.to_container(composed, resolve=True))
        config = to_config(with_integers(values))
        if not is_overridden("robot.mjcf", overrides):
            folder = path.resolve().parent
            config.robot.mjcf = beside(config.robot.mjcf, folder, folder / "robot")
    except Exception as error:  # whatever Hydra, OmegaConf or YAML raise is caused by the input
        raise _as_config_error(error, path, overrides) from None
    with errors_from(str(path), overrides):
        validate(config)
        check_extensions(config, path.resolve().parent)
    return config


def find_recipe(path: str | Path) -> Path:
    """`path` where such a file exists; otherwise the project's own recipe of that name, if there is one.

    `configs/phase1_fast.yaml`, `phase1_fast.yaml` and `phase1_fast` name the same recipe anywhere.
    """
    path = Path(path)
    name = path.relative_to("configs") if path.is_relative_to("configs") else path
    packaged = (CONFIG_DIR / name).with_suffix(".yaml")
    return packaged if not path.is_file() and packaged.is_file() else path


def beside(file: str, *folders: Path) -> str:
    """`file` in the first of the folders that has it; as it is if none has."""
    found = (folder / file for folder in folders if (folder / file).is_file())
    return str(next(found, file))


def to_config(values: dict[str, Any]) -> Config:
    """Plain values as a typed `Config`; unknown keys and wrong types raise OmegaConf's errors."""
    typed = OmegaConf.merge(OmegaConf.structured(Config), values)
    config = OmegaConf.to_object(typed)
    assert isinstance(config, Config)
    return config


def config_to_yaml(config: Config) -> str:
    """The resolved config as YAML that `load_config` reads again."""
    body = OmegaConf.to_yaml(OmegaConf.structured(config))
    return f"defaults: [{_SCHEMA}, _self_]\n{body}"


def _as_config_error(error: Exception, path: Path, overrides: Sequence[str]) -> ConfigError:
    """Hydra's and OmegaConf's many messages as one line: file, key, value, what is allowed."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    text = " ".join(str(cause).split())
    if found := re.search(
        r"Could not find '(\w+)/(\w+)' Available options in '\w+': ([\w ]+?) Config", text
    ):
        group, option, options = found.groups()
        expected = f"one of {', '.join(options.split())}"
        return ConfigError(group, option, expected, choices=options.split(), source=str(path))
    given = dict(o.lstrip("+~").split("=", 1) for o in overrides if "=" in o)
    for pattern, advice in _GROUP_ADVICE:
        if found := re.search(pattern, text):
            group = found.group(1)
            option = given.get(group, "")
            expected = advice.format(f"{group}={option}")
            return ConfigError(group, option, expected, source=COMMAND_LINE)
    key = str(getattr(cause, "full_key", None) or "") or _key_in(text) or _key_in(str(error))
    source = str(path)
    if key in given:
        source = COMMAND_LINE
    known = known_keys()
    if key and key not in known:
        return unknown_key(key, known, source)
    if key:
        expected = f"a value of type {known[key]}"
        return ConfigError(key, _value_of(cause, given, key, path), expected, source=source)
    return ConfigError("config", text, "a recipe that composes", source=source)


def _key_in(text: str) -> str:
    """The key that a message of Hydra's names, or ''."""
    for pattern in (r"full_key: ([\w.\[\]]+)", r"override '?([\w.]+)'?", r"Key '([\w.]+)'"):
        if found := re.search(pattern, text):
            return found.group(1)
    return ""


def _value_of(cause: BaseException, given: dict[str, str], key: str, path: Path) -> Any:
    if key in given:
        return given[key]
    if found := re.search(r"Value '([^']*)'", str(cause)):
        return found.group(1)
    value: Any = read_recipe(path)
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value

"""`key=value` changes of a config that exists already, such as a checkpoint's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, cast

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from legged_ppo.config.extensions import check_extensions
from legged_ppo.config.keys import (
    COMMAND_LINE,
    check_overrides,
    dictionaries,
    dictionary_override,
    known_keys,
    normalized,
    unknown_key,
)
from legged_ppo.config.loading import CONFIG_DIR, to_config
from legged_ppo.config.schema import Config
from legged_ppo.config.validation import validate
from legged_ppo.errors import ConfigError

ALL_SECTIONS = tuple(field.name for field in fields(Config))


def apply_overrides(
    config: Config, overrides: Sequence[str], sections: Sequence[str] = ALL_SECTIONS
) -> Config:
    """A copy of `config` with the overrides: `task.max_tilt=0.8`, or a group as in `terrain=flat`.

    Imports the config's extensions: check one of a checkpoint with `check_named` first.

    Args:
        sections: of the schema, or single keys, that may change; a change of another would have no effect.

    Raises:
        ConfigError: an unknown key, a wrong type, or a value out of range.
    """
    check_overrides(overrides)
    values = OmegaConf.structured(config)
    changes = normalized(overrides)
    # As in a recipe, a group lies below every value, wherever it stands.
    for override in sorted(changes, key=lambda each: not is_group(each)):
        _apply(values, override, sections)
    try:
        changed = to_config(OmegaConf.to_container(values))  # type: ignore[arg-type]
        validate(changed)
        check_extensions(changed)
    except ConfigError as error:
        error.source = error.source or COMMAND_LINE
        raise
    except OmegaConfBaseException as error:  # a wrong element of a list is found only here
        key = str(getattr(error, "full_key", "") or "").split("[")[0]
        raise _wrong_value(key, str(getattr(error, "value", ""))) from None
    return changed


def _apply(values: DictConfig, override: str, sections: Sequence[str]) -> None:
    key, _, text = override.lstrip("+").partition("=")
    if is_group(override):
        for name in text.strip("[]").split(","):
            _apply_group(values, key, name.strip(), sections)
        return
    if override.startswith("~"):
        raise ConfigError("override", override, "key=value, such as task.max_tilt=0.8")
    _check_key(key, sections)
    change = dictionary_override(override)
    try:
        if change is not None:
            OmegaConf.update(values, *change, merge=False)
            return
        parsed = OverridesParser.create().parse_override(override)
        if parsed.is_sweep_override():
            raise _wrong_value(key, text)
        is_section = known_keys().get(key) == "section"
        value = parsed.value()
        if is_section and not isinstance(value, dict):
            raise _wrong_value(key, text)
        OmegaConf.update(values, key, value, merge=is_section)
    except OmegaConfBaseException as error:
        full_key = str(getattr(error, "full_key", "") or "")
        if full_key and full_key.partition("[")[0] not in known_keys():
            raise unknown_key(full_key, known_keys(), COMMAND_LINE) from None
        raise _wrong_value(key, text) from None


def _check_key(key: str, sections: Sequence[str]) -> None:
    known = [k for k in known_keys() if k.split(".")[0] in sections or k in sections]
    if key.split(".")[0] in set(ALL_SECTIONS) - set(sections) and key not in sections:
        raise ConfigError("key", key, f"a key of {', '.join(sections)}", source=COMMAND_LINE)
    if key not in known and key.rpartition(".")[0] not in dictionaries():
        raise unknown_key(key, known, COMMAND_LINE)


def is_group(override: str) -> bool:
    """Whether an override chooses a file of a group, as in terrain=flat or +preset=debug."""
    key, _, text = override.lstrip("+").partition("=")
    is_section = known_keys().get(key) == "section"
    return (is_section or (CONFIG_DIR / key).is_dir()) and not text.startswith("{")


def _apply_group(values: DictConfig, group: str, name: str, sections: Sequence[str]) -> None:
    """Lay configs/<group>/<name>.yaml over the values; a section such as terrain starts from its defaults."""
    path = CONFIG_DIR / group / f"{name}.yaml"
    if not re.fullmatch(r"[\w-]+", name) or not path.is_file():
        choices = sorted(p.stem for p in path.parent.glob("*.yaml")) if group else []
        expected = f"one of {', '.join(choices)}" if choices else f"keys below {group}"
        raise ConfigError(group, name, expected, choices=choices, source=COMMAND_LINE)
    header = re.match(r"# @package (\S+)", path.read_text())
    package = header.group(1) if header else group
    layer = OmegaConf.create()
    if package == "_global_":
        layer = cast(DictConfig, OmegaConf.load(path))
    else:
        OmegaConf.update(layer, package, OmegaConf.load(path), force_add=True)
    kept = [section for section in sections if section in layer]
    if not kept:
        expected = f"a group with keys of {', '.join(sections)}"
        raise ConfigError(group, name, expected, source=COMMAND_LINE)
    for section in kept:
        if section == package:
            default: Any = getattr(Config(), section)
            layer[section] = OmegaConf.merge(OmegaConf.structured(default), layer[section])
            OmegaConf.update(values, section, layer[section], merge=False)
        else:
            OmegaConf.update(values, section, layer[section], merge=True)


def _wrong_value(key: str, text: str) -> ConfigError:
    kind = known_keys().get(key, "its kind")
    return ConfigError(key, text, f"a value of type {kind}", source=COMMAND_LINE)

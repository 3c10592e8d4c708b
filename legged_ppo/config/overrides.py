"""`key=value` changes of a config that exists already, such as a checkpoint's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from legged_ppo.config.keys import COMMAND_LINE, dictionaries, dictionary_override, known_keys
from legged_ppo.config.loading import CONFIG_DIR, to_config
from legged_ppo.config.schema import Config
from legged_ppo.config.validation import validate
from legged_ppo.errors import ConfigError

ALL_SECTIONS = tuple(field.name for field in fields(Config))


def apply_overrides(
    config: Config, overrides: Sequence[str], sections: Sequence[str] = ALL_SECTIONS
) -> Config:
    """A copy of `config` with the overrides: `task.max_tilt=0.8`, or a group as in `terrain=flat`.

    Args:
        sections: sections of the schema that may change; a change of another would have no effect.

    Raises:
        ConfigError: an unknown key, a wrong type, or a value out of range.
    """
    values = OmegaConf.structured(config)
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator:
            raise ConfigError("override", override, "key=value, such as task.max_tilt=0.8")
        change = dictionary_override(override)
        if change is not None:
            key = change[0]
        _check_key(key, sections)
        try:
            if change is not None:
                OmegaConf.update(values, *change, merge=False)
            elif key in sections:
                OmegaConf.update(values, key, _group(key, text), merge=False)
            else:
                value = OmegaConf.select(OmegaConf.from_dotlist([override]), key)
                OmegaConf.update(values, key, value, merge=False)
        except OmegaConfBaseException:
            raise _wrong_value(key, text) from None
    try:
        changed = to_config(OmegaConf.to_container(values))  # type: ignore[arg-type]
        validate(changed)
    except ConfigError as error:
        error.source = error.source or COMMAND_LINE
        raise
    except OmegaConfBaseException as error:  # a wrong element of a list is found only here
        key = str(getattr(error, "full_key", "") or "").split("[")[0]
        raise _wrong_value(key, str(getattr(error, "value", ""))) from None
    return changed


def _check_key(key: str, sections: Sequence[str]) -> None:
    known = [k for k in known_keys() if k.split(".")[0] in sections]
    if key.split(".")[0] in set(ALL_SECTIONS) - set(sections):
        raise ConfigError("key", key, f"a key of {', '.join(sections)}", source=COMMAND_LINE)
    if key not in known and key.rpartition(".")[0] not in dictionaries():
        raise ConfigError(
            "unknown key", key, "a key of the schema", choices=known, source=COMMAND_LINE
        )


def _group(section: str, name: str) -> DictConfig:
    """The section's defaults with the values of configs/<section>/<name>.yaml."""
    path = CONFIG_DIR / section / f"{name}.yaml"
    if not path.is_file():
        choices = sorted(p.stem for p in path.parent.glob("*.yaml"))
        expected = f"one of {', '.join(choices)}" if choices else f"keys below {section}"
        raise ConfigError(section, name, expected, choices=choices, source=COMMAND_LINE)
    default: Any = getattr(Config(), section)
    return OmegaConf.merge(OmegaConf.structured(default), OmegaConf.load(path))  # type: ignore[return-value]


def _wrong_value(key: str, text: str) -> ConfigError:
    kind = known_keys().get(key, "its kind")
    return ConfigError(key, text, f"a value of type {kind}", source=COMMAND_LINE)

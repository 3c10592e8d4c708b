"""The names of all keys, and overrides of those that are dictionaries."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from legged_ppo.config.schema import Config
from legged_ppo.errors import ConfigError

COMMAND_LINE = "command line"
"""Source of an error in an override."""
_LONGEST_OVERRIDE, _MOST_BRACKETS = 20_000, 40
_SHORT_NAMES = {"lr": "ppo.learning_rate"}
_PRESET = "+preset="


def known_keys(cls: type = Config, prefix: str = "") -> dict[str, str]:
    """Every key of the schema with the name of its type."""
    known: dict[str, str] = {}
    for field in fields(cls):
        name = f"{prefix}{field.name}"
        kind = field.default_factory if callable(field.default_factory) else None
        if is_dataclass(kind):
            known[name] = "section"
            known |= known_keys(kind, f"{name}.")
        else:
            known[name] = str(field.type)
    return known


def dictionaries() -> dict[str, str]:
    """The keys that are dictionaries, such as terrain.proportions, below which the schema has no names."""
    return {key: kind for key, kind in known_keys().items() if kind.startswith("dict")}


def meant_key(name: str) -> str:
    """The key that a bare or dashed name such as `seed`, `lr` or `--num-envs` stands for, or ''."""
    name = name.lstrip("-").replace("-", "_")
    keys = [key for key in known_keys() if key.rpartition(".")[2] == name and key != name]
    in_training = [key for key in keys if key.startswith("training.")]
    return _SHORT_NAMES.get(name) or next(iter([*in_training, *keys]), "")


def unknown_key(key: str, choices: Iterable[str], source: str) -> ConfigError:
    """The error of a key that is not in the schema, with the key that was probably meant."""
    return ConfigError(
        "unknown key",
        key,
        "a key of the schema",
        choices=choices,
        source=source,
        meant=meant_key(key),
    )


def leaves(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one of dotted keys."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= leaves(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def normalized(overrides: Sequence[str]) -> list[str]:
    """Integers written as 5e6 in digits, and all presets in one override, in their order."""
    known, result = known_keys(), []
    presets = [each.partition("=")[2] for each in overrides if each.startswith(_PRESET)]
    for override in overrides:
        key, _, text = override.partition("=")
        is_integer = known.get(key.lstrip("+"), "").startswith("int")
        if is_integer and re.fullmatch(r"\d+(\.\d*)?[eE]\+?\d{1,2}", text):
            value = float(text)
            override = f"{key}={int(value)}" if value.is_integer() else override
        elif override.startswith(_PRESET) and len(presets) > 1:
            override = f"{_PRESET}[{','.join(each.strip('[]') for each in presets)}]"
        if override not in result:
            result.append(override)
    return result


def with_integers(values: dict[str, Any]) -> dict[str, Any]:
    """Values of a recipe, in which YAML reads 5e6 as a float, with whole floats of integer keys as integers."""
    known = known_keys()

    def converted(value: Any, key: str) -> Any:
        if isinstance(value, dict):
            return {
                name: converted(each, f"{key}.{name}".lstrip(".")) for name, each in value.items()
            }
        if isinstance(value, list) and known.get(key, "").startswith("list[int"):
            return [_as_integer(each) for each in value]
        return _as_integer(value) if known.get(key, "").startswith("int") else value

    return {str(name): converted(each, str(name)) for name, each in values.items()}


def _as_integer(value: Any) -> Any:
    """A whole float as an integer where floats are exact; any other value as it is."""
    whole = isinstance(value, float) and value.is_integer() and abs(value) <= 2**53
    return int(value) if whole else value


def is_overridden(key: str, overrides: Sequence[str]) -> bool:
    """Whether one of the overrides changes this key or an entry of it."""
    given = (override.lstrip("+~").partition("=")[0] for override in overrides)
    return any(name == key or name.startswith(f"{key}.") for name in given)


def check_overrides(overrides: Sequence[str]) -> None:
    """Each override must be `key=value` or `~key`, in the grammar of Hydra and of sensible length.

    Raises:
        ConfigError: for the first that is not.
    """
    for override in overrides:
        if "=" not in override and not override.startswith("~"):
            raise ConfigError("override", override, "key=value, such as ppo.learning_rate=1e-4")
        key, _, text = override.partition("=")
        if len(override) > _LONGEST_OVERRIDE or re.search(r"\d{41}", text):
            expected = f"at most {_LONGEST_OVERRIDE:,} characters, numbers of at most 40 digits"
            raise ConfigError(key, text, expected, source=COMMAND_LINE)
        if sum(map(text.count, "[({")) > _MOST_BRACKETS:
            raise ConfigError(
                key, text, f"a value with at most {_MOST_BRACKETS} brackets", source=COMMAND_LINE
            )
        try:
            OverridesParser.create().parse_override(override)
        except (HydraException, RecursionError):
            if dictionaries().keys() & {key.lstrip("+"), key.lstrip("+").rpartition(".")[0]}:
                continue  # reported by dictionary_override, with the form of a mapping
            expected = "a value that needs no quotes, or one in quotes"
            raise ConfigError(key, text, expected, source=COMMAND_LINE) from None


def override_values(overrides: Sequence[str]) -> dict[str, Any]:
    """The parsed values of overrides of the form `key=value`.

    Raises:
        ConfigError: what `check_overrides` raises.
    """
    check_overrides(overrides)
    parser = OverridesParser.create()
    given = [each for each in overrides if dictionary_override(each) is None]
    parsed = [parser.parse_override(each) for each in given]
    return {each.key_or_group: each.value() for each in parsed if not each.is_delete()}


@contextlib.contextmanager
def errors_from(source: str, overrides: Sequence[str]) -> Iterator[None]:
    """A `ConfigError` raised inside gets its source: the command line where it set the key, else `source`."""
    try:
        yield
    except ConfigError as error:
        error.source = error.source or (
            COMMAND_LINE if is_overridden(error.key, overrides) else source
        )
        raise


def dictionary_override(override: str) -> tuple[str, Any] | None:
    """Key and value of an override of a dictionary or of an entry of one; None for any other override.

    A dictionary (`terrain.proportions={flat: 1}`) replaces the one there was, an entry
    (`terrain.proportions.rough=0.5`) is set or added: in training and evaluation alike, unlike in Hydra,
    which merges the former and refuses the latter where there was no such entry.

    Raises:
        ConfigError: the value is of another type.
    """
    key, separator, text = override.lstrip("+").partition("=")
    known, parent = dictionaries(), key.rpartition(".")[0]
    if override.startswith("~") or not separator or not {key, parent} & known.keys():
        return None
    try:
        parsed = OverridesParser.create().parse_override(override)
    except HydraException:
        raise _wrong(key, text, known) from None
    value = parsed.value()
    entries = value if key in known else {key: value}
    if parsed.is_sweep_override() or not isinstance(entries, dict):
        raise _wrong(key, text, known)
    numbers = known.get(key, known.get(parent)) == "dict[str, float]"
    if numbers and not all(type(each) in (int, float) for each in entries.values()):
        raise _wrong(key, text, known)
    return key, value


def _wrong(key: str, text: str, known: dict[str, str]) -> ConfigError:
    expected = "a mapping of names, as in '{flat: 1, rough: 0.5}'" if key in known else "a number"
    return ConfigError(key, text, expected, source=COMMAND_LINE)

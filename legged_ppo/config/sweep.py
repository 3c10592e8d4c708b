"""What a sweep tries: a YAML file with a recipe, ranges of its keys, and the metric that decides."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from legged_ppo.config.loading import find_recipe, load_config
from legged_ppo.errors import ConfigError

SAMPLERS = ("tpe", "random", "grid")


@dataclass(frozen=True)
class Parameter:
    """Values of one key: from `low` to `high`, or one of `choices`."""

    key: str
    low: float = math.nan
    high: float = math.nan
    log: bool = False
    choices: tuple[Any, ...] = ()

    @property
    def integer(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    def extremes(self) -> tuple[Any, ...]:
        """Values such that, where they are allowed, all are."""
        return self.choices or (self.low, self.high)

    def contains(self, value: Any) -> bool:
        """Whether a sweep can try `value`."""
        return value in self.choices if self.choices else self.low <= value <= self.high


@dataclass
class Sweep:
    """The content of a sweep's file."""

    recipe: str
    """Recipe that every run trains, as `--config` takes it; looked for beside the file too."""
    metric: str
    """Metric of metrics.jsonl whose last value in a run is its score."""
    parameters: list[Parameter]
    """Keys that vary."""
    direction: str = "maximize"
    """maximize or minimize"""
    trials: int = 20
    """Sets of values to try, the recipe's own first where it lies in the ranges."""
    seeds: list[int] = field(default_factory=lambda: [1])
    """`training.seed` of the runs of each trial, whose mean score is the trial's."""
    processes: int = 1
    """Runs at the same time."""
    sampler: str = "tpe"
    """Optuna's: tpe, random, or grid (every combination of choices)."""
    prune: bool = False
    """Stop a run whose metric is below the median of the trials before it, at the same number of steps."""
    overrides: list[str] = field(default_factory=list)
    """key=value for every run."""


def read_sweep(path: Path) -> Sweep:
    """Read and check a sweep's file, all of its values with their recipe included.

    Raises:
        ConfigError: the file is missing or no such YAML, or a key or value is not allowed.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError("FILE", str(path), f"a sweep's YAML file ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError("FILE", str(path), f"a YAML file ({reason})") from None
    try:
        sweep = _checked(content)
    except ConfigError as error:
        error.source = str(path)
        raise
    if not find_recipe(sweep.recipe).is_file():
        sweep.recipe = str(path.parent / sweep.recipe)
    _check_values(sweep, path)
    return sweep


def _checked(content: Any) -> Sweep:
    if not isinstance(content, Mapping):
        raise ConfigError("content", content, "keys such as recipe, metric and parameters")
    known = [each.name for each in fields(Sweep)]
    for key in content:
        if key not in known:
            raise ConfigError("unknown key", key, f"one of {', '.join(known)}", choices=known)
    for key in ("recipe", "metric", "parameters"):
        if key not in content:
            raise ConfigError(key, None, "to be there")
    if not isinstance(content["parameters"], Mapping) or not content["parameters"]:
        raise ConfigError("parameters", content["parameters"], "keys of the recipe with ranges")
    parameters = [_parameter(str(k), v) for k, v in content["parameters"].items()]
    sweep = Sweep(**{**content, "parameters": parameters})
    _check(sweep.direction in ("maximize", "minimize"), "direction", sweep, "maximize or minimize")
    _check(sweep.sampler in SAMPLERS, "sampler", sweep, f"one of {', '.join(SAMPLERS)}")
    _check(isinstance(sweep.prune, bool), "prune", sweep, "true or false")
    for key in ("recipe", "metric"):
        _check(isinstance(getattr(sweep, key), str), key, sweep, "a name")
    for key in ("trials", "processes"):
        value = getattr(sweep, key)
        _check(type(value) is int and 0 < value <= 100_000, key, sweep, "an integer > 0")
    seeds = isinstance(sweep.seeds, list) and all(type(s) is int and s >= 0 for s in sweep.seeds)
    _check(seeds and bool(sweep.seeds), "seeds", sweep, "a list of integers >= 0")
    lines = isinstance(sweep.overrides, list) and all(isinstance(o, str) for o in sweep.overrides)
    _check(lines, "overrides", sweep, "a list of key=value")
    if sweep.sampler == "grid":
        ranges = [each.key for each in parameters if not each.choices]
        _check(not ranges, "sampler", sweep, f"another one: grid needs a list for {ranges[:1]}")
        sweep.trials = min(sweep.trials, math.prod(len(each.choices) for each in parameters))
    return sweep


def _check(right: bool, key: str, sweep: Sweep, expected: str) -> None:
    if not right:
        raise ConfigError(key, getattr(sweep, key), expected)


def _parameter(key: str, values: Any) -> Parameter:
    if isinstance(values, list) and values and all(_is_plain(each) for each in values):
        return Parameter(key, choices=tuple(values))
    expected = "a list of values, or {low: 1.0e-4, high: 1.0e-3, log: true}"
    wrong = ConfigError(f"parameters.{key}", values, expected)
    if not isinstance(values, Mapping) or not {"low", "high"} <= set(values) <= {
        "low",
        "high",
        "log",
    }:
        raise wrong
    low, high, log = values["low"], values["high"], values.get("log", False)
    numbers = all(type(each) in (int, float) for each in (low, high)) and isinstance(log, bool)
    if not numbers or not low < high or (log and low <= 0):
        raise wrong
    return Parameter(key, low, high, log)


def _is_plain(value: Any) -> bool:
    return isinstance(value, (str, int, float, bool))


def _check_values(sweep: Sweep, path: Path) -> None:
    """Load the recipe with the extremes of every parameter, the others at the recipe's values."""
    for parameter in sweep.parameters:
        for value in parameter.extremes():
            try:
                load_config(sweep.recipe, [*sweep.overrides, override(parameter.key, value)])
            except ConfigError as error:
                error.source = str(path)
                raise


def override(key: str, value: Any) -> str:
    """`key=value` as the command line takes it."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"{key}={text}"

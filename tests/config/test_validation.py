"""Bounds of the schema: every numeric key has one, and no magnitude overflows."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import Field, fields, is_dataclass
from operator import attrgetter
from typing import Any

import pytest

from legged_ppo.config.keys import known_keys
from legged_ppo.config.overrides import apply_overrides
from legged_ppo.config.schema import Config
from legged_ppo.config.schema.bounds import bound_of
from legged_ppo.config.validation import validate
from legged_ppo.errors import ConfigError


def keys(section: Any, prefix: str = "") -> Iterator[tuple[str, Field[Any], Any]]:
    for item in fields(section):
        value = getattr(section, item.name)
        if is_dataclass(value):
            yield from keys(value, f"{prefix}{item.name}.")
        else:
            yield f"{prefix}{item.name}", item, value


NUMERIC = [key for key, item, _ in keys(Config()) if re.search(r"\b(int|float)\b", str(item.type))]
SCALAR_FLOATS = [key for key in NUMERIC if known_keys()[key].startswith("float")]
FLOAT_LISTS = [key for key in NUMERIC if known_keys()[key] == "list[float]"]


def refusal(override: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        apply_overrides(Config(), [override])
    return caught.value


def test_every_numeric_key_declares_a_bound_that_its_default_keeps() -> None:
    assert len(NUMERIC) > 120
    for key, item, _ in keys(Config()):
        if key in NUMERIC:
            assert bound_of(item) is not None, key
    validate(Config())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e308, -1e12])
def test_no_float_may_be_non_finite_or_absurd(value: float) -> None:
    changes: dict[str, Any] = dict.fromkeys(SCALAR_FLOATS, value)
    changes |= {key: [0.0, value] for key in FLOAT_LISTS}
    changes["terrain.proportions"] = {"flat": 1.0, "rough": value}
    changes["gym.kwargs"] = {"sizes": [1.0, {"deep": value}]}
    for key, changed in changes.items():
        config = Config()
        section, _, name = key.rpartition(".")
        setattr(attrgetter(section)(config), name, changed)
        with pytest.raises(ConfigError) as caught:
            validate(config)
        assert caught.value.key == key


@pytest.mark.parametrize(
    "override",
    [
        "task.commands.heading_gain=-1",
        "task.observations.joint_vel_noise=-0.1",
        "task.observations.ang_vel_scale=-1",
        "task.observations.scandots.latency_s=[-0.1,0.1]",
        "ppo.entropy_coef_final=-0.1",
        "policy.gru_layers=1000000",
        "policy.actor_hidden=[64,0]",
        "training.seed=-1",
        "terrain.stone_size=[0.3,0.9]",
        "robot.kp=0",
    ],
)
def test_a_value_out_of_its_bound_is_refused_with_its_key(override: str) -> None:
    error = refusal(override)
    assert error.key == override.partition("=")[0] and error.expected


def test_null_is_allowed_where_the_type_has_it() -> None:
    assert apply_overrides(Config(), ["ppo.value_clip_range=null"]).ppo.value_clip_range is None
    assert "or null" in str(refusal("ppo.value_clip_range=0"))


def test_config_imports_nothing_of_terrain() -> None:
    code = (
        "import legged_ppo.config.loading, legged_ppo.config.overrides, sys;"
        "print([name for name in sys.modules if name.startswith('legged_ppo.terrain')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

"""terrain.proportions on the command lines of training and evaluation, which must mean the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from legged_ppo.cli import train as cli
from legged_ppo.cli.parser import EXIT_BAD_INPUT
from legged_ppo.config.keys import errors_from
from legged_ppo.config.loading import CONFIG_DIR, load_config
from legged_ppo.config.overrides import apply_overrides
from legged_ppo.config.schema import Config
from legged_ppo.errors import ConfigError
from legged_ppo.terrain.checks import check_ground

Change = Callable[..., Config]
RECIPE = CONFIG_DIR / "phase1_fast.yaml"


def in_training(*overrides: str) -> Config:
    return checked(load_config(RECIPE, overrides), overrides)


def in_evaluation(*overrides: str) -> Config:
    sections = ("robot", "terrain", "sim", "task")
    return checked(apply_overrides(load_config(RECIPE), overrides, sections), overrides)


def checked(config: Config, overrides: Sequence[str]) -> Config:
    with errors_from(str(RECIPE), overrides):
        check_ground(config)
    return config


EVERYWHERE = pytest.mark.parametrize("change", [in_training, in_evaluation])


@EVERYWHERE
@pytest.mark.parametrize("text", ["{rough:1}", "{rough: 1.0}", "{rough: 1, curbs: 0}"])
def test_a_whole_mapping_replaces_the_recipes(change: Change, text: str) -> None:
    shares = change(f"terrain.proportions={text}").terrain.proportions
    assert {name: share for name, share in shares.items() if share} == {"rough": 1.0}


@EVERYWHERE
@pytest.mark.parametrize("prefix", ["", "+"])
def test_an_entry_sets_or_adds_a_type(change: Change, prefix: str) -> None:
    before = change().terrain.proportions
    overrides = [f"{prefix}terrain.proportions.{name}=0.5" for name in ("stepping_stones", "flat")]
    assert change(*overrides).terrain.proportions == before | {"stepping_stones": 0.5, "flat": 0.5}


@EVERYWHERE
def test_entries_go_on_top_of_a_mapping(change: Change) -> None:
    overrides = ["terrain.proportions={rough: 1}", "terrain.proportions.curbs=2"]
    assert change(*overrides).terrain.proportions == {"rough": 1.0, "curbs": 2.0}


@EVERYWHERE
@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("terrain.proportions.stairs_upp=1", ["terrain.proportions: ", "did you mean 'stairs_up'"]),
        ("terrain.proportions={ruogh: 1}", ["terrain.proportions: ", "did you mean 'rough'"]),
        ("terrain.proportions={rough: 0}", ["terrain.proportions: ", "positive sum"]),
        ("terrain.proportions.rough=-1", ["terrain.proportions: ", "shares >= 0"]),
        ("terrain.proportions=3", ["terrain.proportions: got '3'", "a mapping"]),
        ("terrain.proportions={rough", ["terrain.proportions: got '{rough'", "a mapping"]),
        ("terrain.proportions={rough: much}", ["terrain.proportions: ", "a mapping"]),
        ("terrain.proportions.rough=much", ["terrain.proportions.rough: got 'much'", "a number"]),
        ("terrain.proportions.rough=1,2", ["terrain.proportions.rough: got '1,2'", "a number"]),
    ],
)
def test_bad_shares_are_told_in_one_line(change: Change, override: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        change(override)
    text = str(caught.value)
    assert text.startswith("command line: ") and "\n" not in text
    assert all(part in text for part in parts), text


def test_training_with_an_unknown_type_ends_with_the_code_of_bad_input() -> None:
    arguments = ["--config", str(RECIPE), "terrain.proportions.rouhg=1", "--print-config"]
    assert cli.main(arguments) == EXIT_BAD_INPUT


def test_a_dictionary_of_any_values_is_taken_as_well() -> None:
    config = load_config(RECIPE, ["gym.kwargs={size: 3, mode: human}", "gym.kwargs.size=null"])
    assert config.gym.kwargs == {"size": None, "mode": "human"}

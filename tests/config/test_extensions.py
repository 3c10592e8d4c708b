"""Modules that a recipe names: found, merged, and every mistake reported in one line."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from legged_ppo.config.extensions import check_named, load_extensions
from legged_ppo.config.loading import config_to_yaml, load_config
from legged_ppo.config.overrides import apply_overrides
from legged_ppo.config.schema import Config
from legged_ppo.config.validation import validate
from legged_ppo.errors import ConfigError

Write = Callable[[str, str], Path]
TERMS = """
    def sway(x):
        return x.command[:, 1].abs()
    def upside_down(x):
        return x.projected_gravity[:, 2] > 0
    REWARDS = {"sway": sway}
    TERMINATIONS = {"upside_down": upside_down}
    COMMANDS = {"forward": lambda unit, config: unit[:, :3]}
"""
RECIPE = """
defaults: [phase1_quickstart, _self_]
extensions: [my_terms]
task:
  rewards: {extra: {sway: -0.1}}
  terminations: [upside_down]
"""


def refusal(names: list[str]) -> str:
    with pytest.raises(ConfigError) as caught:
        load_extensions(names)
    line = str(caught.value)
    assert "\n" not in line and line.startswith("extensions")
    return line


def test_a_recipe_finds_the_module_beside_it_from_any_folder(
    write_module: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_module("my_terms", TERMS)
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(RECIPE)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    before = list(sys.path)
    config = load_config(recipe)
    assert sys.path == before
    assert list(load_extensions(config.extensions).rewards) == ["sway"]
    (tmp_path / "stored.yaml").write_text(config_to_yaml(config))
    assert load_config(tmp_path / "stored.yaml") == config
    assert "sway: -0.1" in config_to_yaml(config)


def test_mappings_of_several_modules_are_merged(write_module: Write) -> None:
    write_module("first", TERMS)
    write_module("second", "REWARDS = {'other': abs}\nCALLBACKS = {'call': print}")
    found = load_extensions(["first", "second"])
    assert list(found.rewards) == ["sway", "other"]
    assert list(found.callbacks) == ["call"]


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("1 / 0", r"ZeroDivisionError: division by zero, mine.py:1"),
        ("import no_such_package", r"No module named 'no_such_package'"),
        ("def f(:", r"SyntaxError"),
        ("raise SystemExit(3)", r"SystemExit: 3"),
        ("x = 1", r"mine.*expected a module with a mapping named REWARDS, "),
        ("REWARDS = [abs]", r"mine\.REWARDS\).*expected a dictionary of names"),
        ("REWARDS = {'a b': abs}", r"'a b', expected names of letters"),
        ("REWARDS = {'sway': 3}", r"REWARDS\['sway'\]\): got 3, expected a function or a class"),
        (
            "OBSERVATIONS = {'mine': abs}",
            r"OBSERVATIONS\['mine'\]\): .*expected an ObservationGroup",
        ),
        (
            "class A: compute = abs\nOBSERVATIONS = {'scandots': A()}",
            r"'scandots', expected a name that the package does",
        ),
        ("REWARDS = {'torques': abs}", r"'torques', expected a name that the package does not"),
    ],
)
def test_a_bad_module_is_reported_in_one_line(write_module: Write, source: str, line: str) -> None:
    write_module("mine", source)
    assert re.search(line, refusal(["mine"]))


def test_a_missing_module_is_reported_with_the_places_searched(tmp_path: Path) -> None:
    assert "expected a module in sys.path, " in refusal(["no_such_terms"])
    assert "did you mean 'code.my_terms'" in refusal(["code/my_terms.py"])
    assert "did you mean" not in refusal(["../evil"])


def test_two_extensions_cannot_define_the_same_name(write_module: Write) -> None:
    write_module("first", TERMS)
    write_module("second", TERMS)
    assert "second.REWARDS): got 'sway', expected a name that first does not define" in refusal(
        ["first", "second"]
    )


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("task.rewards.extra={swey: 1}", "task.rewards.extra: got 'swey'.*mean 'sway'"),
        ("task.rewards.extra={torques: 1}", "expected task.rewards.torques instead"),
        ("task.observations.groups=[scandots]", "expected it left out: scandots is built in"),
        ("task.terminations=[[upside_down]]", "task.terminations: .* a value of type list"),
        ("task.rewards.extra={sway: nan}", "task.rewards.extra: .*expected finite numbers"),
        ("task.terminations=[upside]", "task.terminations: got 'upside'.*'upside_down'"),
        ("task.terminations=[upside_down,upside_down]", "at most 100 different names"),
        ("task.commands.sampler=forwad", "task.commands.sampler: got 'forwad'.*mean 'forward'"),
        ("terrain.parameters={rough: {}}", "terrain.parameters: got 'rough', expected a name in"),
        ("environment=mine", "environment: got 'mine', expected a name in ENVIRONMENTS"),
        ("training.callbacks=[mine]", "training.callbacks: got 'mine', expected a name"),
    ],
)
def test_a_name_that_no_extension_defines_is_refused(
    write_module: Write, override: str, line: str
) -> None:
    write_module("my_terms", TERMS)
    config = Config(extensions=["my_terms"])
    config.task.rewards.extra, config.task.terminations = {"sway": -0.1}, ["upside_down"]
    with pytest.raises(ConfigError, match=line):
        apply_overrides(config, [override])


def test_names_are_checked_when_a_recipe_is_loaded(write_module: Write, tmp_path: Path) -> None:
    write_module("my_terms", TERMS)
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(RECIPE)
    with pytest.raises(ConfigError, match=r"mine.yaml: task.rewards.extra: got 'sway', expected"):
        load_config(recipe, ["extensions=[]"])


def test_a_reward_of_an_extension_is_something_to_learn() -> None:
    config = Config()
    config.task.rewards.tracking_lin_vel = config.task.rewards.tracking_ang_vel = 0.0
    with pytest.raises(ConfigError, match="nothing to learn"):
        validate(config)
    config.task.rewards.extra = {"sway": -1.0}
    validate(config)


def test_a_checkpoint_alone_imports_nothing() -> None:
    for named in (None, [], ["other"], ["my_terms", "other"]):
        with pytest.raises(ConfigError, match=r"expected extensions=\[my_terms\] among the over"):
            check_named(["my_terms"], named, Path("policy.pth"))
    check_named(["my_terms"], ["my_terms"], Path("policy.pth"))
    check_named([], ["my_terms"], Path("policy.pth"))

"""Checkpoints of a recipe with extensions: evaluated with them, and only where the user names them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from legged_ppo.cli import evaluate as evaluate_cli
from legged_ppo.config.schema import Config
from legged_ppo.errors import ConfigError
from legged_ppo.runs.checkpoint import check_compatible

Write = Callable[[str, str], Path]


@pytest.fixture
def extended(config: Config, write_module: Write) -> Config:
    """A recipe whose episodes end in their first step, by a termination outside the package."""
    write_module("my_ends", "TERMINATIONS = {'at_once': lambda x: x.fell | True}")
    config.extensions, config.task.terminations = ["my_ends"], ["at_once"]
    return config


def test_a_checkpoint_is_evaluated_with_its_extensions_where_the_user_names_them(
    extended: Config,
    tmp_path: Path,
    make_checkpoint: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = make_checkpoint(tmp_path / "policy.pth", extended)
    del sys.modules["my_ends"]
    figures = tmp_path / "figures.json"
    arguments = ["--checkpoint", str(path), "--envs", "2", "--json", str(figures)]
    assert evaluate_cli.main(arguments) == 2
    assert "my_ends" not in sys.modules
    assert "expected extensions=[my_ends] among the overrides" in capsys.readouterr().err
    assert evaluate_cli.main([*arguments, "extensions=[my_ends]"]) == 0
    assert json.loads(figures.read_text())["overall"]["time_to_fall_s"] < 0.1


def test_a_stock_checkpoint_can_be_evaluated_with_an_extension(
    config: Config, write_module: Write, tmp_path: Path, make_checkpoint: Callable[..., Path]
) -> None:
    write_module("my_ends", "TERMINATIONS = {'at_once': lambda x: x.fell | True}")
    path = make_checkpoint(tmp_path / "policy.pth", config)
    more = ["extensions=[my_ends]", "task.terminations=[at_once]"]
    assert evaluate_cli.main(["--checkpoint", str(path), "--envs", "2", *more]) == 0


def test_a_policy_is_evaluated_with_the_observation_groups_that_it_was_trained_with(
    config: Config,
    write_module: Write,
    tmp_path: Path,
    make_checkpoint: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = """
        from legged_ppo.env.extension_groups import ObservationGroup
        OBSERVATIONS = {"up": ObservationGroup(lambda x: x.projected_gravity[:, 2:], width=1)}
    """
    write_module("my_groups", source)
    path = make_checkpoint(tmp_path / "policy.pth", config)
    given = ["--checkpoint", str(path), "--envs", "2", "extensions=[my_groups]"]
    assert evaluate_cli.main([*given, "task.observations.groups=[up]"]) == 2
    assert "task.observations.groups: got ['up'], expected []" in capsys.readouterr().err


def test_a_run_is_resumed_with_the_extensions_that_it_was_started_with(config: Config) -> None:
    saved = {"config": asdict(replace(config, extensions=["my_ends"]))}
    for changed in (config, replace(config, extensions=["my_ends", "more"])):
        with pytest.raises(ConfigError, match=r"extensions: .*expected \['my_ends'\], as in the"):
            check_compatible(saved, changed, "policy.pth")
    check_compatible(saved, replace(config, extensions=["my_ends"]), "policy.pth")
    with pytest.raises(ConfigError, match="environment: got 'mine', expected '', as in the"):
        check_compatible({"config": asdict(config)}, replace(config, environment="mine"), "a.pth")


def test_a_run_is_resumed_with_or_without_a_gait_clock_as_it_was_started(config: Config) -> None:
    saved = {"config": asdict(config)}
    clock = replace(config.task, gait=replace(config.task.gait, frequency=2.0))
    with pytest.raises(ConfigError, match=r"task\.gait\.frequency .*expected False, as in the"):
        check_compatible(saved, replace(config, task=clock), "policy.pth")

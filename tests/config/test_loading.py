"""Recipes, overrides, and what a user is told about bad ones."""

import textwrap
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from legged_ppo.cli import train as cli
from legged_ppo.cli.parser import EXIT_BAD_INPUT
from legged_ppo.config.loading import CONFIG_DIR, config_to_yaml, load_config
from legged_ppo.config.schema import Config
from legged_ppo.errors import ConfigError

QUICKSTART = CONFIG_DIR / "phase1_quickstart.yaml"


def message(path: Path | str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as error:
        load_config(path, overrides)
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("recipe", sorted(CONFIG_DIR.glob("*.yaml")), ids=lambda p: p.stem)
def test_every_recipe_loads(recipe: Path) -> None:
    assert isinstance(load_config(recipe), Config)


def test_overrides_change_values_and_groups() -> None:
    config = load_config(QUICKSTART, ["ppo.learning_rate=1e-4", "robot=a1", "terrain=flat"])
    assert config.ppo.learning_rate == 1e-4
    assert config.robot.name == "a1"
    assert list(config.terrain.proportions) == ["flat"]


def test_a_recipes_dictionary_replaces_the_default(tmp_path: Path) -> None:
    recipe = tmp_path / "own.yaml"
    recipe.write_text("defaults: [schema, _self_]\nterrain: {proportions: {rough: 1.0}}\n")
    assert load_config(recipe).terrain.proportions == {"rough": 1.0}


def test_a_group_can_be_added_with_plus(tmp_path: Path) -> None:
    (tmp_path / "preset").mkdir()
    (tmp_path / "preset" / "tiny.yaml").write_text("# @package _global_\ntraining: {num_envs: 3}\n")
    recipe = tmp_path / "own.yaml"
    recipe.write_text("defaults: [schema, robot: go2, _self_]\n")
    assert load_config(recipe, ["+preset=tiny"]).training.num_envs == 3


def test_a_recipe_anywhere_finds_the_projects_groups(tmp_path: Path) -> None:
    recipe = tmp_path / "own.yaml"
    recipe.write_text("defaults: [schema, robot: a1, _self_]\nppo: {gamma: 0.9}\n")
    config = load_config(recipe)
    assert (config.robot.name, config.ppo.gamma) == ("a1", 0.9)


def test_the_documented_recipe_composes_and_suits_a_laptop(tmp_path: Path) -> None:
    page = (CONFIG_DIR.parent / "docs" / "configuration.md").read_text()
    lines = page.split("minutes:\n\n")[1].split("\n\n")[0]
    recipe = tmp_path / "my_recipe.yaml"
    recipe.write_text(textwrap.dedent(lines))
    config, parent = load_config(recipe), load_config(QUICKSTART)
    assert (config.robot.name, config.ppo.gamma) == ("a1", 0.98)
    assert config.training.total_timesteps < parent.training.total_timesteps
    assert config.task == parent.task and config.policy == parent.policy


def test_a_printed_config_loads_as_the_same_config(tmp_path: Path) -> None:
    config = load_config(QUICKSTART, ["ppo.target_kl=0.02", "robot=a1"])
    printed = tmp_path / "printed.yaml"
    printed.write_text(config_to_yaml(config))
    assert load_config(printed) == config


def test_unknown_key_names_the_closest_one() -> None:
    assert "ppo.gama" in message(QUICKSTART, "ppo.gama=0.9")
    assert "did you mean 'ppo.gamma'" in message(QUICKSTART, "ppo.gama=0.9")
    assert "'foo'" in message(QUICKSTART, "+foo=1")


def test_unknown_key_in_a_file_names_the_file(tmp_path: Path) -> None:
    recipe = tmp_path / "own.yaml"
    recipe.write_text("defaults: [schema, _self_]\ntraining: {num_env: 4}\n")
    text = message(recipe)
    assert str(recipe) in text and "did you mean 'training.num_envs'" in text


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("ppo.gamma=abc", ["ppo.gamma", "'abc'", "float"]),
        ("policy.gru_hidden=3.5", ["policy.gru_hidden", "'3.5'", "int"]),
        ("training.num_envs=-3", ["training.num_envs", "-3", "> 0"]),
        ("ppo.gamma=1.5", ["ppo.gamma", "1.5", "at most 1"]),
        ("ppo.schedule=cos", ["ppo.schedule", "'cos'", "cosine"]),
        ("ppo.bptt_length=7", ["ppo.bptt_length", "7", "divisor"]),
        ("policy.init_std=5", ["policy.init_std", "5", "max_std"]),
        ("policy={distribution: beta, init_std: 3.0}", ["policy.init_std", "3.0", "beta"]),
        ("task.randomization.latency_s=[0,1]", ["latency_s", "within one control step"]),
        ("task.randomization.armature_scale=[0,1]", ["armature_scale", "0 < low <= high"]),
        ("task.commands.lin_vel_x=[1,-1]", ["lin_vel_x", "low <= high"]),
        ("robot=b7", ["robot", "'b7'", "a1, go2"]),
        ("scandots=legged_gym", ["'legged_gym'", "+scandots=legged_gym", "command line"]),
        ("+robot=a1", ["'a1'", "robot=a1 without a +", "command line"]),
        ("gamma", ["'gamma'", "key=value"]),
    ],
)
def test_bad_value_names_key_value_and_what_is_allowed(override: str, parts: list[str]) -> None:
    text = message(QUICKSTART, override)
    assert all(part in text for part in parts), text


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["terrain.tile_size=3"], ["terrain.tile_size", "3.0", "at least"]),
        (["terrain.platform=0.5"], ["terrain.platform", "0.5", "at least"]),
        (["terrain.height_map_cell=0.3"], ["terrain.tile_size", "multiple", "height_map_cell"]),
        # A curriculum that could do nothing.
        (["terrain.num_levels=1", "terrain.max_initial_level=0"], ["curriculum.rule", "one level"]),
        (["terrain=flat", "terrain.curriculum.rule=progress"], ["curriculum.rule", "one level"]),
        (
            [
                "terrain.proportions={stairs_up: 1, rough: 1}",
                "terrain.stair_height=[0.1,0.1]",
                "terrain.roughness=[0,0]",
            ],
            ["curriculum.rule", "the same on all"],
        ),
        (["terrain.curriculum.promote=1.5"], ["curriculum.promote", "at most 1"]),
        (["terrain.curriculum.demote=0.9"], ["curriculum.demote", "below"]),
        (["terrain.max_initial_level=10"], ["max_initial_level", "below terrain.num_levels"]),
        (["task.commands.forward_types=[gap]"], ["commands.forward_types", "'gap'", "gaps"]),
        (
            ["task.commands.forward_types=[gaps]", "task.commands.heading=false"],
            ["commands.forward_types", "heading is true"],
        ),
    ],
)
def test_ground_that_cannot_be_used_is_refused_with_the_recipe(
    overrides: list[str], parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = str(CONFIG_DIR / "phase1_fast.yaml")
    assert cli.main(["--config", recipe, "--print-config", *overrides]) == EXIT_BAD_INPUT
    captured = capsys.readouterr()
    assert all(part in captured.err for part in parts) and not captured.out


def test_missing_file_and_other_formats_are_told_apart(tmp_path: Path) -> None:
    assert "nope.yaml" in message("nope.yaml")
    broken, scalar = tmp_path / "broken.yaml", tmp_path / "scalar.yaml"
    broken.write_text("a: [1\nb")
    scalar.write_text("hello")
    assert "valid YAML" in message(broken)
    assert "keys and values" in message(scalar)


def test_every_key_in_the_configs_folder_is_in_the_schema() -> None:
    for group in ("robot", "terrain", "task"):
        section = next(f for f in fields(Config) if f.name == group).default_factory
        known = {f.name for f in fields(section)}  # type: ignore[arg-type]
        for file in (CONFIG_DIR / group).glob("*.yaml"):
            assert set(yaml.safe_load(file.read_text())) <= known, file


@pytest.mark.parametrize("name", ["phase1_fast", "phase1_fast.yaml", "configs/phase1_fast.yaml"])
def test_a_recipe_of_the_project_is_found_from_any_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_config(name) == load_config(CONFIG_DIR / "phase1_fast.yaml")


def test_a_file_that_exists_wins_over_the_project_recipe_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("phase1_fast.yaml").write_text("defaults: [schema, _self_]\nppo: {gamma: 0.5}\n")
    assert load_config("phase1_fast.yaml").ppo.gamma == 0.5


def test_an_mjcf_lies_beside_the_recipe_or_its_robot_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "robot").mkdir()
    monkeypatch.chdir("/")
    for folder, recipe in (
        (tmp_path, "defaults: [schema, _self_]\nrobot: {mjcf: mine.xml}\n"),
        (tmp_path / "robot", "defaults: [schema, robot: mine, _self_]\n"),
    ):
        (tmp_path / "robot" / "mine.yaml").write_text("mjcf: mine.xml\n")
        (folder / "mine.xml").write_text("<mujoco/>")
        (tmp_path / "recipe.yaml").write_text(recipe)
        assert load_config(tmp_path / "recipe.yaml").robot.mjcf == str(folder / "mine.xml")
        (folder / "mine.xml").unlink()


def test_whole_numbers_may_be_written_as_floats(tmp_path: Path) -> None:
    recipe = tmp_path / "own.yaml"

    def config_of(text: str) -> Config:
        recipe.write_text(f"defaults: [phase1_quickstart, _self_]\n{text}\n")
        return load_config(recipe)

    training = config_of("training: {total_timesteps: 5e6, num_envs: 2.0}").training
    assert (training.total_timesteps, training.num_envs) == (5_000_000, 2)
    assert all(type(each) is int for each in (training.total_timesteps, training.num_envs))
    hidden = config_of("policy: {actor_hidden: [1.28e2, 64]}").policy.actor_hidden
    assert hidden == [128, 64] and all(type(width) is int for width in hidden)
    for text, key in (
        ("training: {num_envs: 2.5}", "training.num_envs"),
        ("training: {num_envs: 1e300}", "training.num_envs"),
        ("training: {num_envs: many}", "training.num_envs"),
    ):
        with pytest.raises(ConfigError, match=rf"{key}: got .*int"):
            config_of(text)

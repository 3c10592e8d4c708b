"""One grammar of overrides: the same text means the same in training, on resuming and in evaluation."""

from __future__ import annotations

import pytest

from legged_ppo.cli import train as cli
from legged_ppo.config.loading import CONFIG_DIR, load_config
from legged_ppo.config.overrides import apply_overrides
from legged_ppo.errors import ConfigError

RECIPE = CONFIG_DIR / "phase1_fast.yaml"
TASK = ("robot", "terrain", "sim", "task")


@pytest.mark.parametrize(
    "overrides",
    [
        ["terrain=flat"],
        ["+scandots=legged_gym"],
        ["+preset=debug"],
        ["+preset=explore", "+preset=debug"],
        ["+preset=[explore,debug]", "ppo.entropy_coef=0.5"],
        ["ppo.entropy_coef=0.5", "+preset=explore"],
        ["task.commands={lin_vel_x: [0, 1], heading: true}"],
        ["ppo={gamma: 0.9}"],
        ["training.total_timesteps=5e6", "training.num_envs=1.5e3"],
        ["training.run_name='a b'", "ppo.value_clip_range=null"],
    ],
    ids=" ".join,
)
def test_a_recipe_and_a_saved_config_change_alike(overrides: list[str]) -> None:
    assert apply_overrides(load_config(RECIPE), overrides) == load_config(RECIPE, overrides)


def test_several_presets_apply_in_their_order() -> None:
    config = load_config(RECIPE, ["+preset=explore", "+preset=debug"])
    assert (config.policy.init_std, config.training.num_envs) == (1.2, 16)


def test_evaluation_takes_of_a_preset_what_it_may_change() -> None:
    saved = load_config(RECIPE)
    changed = apply_overrides(saved, ["+preset=explore"], TASK)
    assert changed.task.commands.initial_scale == 0.5 and changed.ppo == saved.ppo
    with pytest.raises(ConfigError, match="robot, terrain, sim, task"):
        apply_overrides(saved, ["+preset=debug"], TASK)


@pytest.mark.parametrize(
    ("override", "meant"),
    [
        ("seed=3", "training.seed"),
        ("lr=1e-4", "ppo.learning_rate"),
        ("num_envs=3", "training.num_envs"),
        ("task.commands={lin_vel: [0, 1]}", "task.commands.lin_vel_"),
    ],
)
def test_an_unknown_key_gets_a_hint_everywhere(override: str, meant: str) -> None:
    for change in (
        lambda: load_config(RECIPE, [override]),
        lambda: apply_overrides(load_config(RECIPE), [override]),
    ):
        with pytest.raises(ConfigError, match=f"did you mean '{meant}"):
            change()


def test_a_key_written_as_an_option_gets_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--config", str(RECIPE), "--num_envs", "64"])
    assert "did you mean training.num_envs=...?" in capsys.readouterr().err


def test_a_fraction_is_no_integer() -> None:
    with pytest.raises(ConfigError, match="num_envs"):
        load_config(RECIPE, ["training.num_envs=1.5e0"])

"""Every recipe in configs/ trains, and the documented one says what was documented."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from legged_ppo.cli.train import main
from legged_ppo.config.loading import CONFIG_DIR, load_config

RECIPES = sorted(path.stem for path in CONFIG_DIR.glob("*.yaml"))
PRESETS = sorted(path.stem for path in (CONFIG_DIR / "preset").glob("*.yaml"))


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_trains(recipe: str, tmp_path: Path) -> None:
    arguments = ["--config", str(CONFIG_DIR / f"{recipe}.yaml"), "+preset=debug"]
    small = ["training.num_envs=12", "training.total_timesteps=600", "task.episode_length_s=0.3"]
    small.append("terrain.curriculum.distance=0")
    folder = [f"training.log_dir={tmp_path}", "training.run_name=run"]
    assert main([*arguments, *small, *folder]) == 0
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    assert rows[-1]["env_steps"] >= 600 and rows[-1]["Sim/nonfinite_resets"] == 0
    assert all(row["Loss/value"] is not None for row in rows)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_goes_on_top_of_the_documented_recipe(preset: str) -> None:
    path = CONFIG_DIR / "phase1_monolithic.yaml"
    assert load_config(path, [f"+preset={preset}"]) != load_config(path)


@pytest.mark.parametrize(("preset", "points"), [("sparse", 16), ("legged_gym", 187)])
def test_scandot_presets_change_the_grid(preset: str, points: int) -> None:
    config = load_config(CONFIG_DIR / "phase1_fast.yaml", [f"+scandots={preset}"])
    grid = config.task.observations.scandots
    assert len(grid.x) * len(grid.y) == points


def test_the_documented_recipe_has_the_documented_values() -> None:
    config = load_config(CONFIG_DIR / "phase1_monolithic.yaml")
    ppo, policy, training = config.ppo, config.policy, config.training
    assert (ppo.learning_rate, ppo.schedule, ppo.final_lr_fraction) == (3e-4, "cosine", 0.1)
    assert (ppo.num_epochs, ppo.sequences_per_minibatch, ppo.bptt_length) == (10, 64, 24)
    assert (ppo.clip_range, ppo.entropy_coef, ppo.value_coef) == (0.2, 0.01, 0.5)
    assert (ppo.max_grad_norm, ppo.gamma, ppo.gae_lambda) == (1.0, 0.99, 0.95)
    assert training.total_timesteps == 15e9
    assert (training.checkpoint_freq, training.num_envs) == (1e6, 4096)
    assert (policy.scandots_hidden, policy.scandots_latent) == ([64, 32], 16)
    assert (policy.gru_hidden, policy.gru_layers, policy.actor_hidden) == (256, 1, [128, 64])
    assert config.robot.name == "a1" and config.robot.kp == 40.0 and config.robot.kd == 0.5
    rewards = {k: v for k, v in vars(config.task.rewards).items() if isinstance(v, float) and v}
    published = {
        "tracking": 7.0,
        "work": -1e-4,
        "foot_jerk": -1e-4,
        "feet_drag": -1e-4,
        "collision": -1.0,
        "survival": 1.0,
    }
    assert published.items() <= rewards.items()
    constants = ("sigma", "target", "limit")  # of terms that are switched off
    assert not [name for name in rewards.keys() - published if not name.endswith(constants)]


def test_a_curriculum_that_nobody_could_climb_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    recipe = ["--config", str(CONFIG_DIR / "phase1_fast.yaml"), f"training.log_dir={tmp_path}"]
    assert main([*recipe, "terrain.curriculum.distance=50"]) == 2
    assert "at most 22.4 m" in capsys.readouterr().err and not list(tmp_path.iterdir())

"""A sweep's file: what it means, and one line for what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from legged_ppo.config.sweep import read_sweep
from legged_ppo.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
GOOD: dict[str, Any] = {
    "recipe": "gym/cartpole_ppo",
    "metric": "Eval/mean_return",
    "parameters": {
        "ppo.learning_rate": {"low": 1e-4, "high": 1e-3, "log": True},
        "ppo.num_epochs": {"low": 1, "high": 4},
        "ppo.rollout_length": [16, 32],
    },
}


def write(folder: Path, **changes: Any) -> Path:
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump(GOOD | changes))
    return path


def test_ranges_integers_and_choices(tmp_path: Path) -> None:
    rate, epochs, rollout = read_sweep(write(tmp_path)).parameters
    assert (rate.low, rate.high, rate.log, rate.integer) == (1e-4, 1e-3, True, False)
    assert epochs.integer and rollout.choices == (16, 32)
    assert rate.contains(5e-4) and not rate.contains(1e-2) and rollout.contains(32)


def test_a_grid_has_as_many_trials_as_combinations(tmp_path: Path) -> None:
    parameters = {"ppo.num_epochs": [1, 2], "ppo.rollout_length": [16, 32, 64]}
    sweep = read_sweep(write(tmp_path, sampler="grid", parameters=parameters, trials=100))
    assert sweep.trials == 6


def test_a_recipe_lies_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("defaults: [schema, _self_]\nppo: {bptt_length: 8}\n")
    sweep = read_sweep(write(tmp_path, recipe="own.yaml"))
    assert Path(sweep.recipe) == tmp_path / "own.yaml"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"trails": 3}, "unknown key: got 'trails', .*did you mean 'trials'"),
        ({"metric": None}, "metric: got None"),
        ({"trials": 0}, "trials: got 0, expected an integer > 0"),
        ({"direction": "up"}, "direction: got 'up', expected maximize or minimize"),
        ({"seeds": []}, "seeds: got"),
        ({"sampler": "grid"}, "grid needs a list for .*ppo.learning_rate"),
        ({"parameters": {}}, "parameters: got"),
        ({"parameters": {"ppo.gamma": {"low": 0.9}}}, "parameters.ppo.gamma: got .*low"),
        ({"parameters": {"ppo.gamma": {"low": 0.9, "high": 0.8}}}, "parameters.ppo.gamma"),
        ({"parameters": {"ppo.gama": [0.9]}}, "ppo.gama.*did you mean 'ppo.gamma'"),
        ({"parameters": {"ppo.gamma": {"low": 0.9, "high": 1.5}}}, "ppo.gamma: got 1.5"),
        ({"overrides": ["ppo.gamma=7"]}, "ppo.gamma: got 7"),
        ({"recipe": "nothing.yaml"}, "nothing.yaml"),
    ],
)
def test_what_is_wrong_is_one_line_with_the_file(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    path = write(tmp_path, **changes)
    with pytest.raises(ConfigError, match=words) as caught:
        read_sweep(path)
    assert str(path.name) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["[1, 2]", "a: [1", "\x00"])
def test_a_file_of_another_kind_is_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        read_sweep(path)
    with pytest.raises(ConfigError, match="a sweep's YAML file"):
        read_sweep(tmp_path / "none.yaml")


def test_the_example_sweeps_the_documented_ranges() -> None:
    sweep = read_sweep(ROOT / "examples" / "sweep_documented_ranges.yaml")
    ranges = {p.key: p.extremes() for p in sweep.parameters}
    assert ranges == {
        "ppo.learning_rate": (1e-4, 1e-3),
        "ppo.clip_range": (0.1, 0.3),
        "ppo.entropy_coef": (0.005, 0.02),
        "ppo.bptt_length": (16, 32),
    }

"""The ablations train what has not finished, pair by seed, and say what differs from the whole recipe."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ablations import FULL, VARIANTS, Plan, difference, main

from legged_ppo.models.actor_critic import ActorCritic

TINY = [
    "+preset=debug",
    "sim.engine=mujoco_c",
    "training.num_envs=12",
    "terrain.num_levels=2",
    "terrain.proportions={rough: 1}",
    "task.episode_length_s=0.3",
    "terrain.curriculum.distance=0",
]


def test_a_variant_lacks_what_its_name_says_and_nothing_else(tmp_path: Path) -> None:
    plan = Plan("phase1_fast", [], list(VARIANTS), [1], 600, tmp_path, 1, "cpu")
    configs = {variant: plan.config(variant, 1) for variant in VARIANTS}
    full = configs[FULL]
    assert (full.policy.gru_layers, full.ppo.symmetry) == (1, "equivariant")
    assert full.policy.scandots_latent > 0 and full.terrain.curriculum.rule == "progress"
    for variant, config in configs.items():
        lacks = {
            "memoryless": config.policy.gru_layers == 0,
            "blind": config.policy.scandots_latent == 0,
            "no_symmetry": config.ppo.symmetry == "none",
            "no_curriculum": config.terrain.curriculum.rule == "none"
            and config.terrain.max_initial_level is None,
        }
        assert [name for name, holds in lacks.items() if holds] == (
            [] if variant == FULL else [variant]
        )


def test_differences_are_paired_and_their_interval_is_over_seeds() -> None:
    full = [np.array([1.0, 0.0]), np.array([1.0, 1.0]), np.array([0.0, 0.0])]
    other = [each - change for each, change in zip(full, (0.1, 0.2, 0.3), strict=True)]
    mean, half = difference(full, other)
    assert mean == pytest.approx(-0.2)
    assert half == pytest.approx(4.303 * 0.1 / 3**0.5, rel=1e-6)  # Student, two degrees of freedom


def test_the_interval_of_one_seed_is_over_its_episodes_without_those_that_have_no_value() -> None:
    full, other = np.array([1.0, 1.0, np.nan, 0.0]), np.array([0.0, 1.0, 0.5, 0.0])
    mean, half = difference([full], [other])
    assert mean == pytest.approx(-1 / 3)
    assert half == pytest.approx(1.959964 * np.std([-1, 0, 0], ddof=1) / 3**0.5)


def test_one_command_trains_and_compares_and_a_second_one_only_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logs, file = tmp_path / "logs", tmp_path / "rows.json"
    arguments = ["--config", "phase1_fast", "--seeds", "1", "--per-cell", "1", *TINY]
    arguments += ["--log-dir", str(logs), "--json", str(file), "--variants", "blind"]
    assert main([*arguments, "--steps", "384", "--no-training"]) == 2
    assert "a finished run of full" in capsys.readouterr().err
    assert main([*arguments, "--steps", "384"]) == 0
    text = capsys.readouterr().out
    assert f"training {logs / 'blind_s1'}" in text and "| rough |" in text
    rows = json.loads(file.read_text())["rows"]
    assert list(rows) == ["all", "rough", "velocity error [m/s]", "yaw rate error [rad/s]"]
    assert set(rows["all"]) == {FULL, "blind"}
    monkeypatch.setattr(ActorCritic, "act", None)  # nothing may act again
    assert main([*arguments, "--steps", "384", "--no-training"]) == 0
    assert json.loads(file.read_text())["rows"] == rows
    capsys.readouterr()
    assert main([*arguments, "--steps", "400"]) == 2
    assert "another recipe, length or overrides" in capsys.readouterr().err

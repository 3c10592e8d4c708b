"""Advice on runs: found where the figures say so, with keys that exist."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from run_folders import evaluation, finish_run, make_run

from legged_ppo.config.keys import known_keys
from legged_ppo.config.schema import Config
from legged_ppo.reports import diagnosis
from legged_ppo.reports.diagnosis import advice_for
from legged_ppo.reports.health import RULES
from legged_ppo.reports.run_record import read_run


def test_the_lines_of_the_training_are_found_with_their_time(
    tmp_path: Path, config: Config
) -> None:
    (advice,) = advice_for(read_run(make_run(tmp_path / "run", config)))
    assert advice.symptom == "updates are far too large"
    assert advice.figure == "Policy/approx_kl 0.2" and "ppo.target_kl" in advice.change
    assert advice.steps == pytest.approx(43 * 12288 / 1e6) and not advice.lasting


def test_evaluations_that_still_rise_or_have_fallen_are_noted(
    tmp_path: Path, config: Config
) -> None:
    rising = finish_run(make_run(tmp_path / "rising", config, iterations=200))
    symptoms = [each.symptom for each in advice_for(read_run(rising))]
    assert "still improving at its end" in symptoms
    fallen = make_run(tmp_path / "fallen", config, iterations=200)
    rows = [json.loads(line) for line in (fallen / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        if "Eval/success_rate" in row:
            row["Eval/success_rate"] = 0.9 if row["iteration"] < 100 else 0.4
    (fallen / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (advice,) = (each for each in advice_for(read_run(fallen)) if each.steps is None)
    assert advice.symptom == "worse than its best" and "0.40, 0.90 at 0.1 M" in advice.figure


def test_a_healthy_evaluation_has_no_advice_and_each_rule_its_symptom() -> None:
    healthy = evaluation(0.9)
    healthy["terrain"].pop("gaps")
    healthy["gait"] = {"1.0": {"saturated_torque": 0.0, "velocity_m_s": 0.95, "slip_m_s": 0.05}}
    assert list(diagnosis._of_evaluation(healthy)) == []
    ill = {
        "saturated_torque": 0.1,
        "power_above_8hz": 0.5,
        "slip_m_s": 0.3,
        "swing_height_m": 0.01,
        "velocity_m_s": 0.3,
        "lateral_bias_m_s": -0.2,
        "fall_rate": 0.5,
    }
    found = list(
        diagnosis._of_evaluation({"gait": {"1.0": ill}, "standing": {"landings_per_s": 2}})
    )
    assert len(found) == len(ill) + 1
    assert {each.figure.split()[0] for each in found} == {*ill, "landings_per_s"}


def test_every_key_that_advice_names_exists() -> None:
    known = known_keys()
    texts = [rule.change for rule in diagnosis._GAIT_RULES] + [rule.advice for rule in RULES]
    texts += re.findall(r'"([^"]*)"', Path(diagnosis.__file__).read_text())
    named = {key for text in texts for key in re.findall(r"\b[a-z]+\.[a-z_.]+[a-z]", text)}
    sections = ("ppo.", "task.", "terrain.", "robot.", "policy.", "sim.", "training.")
    keys = {key for key in named if key.startswith(sections)}
    assert len(keys) > 15
    assert {key for key in keys if key not in known} <= {"terrain.proportions.flat"}

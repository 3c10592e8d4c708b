"""The policies that come with the package have the figures of their model cards, and the page shows these."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from legged_ppo.evaluation import model_card
from legged_ppo.evaluation.model_card import (
    gait_disagreements,
    measure_gait,
    measure_row,
    row_disagreements,
)
from legged_ppo.evaluation.statistics import interval_name
from legged_ppo.evaluation.trained_policy import load_policy
from legged_ppo.reports.model_card import card_markdown
from legged_ppo.runs.pretrained import pretrained_card, pretrained_names

DOCS = Path(__file__).resolve().parents[2] / "docs" / "pretrained.md"
ROWS = [
    (name, row) for name in pretrained_names() for row in pretrained_card(name)["measured"]["rows"]
]
EPISODES = 8


def label(value: Any) -> str:
    return f"{value['terrain']}-{value['level']}" if isinstance(value, dict) else value


@pytest.mark.parametrize(("name", "row"), ROWS, ids=label)
def test_a_policy_walks_as_its_card_says(name: str, row: dict[str, Any]) -> None:
    measured = measure_row(name, row, EPISODES, seed=7)
    assert measured["feature"] == row["feature"]  # the ground is that of the card
    assert row_disagreements(row, measured) == []


@pytest.mark.parametrize("name", pretrained_names())
def test_a_policy_steps_and_stands_as_its_card_says(name: str) -> None:
    card = pretrained_card(name)["measured"]
    assert gait_disagreements(card, measure_gait(name, EPISODES, seed=7)) == []


def test_a_policy_that_lost_its_weights_disagrees_with_its_card(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def damaged(*source: Any) -> Any:
        policy = load_policy(*source)
        with torch.no_grad():
            for weight in policy.network.parameters():
                weight.mul_(0.5)
        return policy

    monkeypatch.setattr(model_card, "load_policy", damaged)
    name, row = next(pair for pair in ROWS if pair[0] == "go2_rough")
    lines = row_disagreements(row, measure_row(name, row, EPISODES, seed=7))
    assert any(line.startswith("success in") for line in lines)
    card = pretrained_card(name)["measured"]
    assert gait_disagreements(card, measure_gait(name, EPISODES, seed=7))


def test_chance_alone_is_no_disagreement_and_a_card_that_promises_too_much_is() -> None:
    row = ROWS[0][1] | {"success_rate": 0.9, "success_ci95": [0.82, 0.95], "episodes": 96}
    for successes, agrees in ((8, True), (5, True), (1, False)):
        measured = copy.deepcopy(row) | {"episodes": 8, "success_rate": successes / 8}
        assert (row_disagreements(row, measured) == []) is agrees
    slower = copy.deepcopy(row) | {"lin_vel_error": row["lin_vel_error"] + 0.5}
    assert row_disagreements(row, slower)[0].startswith("lin_vel_error")


def test_one_fall_where_no_robot_of_the_card_fell_is_chance_and_a_shorter_life_is_not() -> None:
    upright = {"time_to_fall_s": 20.0, interval_name("time_to_fall_s"): [20.0, 20.0]}
    row = ROWS[0][1] | upright
    one_fall = row | {"time_to_fall_s": 19.0, interval_name("time_to_fall_s"): [17.0, 21.0]}
    assert row_disagreements(row, one_fall) == []
    many_falls = row | {"time_to_fall_s": 12.0, interval_name("time_to_fall_s"): [10.0, 14.0]}
    assert row_disagreements(row, many_falls)[0].startswith("time_to_fall_s")


@pytest.mark.parametrize("name", pretrained_names())
def test_the_page_shows_the_card(name: str) -> None:
    hint = "python benchmarks/model_cards.py --render"
    assert card_markdown(name, pretrained_card(name)) in DOCS.read_text(), hint

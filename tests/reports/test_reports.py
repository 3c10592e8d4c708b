"""Heat maps, pages, comparisons and the published protocol."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from legged_ppo.cli import evaluate as evaluate_cli
from legged_ppo.config.schema import Config
from legged_ppo.evaluation.comparison import compare
from legged_ppo.evaluation.evaluator import collect_episodes, evaluate_policy
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.reports.heat_map import heat_map_png, success_matrix
from legged_ppo.reports.terrain_report import write_terrain_report


@pytest.fixture
def checkpoint(tmp_path: Path, config: Config, make_checkpoint: Callable[..., Path]) -> Path:
    return make_checkpoint(tmp_path / "policy.pth", config)


def test_the_matrix_has_the_success_rates_and_holes_where_nobody_was() -> None:
    groups = {
        "flat": {"levels": {"0": {"success_rate": 1.0, "episodes": 9}}, "features": {"0": ""}},
        "gaps": {
            "levels": {
                "0": {"success_rate": 0.5, "episodes": 2},
                "2": {"success_rate": 0.25, "episodes": 4},
            },
            "features": {"0": "", "1": "5 cm", "2": "20 cm"},
        },
    }
    labels, rates, episodes = success_matrix(groups)
    assert labels == ["flat", "gaps\n5 cm to 20 cm"]
    np.testing.assert_array_equal(rates, [[1.0, np.nan, np.nan], [0.5, np.nan, 0.25]])
    np.testing.assert_array_equal(episodes, [[9, 0, 0], [2, 0, 4]])


def test_a_heat_map_is_darker_where_rates_are_higher() -> None:
    rates = np.tile([[0.0, 1.0]], (4, 3))
    picture = io.BytesIO(heat_map_png(list("abcd"), rates, "title"))
    pixels = np.asarray(Image.open(picture).convert("L")).astype(int)
    row = pixels[pixels.shape[0] // 2 + 12]  # between the numbers
    assert (row < 80).sum() > 60 and (row > 240).sum() > 60


@pytest.mark.parametrize("suffix", ["html", "md"])
def test_a_report_page_shows_every_type_and_level(
    checkpoint: Path, tmp_path: Path, suffix: str
) -> None:
    page = tmp_path / f"report.{suffix}"
    arguments = ["--checkpoint", str(checkpoint), "--envs", "8", "--report", str(page)]
    assert evaluate_cli.main(arguments) == 0
    text = page.read_text()
    first_cells = re.findall(r"<tr[^>]*><td>([^<]*)|^\| ([^|]*) \|", text, re.MULTILINE)
    rows = ["all", "flat", "rough", "level 0: 1 cm", "level 1: 5 cm"]
    assert ["".join(cells) for cells in first_cells if cells[1] not in ("terrain", "command")] == [
        *rows,
        *("0.5 m/s", "1.0 m/s", "0 m/s"),  # the gait
    ]
    assert len(re.findall(r"\d\u00b1\d", text)) > 4 * len(rows), (
        "figures with intervals in each row"
    )
    assert (tmp_path / "report.png").is_file() == (suffix == "md")
    assert ("data:image/png;base64," in text) == (suffix == "html")


def test_a_page_leaves_the_picture_of_another_alone(
    config: Config, make_policy: Callable[..., ActorCritic], tmp_path: Path
) -> None:
    result = evaluate_policy(make_policy(config), config, 4, seed=0)
    write_terrain_report(tmp_path / "out.md", Path("policy.pth"), result)
    picture = (tmp_path / "out.png").read_bytes()
    write_terrain_report(tmp_path / "out.html", Path("policy.pth"), result)
    assert (tmp_path / "out.png").read_bytes() == picture
    (tmp_path / "other.png").write_text("a picture of the user's own")
    write_terrain_report(tmp_path / "other.html", Path("policy.pth"), result)
    assert (tmp_path / "other.png").read_text() == "a picture of the user's own"


def test_episodes_are_shared_out_evenly_whatever_the_training_did(
    config: Config, make_policy: Callable[..., ActorCritic]
) -> None:
    config.terrain.proportions = {"flat": 0.9, "rough": 0.1}
    config.terrain.max_initial_level = 0
    config.terrain.curriculum.rule = "progress"
    episodes, _ = collect_episodes(make_policy(config), config, 16, seed=0)
    cells = episodes.terrain_type * 2 + episodes.terrain_level
    assert np.bincount(cells).tolist() == [4, 4, 4, 4]


def test_a_policy_equals_itself_in_a_comparison_and_differs_from_another(
    config: Config, make_policy: Callable[..., ActorCritic]
) -> None:
    policy = make_policy(config)
    first, terrain = collect_episodes(policy, config, 12, seed=3)
    again, _ = collect_episodes(policy, config, 12, seed=3)
    same = compare(first, again, terrain)
    assert list(same["terrain"]) == terrain.types
    for figure, difference in same["overall"]["difference"].items():
        assert difference == [0.0, 0.0, 0.0], figure
    again.lin_vel_error = again.lin_vel_error + 0.5 * again.steps
    worse = compare(first, again, terrain)["overall"]["difference"]
    assert worse["lin_vel_error"] == pytest.approx([0.5, 0.5, 0.5])
    again.steps[0] = 0  # fell in its first step: no error to speak of
    row = compare(first, again, terrain)["overall"]
    assert row["difference"]["lin_vel_error"] == pytest.approx([0.5, 0.5, 0.5])
    one = np.arange(len(first.steps)) == 1
    alone = compare(first.select(one), again.select(one), terrain)["overall"]
    assert alone["difference"]["lin_vel_error"] == [pytest.approx(0.5), None, None]
    for figure in ("time_to_fall_s", "displacement_m"):
        assert row["second"][figure] - row["first"][figure] == pytest.approx(
            row["difference"][figure][0]
        )


def test_compare_prints_both_and_writes_json(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "difference.json"
    arguments = ["--compare", str(checkpoint), str(checkpoint), "--envs", "4", "--json", str(file)]
    assert evaluate_cli.main(arguments) == 0
    assert "B - A" in capsys.readouterr().out
    assert json.loads(file.read_text())["overall"]["difference"]["success_rate"] == [0.0, 0.0, 0.0]


def test_one_tile_can_be_evaluated_alone(
    config: Config, make_policy: Callable[..., ActorCritic]
) -> None:
    result = evaluate_policy(make_policy(config), config, 4, seed=0, place=("rough", 1))
    assert list(result["terrain"]) == ["rough"]
    assert list(result["terrain"]["rough"]["levels"]) == ["1"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--terrain", "ruogh"], "did you mean 'rough'"),
        (["--terrain", "rough", "--level", "7"], "a level from 0 to 1"),
        (["--level", "1"], "--level: got 1, expected --terrain TYPE beside it"),
        (["--report", "page.pdf"], "ends in .html or .md"),
        (["--protocol", "agarwal", "--terrain", "rough"], "left out with --protocol"),
        (["--compare", "a.pth", "b.pth", "--report", "page.md"], "left out with --compare"),
    ],
)
def test_a_place_that_does_not_exist_is_refused(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    code = evaluate_cli.main(["--checkpoint", str(checkpoint), "--envs", "2", *arguments])
    error = capsys.readouterr().err
    assert code == 2 and error.count("\n") == 1 and expected in error

"""How many episodes each terrain type and level of an evaluation gets, and what is said of too few."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from legged_ppo.cli import evaluate as evaluate_cli
from legged_ppo.config.schema import Config
from legged_ppo.evaluation.evaluator import collect_episodes
from legged_ppo.evaluation.statistics import cell_masks, summarize_by_terrain
from legged_ppo.evaluation.tiles import thin_cells_line
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.reports.terrain_report import write_terrain_report


@pytest.fixture
def checkpoint(tmp_path: Path, config: Config, make_checkpoint: Callable[..., Path]) -> Path:
    config.task.episode_length_s = 0.2
    config.terrain.proportions = {"flat": 0.7, "rough": 0.2, "slope_up": 0.1}
    config.terrain.num_levels = 3
    return make_checkpoint(tmp_path / "policy.pth", config)


def counts(file: Path) -> dict[str, dict[str, int]]:
    groups = json.loads(file.read_text())["terrain"]
    return {
        name: {level: figures["episodes"] for level, figures in group["levels"].items()}
        for name, group in groups.items()
    }


def test_every_cell_gets_the_episodes_asked_for(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "figures.json"
    arguments = ["--checkpoint", str(checkpoint), "--episodes-per-cell", "10", "--json", str(file)]
    assert evaluate_cli.main(arguments) == 0
    each = {"0": 10, "1": 10, "2": 10}
    assert counts(file) == {"flat": {"0": 10}, "rough": each, "slope_up": each}
    assert "warning" not in capsys.readouterr().out


def test_every_cell_gets_its_episodes_over_several_rounds(
    config: Config, make_policy: Callable[..., ActorCritic]
) -> None:
    config.task.episode_length_s = 0.1
    found, terrain = collect_episodes(
        make_policy(config), config, 5, seed=0, num_envs=8, by_cell=True
    )
    assert terrain.cells == [1, 2]
    masks = cell_masks(found, terrain)
    assert {name: [int(m.sum()) for m in cells.values()] for name, cells in masks.items()} == {
        "flat": [5],
        "rough": [5, 5],
    }


def test_one_tile_alone_gets_them_too(checkpoint: Path, tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    arguments = ["--checkpoint", str(checkpoint), "--episodes-per-cell", "4", "--json", str(file)]
    assert evaluate_cli.main([*arguments, "--terrain", "rough", "--level", "2"]) == 0
    assert counts(file) == {"rough": {"2": 4}}


def test_cells_with_few_episodes_or_none_cause_a_warning(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate_cli.main(["--checkpoint", str(checkpoint), "--envs", "9"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("warning: of 7 cells (terrain type and level) 0 have no episode and 7 ")
    assert evaluate_cli.main(["--checkpoint", str(checkpoint), "--envs", "2"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert "5 have no episode and 2 fewer than 10; --episodes-per-cell 10" in line


def test_both_ways_to_say_how_many_are_refused(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--checkpoint", str(checkpoint), "--envs", "8", "--episodes-per-cell", "2"]
    assert evaluate_cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert error == "error: --episodes-per-cell: got '2', expected left out with --envs\n"


def test_only_the_plane_is_the_same_at_every_level(
    config: Config, make_policy: Callable[..., ActorCritic]
) -> None:
    config.task.episode_length_s = 0.1
    plane, terrain = collect_episodes(make_policy(config), config, 8, seed=0)
    assert terrain.cells == [1, 2]
    assert sorted(plane.terrain_level[plane.terrain_type == 0].tolist()) == [0, 0, 1, 1]
    assert thin_cells_line(summarize_by_terrain(plane, terrain)).startswith("warning: of 3 cells")
    config.terrain.fractal_height = [0.02, 0.04]
    fractal, terrain = collect_episodes(make_policy(config), config, 8, seed=0)
    assert list(summarize_by_terrain(fractal, terrain)["terrain"]["flat"]["levels"]) == ["0", "1"]


def test_the_page_tells_the_episodes_of_each_cell(
    config: Config,
    make_policy: Callable[..., ActorCritic],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config.task.episode_length_s = 0.1
    found, terrain = collect_episodes(make_policy(config), config, 7, seed=0)
    drawn = []

    def draw(types: list[str], rates: np.ndarray, title: str, episodes: np.ndarray) -> bytes:
        drawn.append(episodes.tolist())
        return b"picture"

    monkeypatch.setattr("legged_ppo.reports.terrain_report.heat_map_png", draw)
    page = tmp_path / "page.md"
    write_terrain_report(page, Path("policy.pth"), summarize_by_terrain(found, terrain))
    assert drawn == [[[4, 0], [1, 2]]]
    assert "| level 1: 5 cm | 2 |" in page.read_text()

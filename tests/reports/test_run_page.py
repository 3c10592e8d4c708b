"""The page about runs: complete, in one file, whatever of a run there is."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from run_folders import finish_run, make_run

from legged_ppo.cli import report
from legged_ppo.config.schema import Config
from legged_ppo.errors import ConfigError
from legged_ppo.reports.curves import draw_panels, mean_and_spread
from legged_ppo.reports.run_groups import group_runs, recipe_differences
from legged_ppo.reports.run_page import write_page
from legged_ppo.reports.run_record import read_run


@pytest.fixture
def seeds(tmp_path: Path, config: Config) -> list[Path]:
    """Two finished seeds of one recipe and a killed run of another."""
    found = []
    for seed in (1, 2):
        config.training.seed = seed
        run = make_run(
            tmp_path / f"try_go2_s{seed}_20260101-00000{seed}", config, offset=2.0 * seed
        )
        found.append(finish_run(run, success=0.8 + 0.05 * seed))
    config.ppo.learning_rate = 1e-3
    return [*found, make_run(tmp_path / "other", config, iterations=60)]


def outside_references(text: str) -> set[str]:
    """Addresses in the page that are neither in the page itself nor videos."""
    found = re.findall(r'(?:src|href)="([^"]*)"|url\(([^)]*)\)', text)
    addresses = {"".join(each) for each in found}
    return {each for each in addresses if not each.startswith(("data:image/png;base64,", "#"))}


def sections(text: str) -> list[str]:
    return re.findall(r"<h2[^>]*>([^<]*)</h2>", text)


def test_a_finished_run_has_every_section_in_one_file(seeds: list[Path]) -> None:
    out = seeds[0] / "report.html"
    write_page([read_run(seeds[0])], out)
    text = out.read_text()
    assert sections(text) == [
        *("Runs", "Advice", "Learning curves", "Reward terms", "Terrain levels", "Terrain"),
        *("Gait", "Joints", "Videos", "Recipes"),
    ]
    assert outside_references(text) == {"videos/best.mp4"}
    assert "updates are far too large" in text and "ppo.learning_rate" in text
    assert "joints are at their torque limit" in text and "gaps fails where it is easiest" in text
    assert "0.850±0.050" in text, "success with half of its interval"
    assert "level 1: 20 cm" in text and "finished" in text and "learning_rate: 0.0003" in text


def test_seeds_are_a_mean_with_a_spread_and_recipes_are_compared(
    seeds: list[Path], tmp_path: Path
) -> None:
    png = tmp_path / "report.png"
    assert report.main([*map(str, seeds), "--png", str(png)]) == 0
    text = (tmp_path / "report.html").read_text()
    assert "3 runs compared" in text and "Differences of the recipes" in sections(text)
    assert "<td>ppo.learning_rate</td><td>0.0003</td><td>0.0003</td><td>0.001</td>" in text
    assert "mean of these 2" in text
    assert "0.875 ± 0.035" in text, "mean and deviation of the success rates 0.85 and 0.9"
    assert "try_go2_s1_20260101-000001/videos/best.mp4" in outside_references(text)
    assert "other has not been evaluated" in text
    picture = Image.open(png)
    assert picture.height > 3 * picture.width / 2


def test_the_curves_of_seeds_are_averaged_as_far_as_each_has_come(
    tmp_path: Path, config: Config
) -> None:
    long = make_run(tmp_path / "a", config, iterations=100, offset=1.0)
    short = make_run(tmp_path / "b", config, iterations=100, offset=3.0)
    lines = (short / "metrics.jsonl").read_text().splitlines(keepends=True)
    (short / "metrics.jsonl").write_text("".join(lines[:50]))
    (group,) = group_runs([read_run(long), read_run(short)])
    assert group.label.endswith("(2 seeds)")
    x, mean, spread, count = mean_and_spread(group, "Train/mean_reward")
    assert len(x) == 100 and (count == 2).sum() == 50
    assert mean[24] == pytest.approx(20 * 0.25 + 2.0, abs=0.2)
    assert spread[24] == pytest.approx(np.sqrt(2.0), abs=0.1)
    assert mean[90] == pytest.approx(20 * 0.91 + 1.0, abs=0.2) and np.isnan(spread[90])
    assert draw_panels([group], {"no such metric": "x"}) is None
    assert len(draw_panels([group], {"Train/mean_reward": "return"}).axes) == 1


def test_an_interrupted_run_and_one_without_a_row_have_a_page(
    tmp_path: Path, config: Config
) -> None:
    run = make_run(tmp_path / "killed", config)
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"iteration": 101, "env')
    empty = make_run(tmp_path / "empty", config, iterations=0)
    (empty / "curriculum.json").unlink()
    for folder in (run, empty):
        assert report.main([str(folder)]) == 0
        assert "has not been evaluated" in (folder / "report.html").read_text()
    assert "empty has no iteration yet" in (empty / "report.html").read_text()


def test_a_run_is_evaluated_on_demand_and_once(
    tmp_path: Path,
    config: Config,
    make_checkpoint: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    config.task.episode_length_s = 0.2
    run = make_run(tmp_path / "run", config)
    arguments = [str(run), "--evaluate", "--episodes", "2"]
    assert report.main(arguments) == 0
    assert "no checkpoint to evaluate yet" in capsys.readouterr().out
    make_checkpoint(run / "checkpoints" / "phase1_best.pth", config)
    assert report.main(arguments) == 0
    text = (run / "report.html").read_text()
    assert {"Gait", "Joints"} <= set(sections(text))
    written = (run / "evaluation.json").stat().st_mtime_ns
    assert report.main(arguments) == 0
    assert (run / "evaluation.json").stat().st_mtime_ns == written


def test_names_of_runs_and_values_cannot_become_markup(tmp_path: Path, config: Config) -> None:
    config.training.run_name = "</pre><script>alert(1)</script>"
    run = make_run(tmp_path / "<b>run", config)
    (run / "failure.txt").write_text("ValueError: <script>\n")
    write_page([read_run(run)], run / "report.html")
    text = (run / "report.html").read_text()
    assert "<script>" not in text and "<b>run" not in text


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["none"], "RUN: got 'none', expected the folder of a run"),
        (["."], "a run's folder with metrics.jsonl, or with TensorBoard files"),
        (["latest"], "RUN: got 'latest'"),
        ([".", "--output", "page.pdf"], "ends in .html"),
        ([".", "--png", "page.jpg"], "ends in .png"),
    ],
)
def test_what_is_no_run_is_refused_in_one_line(
    arguments: list[str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert report.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and expected in error
    assert list(tmp_path.iterdir()) == []


def test_recipes_of_other_versions_are_compared_as_far_as_they_are_read(
    tmp_path: Path, config: Config
) -> None:
    run = make_run(tmp_path / "run", config)
    old = make_run(tmp_path / "old", config)
    (old / "config.yaml").write_text("ppo:\n  old_key: 3\n")
    runs = [read_run(run), read_run(old)]
    assert runs[1].config is None
    assert recipe_differences(runs)["ppo.old_key"] == [None, 3]
    write_page(runs, tmp_path / "page.html")
    with pytest.raises(ConfigError):
        read_run(tmp_path)

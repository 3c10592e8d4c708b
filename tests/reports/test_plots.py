"""Learning curves: whatever a run has logged becomes a readable picture."""

from __future__ import annotations

import json
import math
from pathlib import Path

import imageio.v3 as imageio
import numpy as np

from legged_ppo.reports.plots import PANELS, moving_mean, plot_learning_curves, series

KEYS = [curve.key for panel in PANELS for curve in panel.curves]


def _row(iteration: int, keys: list[str]) -> dict[str, float | None]:
    row: dict[str, float | None] = {key: math.sin(iteration / 9) ** 2 for key in keys}
    return {"iteration": iteration, "env_steps": 12288 * iteration, "wall_time_s": 2.0} | row


def _write(path: Path, rows: list[dict[str, float | None]], tail: str = "") -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + tail)
    return path


def test_a_run_becomes_a_picture_with_curves(tmp_path: Path) -> None:
    training = [key for key in KEYS if not key.startswith("Eval/")]
    rows = [_row(i, KEYS if i % 10 == 0 else training) for i in range(1, 61)]
    out = tmp_path / "plots" / "curves.png"
    plot_learning_curves(_write(tmp_path / "metrics.jsonl", rows), out)
    picture = imageio.imread(out)[..., :3].astype(int)
    height, width = picture.shape[:2]
    for i in range(6):  # each panel shows the first curve's colour or that of a later one
        top, left = (i // 3) * height // 2, (i % 3) * width // 3
        panel = picture[top : top + height // 2, left : left + width // 3]
        saturation = panel.max(axis=2) - panel.min(axis=2)
        assert (saturation > 100).sum() > 300


def test_missing_metrics_nulls_a_cut_row_and_an_empty_file_are_no_obstacle(tmp_path: Path) -> None:
    rows = [_row(i, ["Loss/value"]) | {"Train/mean_reward": None} for i in range(3)]
    for name, content, tail in (("cut", rows, '{"iteration": 3, "env'), ("empty", [], "")):
        out = tmp_path / f"{name}.png"
        plot_learning_curves(_write(tmp_path / f"{name}.jsonl", content, tail), out)
        assert out.stat().st_size > 10_000


def test_series_skips_what_is_not_a_number() -> None:
    rows = [
        {"env_steps": 1e6, "a": 1.0},
        {"env_steps": 2e6, "a": None},
        {"env_steps": 3e6},
        {"env_steps": 4e6, "a": float("nan")},
        {"env_steps": 5e6, "a": 2.0},
    ]
    x, y = series(rows, "a")
    assert x.tolist() == [1.0, 5.0]
    assert y.tolist() == [1.0, 2.0]


def test_the_moving_mean_keeps_constants_to_the_ends() -> None:
    np.testing.assert_allclose(moving_mean(np.full(7, 3.0), 3), 3.0)
    np.testing.assert_allclose(moving_mean(np.array([0.0, 3.0, 6.0, 9.0]), 3), [1.5, 3, 6, 7.5])

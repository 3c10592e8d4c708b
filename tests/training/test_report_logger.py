"""The report of a run reaches TensorBoard and the tracker."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from legged_ppo.config.schema import Config
from legged_ppo.runs.run_directory import BEST, RunDirectory
from legged_ppo.training.report_logger import log_report
from legged_ppo.training.tracker import Tracker
from legged_ppo.viewer.video_writer import open_stream

FIGURES = {
    "episodes": 4,
    "mean_return": 91.5,
    "return_ci95": [90.5, 92.5],
    "std_return": 1.0,
    "min_return": 90.0,
    "max_return": 93.0,
    "mean_length": 200.0,
    "length_ci95": [199.0, 201.0],
}


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A run of 96 steps with its report, and a video of 2 s."""
    run = RunDirectory(tmp_path / "run")
    for name in ("checkpoints", "plots", "videos"):
        (run.root / name).mkdir(parents=True)
    run.metrics.write_text(json.dumps({"iteration": 1, "env_steps": 96}) + "\n")
    (run.root / "evaluation.json").write_text(json.dumps({"overall": FIGURES}))
    Image.new("RGB", (8, 6)).save(run.root / "plots" / "curves.png")
    (run.checkpoints / BEST).write_bytes(b"best")
    with open_stream(run.root / "videos" / "best.mp4", 25) as video:
        for i in range(50):
            video.append_data(np.full((120, 160, 3), 5 * i, np.uint8))
    return run


def config(wandb_mode: str) -> Config:
    config = Config()
    config.training.wandb = wandb_mode
    return config


def test_tensorboard_shows_figures_plots_and_the_video(run: RunDirectory) -> None:
    log_report(run, Tracker(run.root, config("disabled")))
    events = EventAccumulator(str(run.root)).Reload()
    (table,) = events.Tensors("Evaluation/text_summary")
    text = table.tensor_proto.string_val[0].decode()
    assert table.step == 96 and "| episodes | return |" in text and "91.5" in text
    assert (events.Images("Plots/curves")[0].width, events.Images("Plots/curves")[0].height) == (
        8,
        6,
    )
    gif = Image.open(io.BytesIO(events.Images("Video/best")[0].encoded_image_string))
    assert gif.format == "GIF" and gif.n_frames == 10 and gif.size == (320, 240)
    (run.root / "videos" / "best.mp4").unlink()
    log_report(run, Tracker(run.root, config("disabled")))
    assert len(EventAccumulator(str(run.root)).Reload().Images("Video/best")) == 1


def test_wandb_gets_them(run: RunDirectory) -> None:
    tracker = Tracker(run.root, config("offline"))
    log_report(run, tracker)
    tracker.finish()
    (media,) = run.root.glob("wandb/offline-run-*/files/media")
    names = [path.name.split("_")[0] for path in media.rglob("*") if path.is_file()]
    assert sorted(names) == ["Evaluation", "best", "curves"]
    (table,) = media.rglob("Evaluation*")
    content = json.loads(table.read_text())
    assert content["columns"][:2] == ["episodes", "return"] and content["data"][0][0] == "4"

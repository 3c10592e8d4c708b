"""The report of a finished run in TensorBoard and the tracker: figures, plots and video."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import SummaryWriter

from legged_ppo.reports.tables import as_rows, figures_table
from legged_ppo.runs.run_directory import RunDirectory
from legged_ppo.training.tracker import Tracker
from legged_ppo.viewer.preview import gif_of

Rows = tuple[list[str], list[list[str]]]
"""Headings and cells."""


def log_report(run: RunDirectory, tracker: Tracker) -> None:
    """Show what `write_report` has written."""
    env_steps = int(run.last_row().get("env_steps", 0))
    evaluation = json.loads((run.root / "evaluation.json").read_text())
    rows = as_rows(figures_table(evaluation))
    plots = {f"Plots/{path.stem}": path for path in sorted((run.root / "plots").glob("*.png"))}
    video = run.root / "videos" / "best.mp4"
    _to_tensorboard(run.root, rows, plots, video, env_steps)
    tracker.log_report(*rows, plots, video, env_steps)


def _to_tensorboard(
    root: Path, rows: Rows, plots: dict[str, Path], video: Path, env_steps: int
) -> None:
    with SummaryWriter(str(root)) as board:
        board.add_text("Evaluation", _markdown(rows), env_steps)
        for name, path in plots.items():
            pixels = np.asarray(Image.open(path).convert("RGB"))
            board.add_image(name, pixels, env_steps, dataformats="HWC")
        if video.is_file():
            gif, (width, height) = gif_of(video)
            # TensorBoard plays GIF images; `add_video` makes the same of them but needs moviepy.
            image = Summary.Image(
                height=height, width=width, colorspace=3, encoded_image_string=gif
            )
            summary = Summary(value=[Summary.Value(tag="Video/best", image=image)])
            board.file_writer.add_summary(summary, env_steps)


def _markdown(rows: Rows) -> str:
    headings, cells = rows
    lines = [headings, ["---"] * len(headings), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

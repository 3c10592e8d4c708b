"""The report of a finished run in TensorBoard and wandb: figures, plots, video and the best checkpoint."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import SummaryWriter

from legged_ppo.config.schema import Config
from legged_ppo.reports.tables import as_rows, figures_table
from legged_ppo.runs.run_directory import RunDirectory
from legged_ppo.training.wandb_run import start_wandb
from legged_ppo.viewer.preview import gif_of

Rows = tuple[list[str], list[list[str]]]
"""Headings and cells."""


def log_report(run: RunDirectory, config: Config) -> None:
    """Show what `write_report` has written; a wandb that fails is reported by a warning alone."""
    env_steps = int(run.last_row().get("env_steps", 0))
    evaluation = json.loads((run.root / "evaluation.json").read_text())
    rows = as_rows(figures_table(evaluation))
    plots = {f"Plots/{path.stem}": path for path in sorted((run.root / "plots").glob("*.png"))}
    video = run.root / "videos" / "best.mp4"
    _to_tensorboard(run.root, rows, plots, video, env_steps)
    wandb_run = start_wandb(run.root, config)
    if wandb_run is None:
        return
    try:
        _to_wandb(wandb_run, rows, plots, video, run.best, env_steps)
    except Exception as error:  # wandb must never end a run
        warnings.warn(f"wandb stopped: {error}", stacklevel=2)


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


def _to_wandb(
    run: Any, rows: Rows, plots: dict[str, Path], video: Path, best: Path, env_steps: int
) -> None:
    import wandb

    headings, cells = rows
    logged: dict[str, Any] = {name: wandb.Image(str(path)) for name, path in plots.items()}
    logged["Evaluation"] = wandb.Table(columns=headings, data=cells)
    if video.is_file():
        logged["Video/best"] = wandb.Video(str(video), format="mp4")
    run.log(logged, step=env_steps)
    artifact = wandb.Artifact(re.sub(r"[^A-Za-z0-9_.-]", "_", f"{run.id}-best"), type="model")
    artifact.add_file(str(best))
    run.log_artifact(artifact)


def _markdown(rows: Rows) -> str:
    headings, cells = rows
    lines = [headings, ["---"] * len(headings), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

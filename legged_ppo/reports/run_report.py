"""The end of a training run: figures, learning curves and a video of its best policy."""

from __future__ import annotations

import json
import logging
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import legged_ppo
from legged_ppo.config.extensions import importing
from legged_ppo.evaluation.trained_policy import TrainedPolicy, evaluate
from legged_ppo.reports.plots import plot_learning_curves
from legged_ppo.reports.run_page import write_page
from legged_ppo.reports.run_record import read_run
from legged_ppo.reports.tables import as_lines, figures_table, gait_tables
from legged_ppo.reports.terrain_report import write_terrain_report
from legged_ppo.runs.checkpoint import read_policy
from legged_ppo.runs.run_directory import RunDirectory
from legged_ppo.viewer.gl_backend import RenderingUnavailable
from legged_ppo.viewer.recording import record
from legged_ppo.viewer.video import TOUR, Segment
from legged_ppo.viewer.video_writer import VideoError

_log = logging.getLogger(__name__)

PAGE = "report.html"
"""Of a run's folder."""
_TOUR_COMMAND, _TOUR_SECONDS = (0.5, 0.0, 0.0), 6.0
"""m/s, m/s, rad/s; s on each terrain type"""


def write_report(run_dir: Path, checkpoint: Path, episodes: int, seed: int) -> list[str]:
    """Evaluate and record `checkpoint`, draw the run's curves; returns closing lines for the user.

    Writes evaluation.json, evaluation.html, plots/learning_curves.png, videos/best.mp4 and report.html into
    `run_dir`, whose training has ended. Without an OpenGL back end there is no video, and a line names the
    packages to install.
    """
    network, config, counters = read_policy(checkpoint)
    policy = TrainedPolicy(network, config, counters["env_steps"], checkpoint)
    curves = run_dir / "plots" / "learning_curves.png"
    plot_learning_curves(run_dir / "metrics.jsonl", curves)
    video = run_dir / "videos" / "best.mp4"
    video.parent.mkdir(exist_ok=True)
    result, figures = evaluate_run(run_dir, policy, episodes, seed)
    script: Sequence[Segment] = ()
    if "terrain" in result:
        script = terrain_tour(result) if config.terrain.curriculum.rule != "none" else TOUR
    tables = [figures_table(result), *gait_tables(result)]
    _log.info("recording %s", _shown(video))
    try:
        record(policy, [video], seed=seed, script=script)
        video_line = f"video        {_shown(video)}"
    except (RenderingUnavailable, VideoError) as error:
        video_line = f"video        {error}"
    page = run_dir / PAGE
    run = read_run(run_dir)
    ended = replace(run, state=replace(run.state, state="finished"))  # this process holds its lock
    write_page([ended], page)
    return [
        *(line for table in tables for line in as_lines(table)),
        f"checkpoint   {_shown(checkpoint)} ({policy.env_steps:,} steps)",
        f"figures      {', '.join(map(_shown, figures))}",
        f"curves       {_shown(curves)}",
        video_line,
        f"report       {_shown(page)}",
        "next:",
        *(f"  {line}" for line in _next_commands(checkpoint, run_dir, config.extensions)),
    ]


def evaluate_run(
    run_dir: Path, policy: TrainedPolicy, episodes: int, seed: int
) -> tuple[dict[str, Any], list[Path]]:
    """Evaluate a policy of the run, gait included, and write evaluation.json and, of robots, evaluation.html into
    its folder; returns the figures and these files."""
    _log.info("evaluating %s over %d episodes", _shown(policy.path), episodes)
    result = evaluate(policy, episodes=episodes, seed=seed, gait=True)
    files = [run_dir / "evaluation.json"]
    if "terrain" in result:
        files.append(run_dir / "evaluation.html")
        write_terrain_report(files[-1], policy.path, result)
    write_evaluation(files[0], policy.path, policy.env_steps, result)
    return result, files


def _next_commands(checkpoint: Path, run_dir: Path, extensions: Sequence[str] = ()) -> list[str]:
    """Command lines that work from the current folder, with the interpreter that runs now."""
    policy = ["--checkpoint", _shown(checkpoint)]
    phase2 = ["--phase2", _shown(run_dir)]
    compared = [shlex.join(importing([*console_command("evaluate"), *phase2], extensions))]
    return [
        shlex.join(importing([*console_command("play"), *policy], extensions)),
        shlex.join(importing([*console_command("evaluate"), *policy], extensions)),
        *(compared if RunDirectory(run_dir).teacher.is_file() else []),
        shlex.join([_interpreter(), "-m", "tensorboard.main", "--logdir", _shown(run_dir.parent)]),
    ]


def console_command(name: str) -> list[str]:
    """How to start `name` (play, evaluate, ...) from the current folder: the script of the source tree,
    or the console command of an installed package, which has no such scripts."""
    script = Path(legged_ppo.__file__).parents[1] / f"{name}.py"
    if script.is_file():
        return [_interpreter(), _shown(script)]
    command = Path(sys.executable).with_name("legged-ppo")
    return ["legged-ppo" if _on_path(command) else _shown(command), name]


def _interpreter() -> str:
    """The Python that runs now: its bare name where a shell finds it, else its path."""
    python = Path(sys.executable)
    return python.name if _on_path(python) else _shown(python)


def _on_path(command: Path) -> bool:
    return shutil.which(command.name) == str(command)


def terrain_tour(result: dict[str, Any]) -> list[Segment]:
    """Some seconds forward on every terrain type, at the highest level that half of the robots master."""
    tour = []
    for name, group in result["terrain"].items():
        levels = group["levels"].items()
        mastered = [int(level) for level, figures in levels if figures["success_rate"] >= 0.5]
        tour.append(Segment(_TOUR_COMMAND, _TOUR_SECONDS, (name, max(mastered, default=0))))
    return tour


def write_evaluation(path: Path, checkpoint: Path, env_steps: int, result: dict[str, Any]) -> None:
    """The figures of an evaluation and what they are of, as JSON."""
    content = {"checkpoint": str(checkpoint), "env_steps": env_steps, **result}
    text = json.dumps(content, indent=2)
    lists = re.compile(r"\[[\s\d.,eE+-]+\]")  # numbers alone: one line instead of one each
    path.write_text(lists.sub(lambda found: " ".join(found[0].split()), text) + "\n")


def _shown(path: Path) -> str:
    """The path relative to the current folder where it lies inside it, else the absolute path."""
    path = path.absolute()
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)

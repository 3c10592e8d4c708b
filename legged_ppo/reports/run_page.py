"""One page about a run or several: curves, solve rates, terrain, gait, joints, advice, differences, videos."""

from __future__ import annotations

import html
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from legged_ppo.config.loading import config_to_yaml
from legged_ppo.reports.curves import MAIN, draw_panels, reward_terms, terrain_levels
from legged_ppo.reports.diagnosis import advice_for
from legged_ppo.reports.gait_figures import draw_footfalls, draw_joints
from legged_ppo.reports.heat_map import heat_map_png, success_matrix
from legged_ppo.reports.html_page import Row, folded, link, page, picture, table, text
from legged_ppo.reports.plots import learning_curves, png_of
from legged_ppo.reports.run_figures import comparison_rows, summary_rows
from legged_ppo.reports.run_groups import Group, group_runs, recipe_differences, value_text
from legged_ppo.reports.run_record import RunRecord
from legged_ppo.reports.terrain_report import DEFINITION, gait_html, terrain_table

_MARGIN, _TITLE = 16, 22
"""Pixels around the parts of the picture, and the size of their headings"""


@dataclass(frozen=True)
class _Part:
    """A section: HTML, and its pictures for the PNG."""

    title: str
    body: str
    pictures: Sequence[bytes] = ()


def write_page(runs: Sequence[RunRecord], out: Path, png: Path | None = None) -> None:
    """Write the page to `out` (.html), and its pictures below each other to `png`.

    Raises:
        OSError: a file cannot be written.
    """
    groups = group_runs(runs)
    title = groups[0].label if len(groups) == 1 else f"{len(runs)} runs compared"
    parts = [part for part in _parts(runs, groups, out.parent) if part.body]
    contents = "".join(link(f"#part{i}", part.title) for i, part in enumerate(parts))
    sections = (
        f'<h2 id="part{i}">{html.escape(part.title)}</h2>{part.body}'
        for i, part in enumerate(parts)
    )
    body = [f"<h1>{html.escape(title)}</h1>", f"<nav>{contents}</nav>", *sections]
    out.write_text(page(title, body), encoding="utf-8")
    if png is not None:
        _stack([(part.title, part.pictures) for part in parts if part.pictures]).save(png)


def _parts(runs: Sequence[RunRecord], groups: Sequence[Group], folder: Path) -> Iterator[_Part]:
    headings, rows = summary_rows(groups)
    yield _Part("Runs", table(headings, rows) + "".join(map(_notes, runs)))
    yield _Part("Advice", _advice(runs))
    yield from _curves(runs, groups)
    yield _terrain(runs, groups)
    yield from _motion(runs)
    yield _Part("Differences of the recipes", _differences(runs))
    yield _Part("Videos", "".join(_videos(run, folder) for run in runs))
    yield _Part("Recipes", "".join(map(_recipe, runs)))


def _notes(run: RunRecord) -> str:
    """What a reader must know of this run's files."""
    notes = []
    if run.state.failure:
        notes.append(f"{run.name} failed: {run.state.failure}")
    if run.from_events:
        notes.append(
            f"{run.name} has no metrics.jsonl; its curves come from TensorBoard files, over the steps that "
            "these count"
        )
    if not run.rows:
        notes.append(f"{run.name} has no iteration yet")
    if not run.evaluation:
        notes.append(f"{run.name} has not been evaluated: legged-ppo report --evaluate does it")
    return "".join(map(text, notes))


def _advice(runs: Sequence[RunRecord]) -> str:
    rows: list[Row] = []
    for run in runs:
        for each in advice_for(run):
            when = "evaluation" if each.steps is None else f"{each.steps:.2f} M steps"
            when += ", to the end" if each.lasting and each.steps is not None else ""
            own = [run.name] if len(runs) > 1 else []
            rows.append(([*own, each.symptom, each.figure, when, each.change], False))
    if not rows:
        return text("No figure has been outside its healthy range for long.")
    own = ["run"] if len(runs) > 1 else []
    return table([*own, "symptom", "figure", "when", "what to change"], rows, "text")


def _curves(runs: Sequence[RunRecord], groups: Sequence[Group]) -> Iterator[_Part]:
    several = len(runs) > 1
    spread = any(len(group.runs) > 1 for group in groups)
    caption = "bands are one standard deviation over the seeds" if spread else ""
    if not several:
        main = png_of(learning_curves(runs[0].rows, runs[0].name))
        yield _Part("Learning curves", picture(main, "learning curves"), [main])
    figures = {"Learning curves": MAIN} if several else {}
    figures["Reward terms"] = reward_terms(groups)
    figures["Terrain levels"] = terrain_levels(groups)
    for title, metrics in figures.items():
        figure = draw_panels(groups, metrics)
        if figure is not None:
            image = png_of(figure)
            note = "sums over an episode, weighted" if title == "Reward terms" else ""
            below = "; ".join(filter(None, [note, caption]))
            yield _Part(title, picture(image, title.lower(), below), [image])


def _terrain(runs: Sequence[RunRecord], groups: Sequence[Group]) -> _Part:
    """Solve rates in training, success rates in evaluation, and the figures by terrain type."""
    body, images = [], []
    evaluated = [run for run in runs if "terrain" in run.evaluation]
    if evaluated:
        body.append(text(DEFINITION))
    for run in runs:
        for title, image in _matrices(run):
            caption = f"{run.name}: {title}" if len(runs) > 1 else title
            body.append(picture(image, caption, caption, "half"))
            images.append(image)
    if len(runs) > 1 and evaluated:
        headings, rows = comparison_rows(groups)
        body.append(f"<h3>Success rate by terrain type</h3>{table(headings, rows)}")
    for run in evaluated:
        if len(runs) == 1:
            body.append(terrain_table(run.evaluation, levels=False))
        body.append(
            folded(f"{run.name}: all figures by type and level", terrain_table(run.evaluation))
        )
    return _Part("Terrain", "".join(body), images)


def _matrices(run: RunRecord) -> Iterator[tuple[str, bytes]]:
    if run.curriculum.get("types"):
        rates = np.array(run.curriculum["solve_rate"], dtype=np.float64)  # None becomes NaN
        yield "solve rate in training", heat_map_png(run.curriculum["types"], rates, "Solve rate")
    if run.evaluation.get("terrain"):
        types, rates, episodes = success_matrix(run.evaluation["terrain"])
        yield "success rate in evaluation", heat_map_png(types, rates, "Success rate", episodes)


def _motion(runs: Sequence[RunRecord]) -> Iterator[_Part]:
    """Gait and joints of the runs that were evaluated."""
    gait, joints, gait_images, joint_images = [], [], [], []
    for run in runs:
        name = f"<h3>{html.escape(run.name)}</h3>" if len(runs) > 1 else ""
        if "gait" in run.evaluation:
            gait.append(name + "".join(gait_html(run.evaluation)))
        if motion := run.evaluation.get("motion"):
            image = png_of(draw_footfalls(motion, run.evaluation["gait"]))
            gait.append(picture(image, "footfalls", "feet on the ground, one robot"))
            gait_images.append(image)
            pair = [
                png_of(draw_joints(motion, *each))
                for each in (("torque", "N m"), ("velocity", "rad/s"))
            ]
            joints.append(
                name + "".join(picture(each, "histograms of the joints") for each in pair)
            )
            joint_images += pair
    yield _Part("Gait", "".join(gait), gait_images)
    if joints:
        words = (
            "Of all robots that walk at the speeds above; dashed lines are the limits of the robot."
        )
        yield _Part("Joints", text(words) + "".join(joints), joint_images)


def _differences(runs: Sequence[RunRecord]) -> str:
    if len(runs) < 2:
        return ""
    found = recipe_differences(runs)
    if not found:
        return text("The recipes are equal.")
    rows: Iterable[Row] = (([key, *map(value_text, row)], False) for key, row in found.items())
    return table(["key", *(run.name for run in runs)], rows)


def _videos(run: RunRecord, folder: Path) -> str:
    """Links relative to the page's folder."""
    links = [
        link(Path(os.path.relpath(path, folder)).as_posix(), f"{run.name}/videos/{path.name}")
        for path in run.videos
    ]
    return "".join(f"<p>{each}</p>" for each in links)


def _recipe(run: RunRecord) -> str:
    """Origin and resolved config of the run."""
    origin = run.summary.get("provenance", {})
    lines = [f"{key}: {value}" for key, value in origin.items()]
    if run.config is not None:
        lines.append(config_to_yaml(run.config))
    elif run.values:
        lines += [f"{key}: {value}" for key, value in run.values.items()]
    return folded(run.name, f"<pre>{html.escape(chr(10).join(lines))}</pre>") if lines else ""


def _stack(parts: Sequence[tuple[str, Sequence[bytes]]]) -> Image.Image:
    """Pictures below each other under the headings of their parts."""
    font = ImageFont.load_default(_TITLE)
    pieces: list[str | Image.Image] = []
    for title, pictures in parts:
        pieces.append(title)
        pieces += [Image.open(io.BytesIO(each)).convert("RGB") for each in pictures]
    heights = [_TITLE + 4 if isinstance(each, str) else each.height for each in pieces]
    width = max(each.width for each in pieces if not isinstance(each, str))
    size = (width + 2 * _MARGIN, sum(heights) + _MARGIN * (len(pieces) + 1))
    sheet = Image.new("RGB", size, "white")
    top = _MARGIN
    for each, height in zip(pieces, heights, strict=True):
        if isinstance(each, str):
            ImageDraw.Draw(sheet).text((_MARGIN, top), each, fill="black", font=font)
        else:
            sheet.paste(each, (_MARGIN, top))
        top += height + _MARGIN
    return sheet

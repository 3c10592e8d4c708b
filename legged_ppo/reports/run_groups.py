"""Runs of one recipe, which differ by their seed alone, as a group; and how the recipes differ."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from legged_ppo.reports.run_record import RunRecord

_TAIL = re.compile(r"_s\d+(_\d{8}-\d{6})?(_\d+)?$")
"""Seed, time and number at the end of a run's default name."""
_MOST_KEYS = 2
"""Differing keys that a label can hold"""


@dataclass(frozen=True)
class Group:
    """Runs of one recipe."""

    label: str
    runs: list[RunRecord]


def group_runs(runs: Sequence[RunRecord]) -> list[Group]:
    """Groups in the order of their first runs; a run without a config.yaml is one of its own."""
    found: dict[Any, list[RunRecord]] = {}
    for run in runs:
        found.setdefault(run.recipe or run.root, []).append(run)
    members = list(found.values())
    different = recipe_differences([each[0] for each in members])
    return [Group(_label(each, i, different), each) for i, each in enumerate(members)]


def recipe_differences(runs: Sequence[RunRecord]) -> dict[str, list[Any]]:
    """The values [runs] of the keys that are not equal in all of them, but the name and the folder; None where a
    run lacks the key."""
    left_out = ("training.run_name", "training.log_dir")
    known = [run.values for run in runs]
    keys = sorted({key for values in known if values for key in values if key not in left_out})
    rows = {key: [values.get(key) for values in known] for key in keys}
    return {key: row for key, row in rows.items() if any(each != row[0] for each in row[1:])}


def value_text(value: Any) -> str:
    """A value of a config for a table: long lists are cut, paths shortened to their names."""
    if value is None:
        return "-"
    text = f"{value:g}" if isinstance(value, float) else str(value)
    if isinstance(value, str) and "/" in value:
        text = PurePath(value).name
    return text if len(text) <= 60 else f"{text[:57]}..."


def _label(runs: Sequence[RunRecord], index: int, different: dict[str, list[Any]]) -> str:
    own = {key: row[index] for key, row in different.items() if key != "training.seed"}
    if 0 < len(own) <= _MOST_KEYS:
        label = ", ".join(f"{key}={value_text(v)}" for key, v in own.items())
    else:
        label = _TAIL.sub("", runs[0].name) if len(runs) > 1 else runs[0].name
    return f"{label} ({len(runs)} seeds)" if len(runs) > 1 else label

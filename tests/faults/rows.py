"""The rows of the table: every kind of fault, with its number of trials."""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import partial

from tests.faults import corrupted, disk, kills, malformed, nonfinite, surroundings
from tests.faults.measure import Measure

Row = Callable[..., Measure]
"""A function of an empty `folder`."""

_LONG, _SHORT = 2000, 18
"""Trials of the rows whose number is free."""
_STRIDE = 67
"""In the short form, of the operations at which faults happen."""
_SEED = 19
_ENGINES = ("mujoco_c", "simd")


def rows(long: bool, trials: int = _LONG) -> dict[str, Row]:
    """Every row by a short name.

    Args:
        trials: of the long form, where their number is free.
    """
    few, stride = max(trials // 10, 1), 1
    if not long:
        trials, few, stride = _SHORT, 3, _STRIDE
    found: dict[str, Row] = {
        "kills": partial(kills.random_moments, subject="point", trials=trials, seed=_SEED),
        "kills_operations": partial(kills.every_operation, subject="point", stride=stride),
        "kills_writes": partial(kills.every_operation, subject="point", stride=stride, inside=True),
        "full_disk": partial(
            disk.every_operation, subject="point", error=errno.ENOSPC, stride=stride
        ),
        "read_only": partial(
            disk.every_operation, subject="point", error=errno.EROFS, stride=stride
        ),
        "checkpoints": partial(
            corrupted.corrupted_checkpoints, subject="point", trials=trials, seed=_SEED
        ),
        "configs": partial(malformed.malformed_configs, trials=trials, seed=_SEED),
        "dashboards": partial(surroundings.dashboards, subject="point"),
        "signals": partial(surroundings.signals, subject="point", trials=few, seed=_SEED),
        "pipes": partial(surroundings.closed_pipes, subject="point", stride=1 if long else 3),
        "clock": partial(surroundings.clock_jumps, subject="point", trials=few),
        "deleted": partial(surroundings.deleted_folders, subject="point", stride=1 if long else 3),
        "descriptors": partial(
            surroundings.no_descriptors, subject="point", stride=1 if long else 5
        ),
    }
    for engine in _ENGINES:
        found[f"kills_{engine}"] = partial(
            kills.random_moments, subject=engine, trials=few, seed=_SEED
        )
        found[f"nonfinite_{engine}"] = partial(
            nonfinite.nonfinite_numbers, subject=engine, stride=1 if long else 5
        )
        if long:
            found[f"checkpoints_{engine}"] = partial(
                corrupted.corrupted_checkpoints, subject=engine, trials=few, seed=_SEED
            )
    if long:
        found["tmpfs"] = partial(disk.real_disk, subject="point")
    return found
